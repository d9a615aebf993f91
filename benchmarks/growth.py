# SPDX-License-Identifier: Apache-2.0
"""How the time of an attribution grows with everything that it depends on."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from benchmarks.harness.benchmark import Benchmark, Column, Findings
from benchmarks.harness.goal import Goal
from benchmarks.harness.images import mirrored
from benchmarks.harness.record import Row, numbers
from benchmarks.harness.settings import Settings
from benchmarks.harness.terminal import note
from benchmarks.harness.timing import alternate
from benchmarks.power_law import exponent
from filterlens import FAIG, ModelPair, Quadrature
from filterlens.data.photographs import photograph
from filterlens.models.one_branch import SRResNet

KINDS = ("blur:2", "noise:0.1", "poisson:200", "blur:1", "noise:0.05", "blur:3", "poisson:50", "noise:0.2")
WIDTHS = (32, 48, 64, 96)

LINEAR = Goal("largest exponent", "at most", 1.1)


def measure(settings: Settings) -> Findings:
    """Vary one thing at a time and fit a power law to the times."""
    side = 64 if settings.quick else 128  # HR pixels
    rows = []
    for what, tasks in _series(settings, side).items():
        note(f"growth: {what}")
        times = alternate(tasks, 2 if settings.quick else 3, settings.where)
        sizes = sorted(tasks)
        row: Row = {
            "what": what,
            "sizes": ", ".join(f"{size:,}" for size in sizes),
            "smallest_s": times[sizes[0]].best,
            "largest_s": times[sizes[-1]].best,
            "spread": max(timing.spread for timing in times.values()),
            "exponent": exponent(sizes, [times[size].best for size in sizes]),
        }
        rows.append(row)
    return Findings(rows, [LINEAR.judge(max(numbers(rows, "exponent")))])


def _series(settings: Settings, side: int) -> dict[str, Mapping[int, Callable[[], object]]]:
    """Return what is varied: size → task."""
    pair = ModelPair.pretrained(settings.pair).to(settings.where)
    counts = (1, 2, 4)
    sides = tuple(side * factor // 2 for factor in (2, 3, 4, 6))
    pairs = {each.target.numel(): each for each in (_random_pair(width).to(settings.where) for width in WIDTHS)}
    task = partial(_task, precision=settings.precisions[0], side=side)
    return {
        "HR pixels": {each * each: task(pair, side=each) for each in sides},
        "images": {each: task(pair, images=each) for each in counts},
        "degradations": {2 * each: task(pair, degradations=2 * each) for each in counts},
        "nodes": {2 * each: task(pair, nodes=2 * each) for each in counts},
        "parameters (width of the SRResNet)": {count: task(each) for count, each in pairs.items()},
    }


def _task(
    pair: ModelPair, *, precision: str, side: int, images: int = 1, degradations: int = 2, nodes: int = 2
) -> Callable[[], object]:
    method = FAIG(pair, quadrature=Quadrature("gauss-legendre", nodes), precision=precision)
    return partial(method.attribute, _images(images, side), KINDS[:degradations])


def _images(count: int, side: int) -> dict[str, Tensor]:
    """Return squares of one photograph, each rolled on by some pixels so that no two are equal."""
    square = mirrored(photograph("astronaut"), side, side)
    return {str(index): square.roll(index, 2) for index in range(count)}


def _random_pair(width: int) -> ModelPair:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(width)
        return ModelPair(SRResNet(features=width), SRResNet(features=width))


BENCHMARK = Benchmark(
    name="growth",
    title="how the time grows",
    explanation=(
        "The time of an attribution while one thing is varied and all others stay small (one image, two "
        "degradations, two fixed nodes). The exponent is the slope of log time over log size by least squares: 1 is "
        "linear, below it a constant part is visible, above it something grows that should not."
    ),
    goals=(LINEAR,),
    columns=(
        Column("what", "varied"),
        Column("sizes", "sizes"),
        Column("smallest_s", "time at the smallest, s", ".3f"),
        Column("largest_s", "time at the largest, s", ".3f"),
        Column("spread", "spread", ".0%"),
        Column("exponent", "exponent", ".2f"),
    ),
    measure=measure,
)
