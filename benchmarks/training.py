# SPDX-License-Identifier: Apache-2.0
"""How many steps of the reference's batch a second the trainer makes, and how much of a step prepares data."""

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from benchmarks.harness.benchmark import Benchmark, Column, Findings
from benchmarks.harness.goal import Goal
from benchmarks.harness.images import ImageChoice
from benchmarks.harness.record import Row, numbers
from benchmarks.harness.settings import Settings
from benchmarks.harness.terminal import note
from benchmarks.harness.timing import Timing, alternate, wait_for
from filterlens.data.patches import PatchBank
from filterlens.models.checkpoints import load_network
from filterlens.models.pretrained import pair_files
from filterlens.training.recipe import Recipe, load_recipe
from filterlens.training.trainer import train

RECIPE = "cpu"
WARM_UP = 5

ON_CPU = Goal("time of a step in the faster precision, on CPUs", "at most", 0.4, ".2f", " s")
ON_GPU = Goal("steps a second in the faster precision, on a GPU", "at least", 300, ".0f")
LITTLE_DATA = Goal("largest share of a step that prepares its batch", "at most", 0.1, ".1%")


class StepClock:
    """A progress that times the steps of a training, the first few left out."""

    def __init__(self, device: torch.device, total: int) -> None:
        self._device, self._total = device, total
        self._done = 0
        self._marks: list[float] = []

    @property
    def seconds_per_step(self) -> float:
        """The mean over the steps that count."""
        first, last = self._marks
        return (last - first) / (self._total - WARM_UP)

    @contextlib.contextmanager
    def bar(self, name: str, total: int, done: int = 0) -> Iterator["StepClock"]:
        """Count the steps of the only stage that is trained."""
        yield self

    def advance(self, steps: int = 1) -> None:
        """Count one step."""
        self._done += steps
        if self._done in (WARM_UP, self._total):
            wait_for(self._device)
            self._marks.append(time.perf_counter())

    def describe(self, text: str) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""


def measure(settings: Settings) -> Findings:
    """Train for some steps from the shipped baseline, in each precision in turns."""
    steps = WARM_UP + (5 if settings.quick else 60)
    images = list(ImageChoice(settings.images).load().values())
    recipe = _recipe(steps)
    seconds: dict[str, list[float]] = {precision: [] for precision in settings.precisions}
    for _ in range(1 if settings.quick else 2):
        for precision in settings.precisions:
            note(f"training: {steps} steps, {precision}")
            seconds[precision].append(seconds_per_step(recipe, images, settings, precision))
    data = _seconds_of_data(recipe, images, settings)
    rows = [_row(precision, Timing(tuple(each)), data) for precision, each in seconds.items()]
    pixels = recipe.patch // recipe.scale
    text = f"{recipe.batch} patches of {pixels}x{pixels} LR pixels; {steps - WARM_UP} steps after {WARM_UP} to warm up."
    fastest = max(numbers(rows, "steps_per_second"))
    on_gpu = settings.where.type == "cuda"
    verdicts = [
        ON_CPU.judge(None if on_gpu else 1 / fastest),
        ON_GPU.judge(fastest if on_gpu else None),
        LITTLE_DATA.judge(max(numbers(rows, "data_share"))),
    ]
    return Findings(rows, verdicts, [text])


def seconds_per_step(recipe: Recipe, images: Sequence[Tensor], settings: Settings, precision: str) -> float:
    """Train the target stage of a recipe and return its mean time per step, the first steps left out."""
    clock = StepClock(settings.where, recipe.target.iterations)
    baseline = load_network(pair_files(settings.pair)[0])
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, images, folder, device=settings.where, precision=precision, baseline=baseline, progress=clock)
    return clock.seconds_per_step


def _recipe(steps: int) -> Recipe:
    """Return the CPU recipe with a target stage of so many steps, nothing validated or saved between them."""
    recipe = load_recipe(RECIPE, validate_every=0, checkpoint_every=steps)
    return recipe.model_copy(update={"target": recipe.target.model_copy(update={"iterations": steps})})


def _seconds_of_data(recipe: Recipe, images: Sequence[Tensor], settings: Settings) -> float:
    """Return the time that drawing and degrading one batch takes."""
    bank, generator = PatchBank(images, recipe.patch, settings.where), torch.Generator(settings.where)
    mixture = recipe.mixture(recipe.target)

    def prepare() -> None:
        mixture.apply(bank.sample(recipe.batch, generator), recipe.scale, generator)

    return alternate({"data": prepare}, 10, settings.where)["data"].median


def _row(precision: str, per_step: Timing, data: float) -> Row:
    return {
        "precision": precision,
        "steps_per_second": 1 / per_step.best,
        "spread": per_step.spread,
        "data_ms": 1e3 * data,
        "data_share": data / per_step.best,
    }


BENCHMARK = Benchmark(
    name="training",
    title="steps of training a second",
    explanation=(
        "The trainer itself on the reference's batch (16 patches of 32x32 LR pixels) with the settings of the recipe "
        f"'{RECIPE}', target stage, from the shipped baseline, in each precision in turns. Drawing the patches and "
        "degrading them happens inside a step; its share is the time of doing only that."
    ),
    goals=(ON_CPU, ON_GPU, LITTLE_DATA),
    columns=(
        Column("precision", "precision"),
        Column("steps_per_second", "steps/s", ".2f"),
        Column("spread", "spread", ".0%"),
        Column("data_ms", "data, ms a step", ".1f"),
        Column("data_share", "share of data", ".1%"),
    ),
    measure=measure,
)
