# SPDX-License-Identifier: Apache-2.0
"""Measure the re-training of parts of a baseline: the parts, their training, and the result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator
from torch import Tensor

from filterlens.data.images import center_crop
from filterlens.data.samples import Sample
from filterlens.editing.low_rank import LowRank
from filterlens.editing.retrain import retrain
from filterlens.editing.retrain_settings import RetrainSettings, settings_for
from filterlens.editing.trained_part import AllFilters, LastLayers, SelectedFilters, TrainedPart, weights_in
from filterlens.errors import FilterlensError
from filterlens.evaluation.statistics import Comparison, Estimate, compare_paired, over_seeds, two_level_ratio
from filterlens.filters import Selection
from filterlens.paper.experiment import above
from filterlens.paper.images import evenly
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.report.labels import function_of, method_label
from filterlens.settings import Percent, Positive, Settings
from filterlens.training.loop import DivergedError
from filterlens.training.validation import psnr_per_degradation
from filterlens.work.store import digest

POINTS = 20  # of a loss curve
WARM_UP = 20  # the first 1/20 of the steps
CHECKPOINT_EVERY = 100
SIGNIFICANT = 0.05
OTHERS: dict[str, Callable[[int], TrainedPart]] = {"last-layers": LastLayers, "low-rank": LowRank}
LABELS = {"all": "all filters (upper bound)", "last-layers": "last layers", "low-rank": "low-rank adapter (LoRA)"}
GRIDS = {"all": "all", "low-rank": "low_rank"}  # part → its learning rates in the settings
Array = npt.NDArray[np.float64]
Rate = Annotated[float, Field(gt=0, le=1)]
RateGrid = Annotated[tuple[Rate, ...], Field(min_length=1)]


class Rates(Settings):
    """Peak learning rates that are tried, for each kind of trained part.

    Attributes:
        filters: Rates for chosen filters, wherever they lie.
        low_rank: Rates for the low-rank adapter.
        all: Rates for all filters.
    """

    filters: RateGrid = (1e-3, 3e-3, 1e-2, 3e-2)
    low_rank: RateGrid = (1e-3, 3e-3, 1e-2, 3e-2)
    all: RateGrid = (3e-4, 1e-3, 3e-3)


class RetrainingSettings(Settings):
    """Settings of the re-training.

    Attributes:
        pairs: At most so many of the common pairs, the first ones.
        percent: Share of the filters that is trained.
        methods: What finds the locations; FAIG is among them.
        others: What else is trained with as many weights.
        seeds: Trainings of every arm; the n-th one is of the n-th target model, beginning anew where there are fewer.
        rates: Learning rates; where there are several, every arm gets the one that is best on held-out training images.
        search: Steps of the trainings that choose the rate; None: as many as the trainings themselves.
        iterations: Steps of every training.
        batch: Patches a step.
        patch: Side of the HR patches in pixels.
        train_images: Train on at most so many of the training images, spread evenly.
        held_out: Side of the squares that are cut off the training images to choose the rate on, in HR pixels.
        held_out_images: Cut off at most so many of them.
        judge_images: Judge on at most so many images, spread evenly over the set.
    """

    pairs: Positive | None = 1
    percent: Percent = 1.0
    methods: tuple[str, ...] = ("faig", "ig", "change-relative", "change-absolute", "random")
    others: tuple[str, ...] = tuple(OTHERS)
    seeds: Positive = 3
    rates: Rates = Rates()
    search: Positive | None = 250
    iterations: Positive = 1000
    batch: Positive = 16
    patch: Annotated[int, Field(ge=8)] = 64
    train_images: Positive | None = 100
    held_out: Annotated[int, Field(ge=8)] = 128
    held_out_images: Positive = 16
    judge_images: Positive | None = None

    @field_validator("methods")
    @classmethod
    def _faig_is_there(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if "faig" not in methods:
            raise ValueError("'faig' must be among the methods: all others are set against it")
        return methods

    @field_validator("others")
    @classmethod
    def _others_are_known(cls, others: tuple[str, ...]) -> tuple[str, ...]:
        for name in others:
            if name not in OTHERS:
                raise ValueError(f"'{name}' is none of {', '.join(OTHERS)}")
        return others


@dataclass(frozen=True)
class Arm:
    """One thing that can be trained in the baseline.

    Attributes:
        part: A method that finds filters, ``last-layers``, ``low-rank`` or ``all``.
        found_for: The degradation for which the filters were found; empty for parts that were not found.
    """

    part: str
    found_for: str = ""

    @property
    def grid(self) -> str:
        """Field of :class:`Rates` that holds its learning rates."""
        return GRIDS.get(self.part, "filters")

    @property
    def label(self) -> str:
        """What tables call it."""
        if self.part in LABELS:
            return LABELS[self.part]
        return f"{method_label(self.part)}, {function_of(self.found_for)} locations"


BOUND = Arm("all")
Place = tuple[Arm, str]  # what is trained, on which degradation


def arms_of(laboratory: Laboratory, settings: RetrainingSettings) -> list[Arm]:
    """Return all arms in the order of the tables."""
    found = [Arm(method, place) for place in laboratory.common.degradations for method in settings.methods]
    return [*found, *(Arm(name) for name in settings.others), BOUND]


def parts_of(
    laboratory: Laboratory, settings: RetrainingSettings, model: TargetModel, seed: int
) -> dict[Place, TrainedPart]:
    """Return what is trained at every place.

    Last layers and adapter get as many weights as FAIG's filters for that degradation have.

    Args:
        laboratory: Ranks the filters.
        settings: Which arms.
        model: The model in whose target the locations are found.
        seed: The training's; random filters are drawn anew for each.
    """
    found = laboratory.attribute(model, [each for each in settings.methods if each != "random"], laboratory.finding)
    if "random" in settings.methods:
        found |= laboratory.attribute(model, ["random"], laboratory.finding, seed=laboratory.common.seed + seed)
    selections = {}
    for method, attribution in found.items():
        for place in laboratory.common.degradations:
            chosen = attribution.select(place, settings.percent)
            # without a name, equal filters found for two degradations (by their change, say) are one training
            selections[Arm(method, place)] = Selection(chosen.space, chosen.indices)
    parts: dict[Place, TrainedPart] = {}
    for kind in laboratory.common.degradations:
        weights = weights_in(selections[Arm("faig", kind)])
        parts |= {(arm, kind): SelectedFilters(selection) for arm, selection in selections.items()}
        parts |= {(Arm(name), kind): OTHERS[name](weights) for name in settings.others}
        parts[BOUND, kind] = AllFilters()
    return parts


@dataclass(frozen=True)
class Training:
    """One training: an arm, on a degradation, with a seed, at a rate, for so many steps."""

    seed: int
    arm: Arm
    trained_on: str
    rate: float
    iterations: int

    @property
    def title(self) -> str:
        """What a bar calls it."""
        return f"{self.arm.label} on {self.trained_on}, seed {self.seed}, rate {self.rate:g}"


class Workshop:
    """Trains and judges the arms of one pair; images are read when the first training needs them.

    Args:
        laboratory: Keeps the results.
        settings: The experiment's.
        name: The pair's.
    """

    def __init__(self, laboratory: Laboratory, settings: RetrainingSettings, name: str) -> None:
        models = laboratory.targets(name)
        self.laboratory, self.settings = laboratory, settings
        self.models = [models[seed % len(models)] for seed in range(settings.seeds)]
        self.parts = [parts_of(laboratory, settings, model, seed) for seed, model in enumerate(self.models)]
        self.judging = laboratory.judging(name, settings.judge_images)
        self.samples = laboratory.training_samples(settings.train_images)

    def train(self, trainings: Sequence[Training]) -> dict[Training, dict[str, Any]]:
        """Return per training: ``psnr`` (input → one per image), ``held_out`` in dB, ``losses``, ``weights``.

        One that diverged has ``diverged`` alone: what it says. Equal trainings are done once.
        """
        store, title = self.laboratory.store, attrgetter("title")
        results = store.compute("retraining", trainings, self._identity, self._trained, title)
        for training in trainings:
            self._state(training).unlink(missing_ok=True)  # only now: the results are on disk
        return dict(zip(trainings, results, strict=True))

    def references(self) -> dict[tuple[str, str], Array]:
        """Return (``baseline`` or ``target``, input) → PSNR of every seed's network ``(seeds, images)``."""
        laboratory, inputs = self.laboratory, list(self.laboratory.inputs)
        models, roles = list(dict.fromkeys(self.models)), ("baseline", "target")

        def measure(model: TargetModel, sample: Sample) -> dict[str, Any]:
            image = [sample.read()]
            rows = {role: self._mean_psnr(model, getattr(model.pair, role), image, inputs) for role in roles}
            return {role: [row[name] for name in inputs] for role, row in rows.items()}

        found = laboratory.measured(
            "retraining-references",
            models,
            self.judging,
            lambda model: [model.identity, inputs, laboratory.judge_precision],
            measure,
            lambda model: model.title,
        )
        seeds = [models.index(model) for model in self.models]
        return {(role, given): found[role][seeds, :, place] for role in roles for place, given in enumerate(inputs)}

    def _state(self, training: Training) -> Path:
        return self.laboratory.folder / "retraining" / f"{digest(self._identity(training))}.state.pt"

    def _identity(self, training: Training) -> Any:
        return [
            self.models[training.seed].identity,
            self._part(training).describe(),
            self._how(training).model_dump(mode="json"),
            self._prints,
            [self.settings.held_out, self.settings.held_out_images],
            [self.laboratory.fast_precision, self.laboratory.judge_precision],
            self._judged_on if self._judges(training) else None,
        ]

    def _part(self, training: Training) -> TrainedPart:
        return self.parts[training.seed][training.arm, training.trained_on]

    def _how(self, training: Training) -> RetrainSettings:
        return settings_for(
            training.trained_on,
            iterations=training.iterations,
            learning_rate=training.rate,
            warmup=training.iterations // WARM_UP,
            batch=self.settings.batch,
            patch=self.settings.patch,
            seed=training.seed,
            log_every=max(1, training.iterations // POINTS),
            checkpoint_every=CHECKPOINT_EVERY,
        )

    def _judges(self, training: Training) -> bool:
        """Whether the judging images are looked at: a shorter training only chooses a rate, on held-out images."""
        return training.iterations == self.settings.iterations

    @cached_property
    def _prints(self) -> list[str]:
        return [sample.fingerprint() for sample in self.samples]

    @cached_property
    def _judged_on(self) -> Any:
        laboratory = self.laboratory
        inputs = {name: str(degradation) for name, degradation in laboratory.inputs.items()}
        prints = [sample.fingerprint() for sample in self.judging]
        return [prints, inputs, laboratory.judge_precision, laboratory.common.seed]

    @cached_property
    def _images(self) -> tuple[list[Tensor], list[Tensor]]:
        """What is trained on, and the squares that are held out."""
        return split(self.samples, self.settings.held_out, self.settings.held_out_images)

    def _trained(self, training: Training) -> dict[str, Any]:
        model, own = self.models[training.seed], [training.trained_on]
        try:
            result = retrain(
                model.pair,
                self._part(training),
                self._how(training),
                self._images[0],
                state=self._state(training),
                precision=self.laboratory.fast_precision,
                progress=self.laboratory.progress,
            )
        except DivergedError as error:
            return {"diverged": str(error)}  # in a search, that a rate is too high is an answer
        return {
            "psnr": self._psnr(model, result.parameters) if self._judges(training) else {},
            "held_out": self._mean_psnr(model, result.parameters, self._images[1], own)[training.trained_on],
            "losses": result.losses,
            "weights": result.trained_weights,
        }

    def _psnr(self, model: TargetModel, parameters: Tensor) -> dict[str, list[float]]:
        """Return input → PSNR of every judging image."""
        inputs = list(self.laboratory.inputs)
        rows = [self._mean_psnr(model, parameters, [sample.read()], inputs) for sample in self.judging]
        return {name: [row[name] for row in rows] for name in inputs}

    def _mean_psnr(
        self, model: TargetModel, parameters: Tensor, images: Sequence[Tensor], inputs: Sequence[str]
    ) -> dict[str, float]:
        return psnr_per_degradation(
            model.pair.network(parameters),
            images,
            {name: self.laboratory.inputs[name] for name in inputs},
            scale=model.pair.scale,
            seed=self.laboratory.common.seed,
            precision=self.laboratory.judge_precision,
        )


def split(samples: Sequence[Sample], side: int, count: int) -> tuple[list[Tensor], list[Tensor]]:
    """Cut squares off the right edge of ``count`` images, spread evenly; what is left of those images is trained on.

    The strip that holds the square is ``side`` wide, but at most a quarter of the image; nothing of it is trained on.

    Returns:
        Images to train on (as many as there are samples), and squares.
    """
    chosen = {id(sample) for sample in evenly(list(samples), count)}
    training, held_out = [], []
    for sample in samples:
        image = sample.read()
        strip = min(side, image.shape[-1] // 4) if id(sample) in chosen else 0
        left = image.shape[-1] - strip
        training.append(image[..., :left].contiguous())
        if strip:
            held_out.append(center_crop(image[..., left:], strip))
    return training, held_out


@dataclass(frozen=True, eq=False)
class Trained:
    """One arm, trained on one degradation with every seed.

    Attributes:
        psnr: Input → ``(seeds, images)`` in dB.
        weights: Trained weights of every seed.
        losses: L1 along every seed's training, ``(seeds, points, 2)``: step and loss.
        rate: Learning rate.
        searched: Rate → PSNR on held-out training images; None where the training diverged. Empty for a single rate.
    """

    psnr: Mapping[str, Array]
    weights: Sequence[int]
    losses: Sequence[Sequence[Sequence[float]]]
    rate: float
    searched: Mapping[float, float | None]


@dataclass(frozen=True, eq=False)
class Retrainings:
    """What re-training one pair reached; "kind" is the degradation that was trained on.

    Attributes:
        name: The pair's.
        arms: In the order of the tables.
        kinds: Degradations that were trained on.
        trained: What every arm reached on every degradation.
        references: (``baseline`` or ``target``, input) → PSNR ``(seeds, images)``.
        resamples: Draws of a bootstrap.
    """

    name: str
    arms: Sequence[Arm]
    kinds: Sequence[str]
    trained: Mapping[Place, Trained]
    references: Mapping[tuple[str, str], Array]
    resamples: int = 2000

    @property
    def inputs(self) -> list[str]:
        """On which everything was judged."""
        return list(self.trained[BOUND, self.kinds[0]].psnr)

    def psnr(self, arm: Arm, kind: str, given: str | None = None) -> Array:
        """Return the PSNR on an input (default: the one trained on), ``(seeds, images)``."""
        return self.trained[arm, kind].psnr[given or kind]

    def quality(self, arm: Arm, kind: str, given: str | None = None) -> Estimate:
        """Return the PSNR on an input (default: the one trained on), mean ± sd over seeds."""
        return over_seeds(self.psnr(arm, kind, given).mean(1))

    def reference(self, network: str, given: str) -> Estimate:
        """Return the PSNR of the baseline or the target."""
        return over_seeds(self.references[network, given].mean(1))

    def way(self, arm: Arm, kind: str) -> Estimate | None:
        """Return how far the arm gets from the baseline (0) to all filters (1), in dB gained over all images.

        None where re-training all filters gains nothing.
        """
        bound, start = self.psnr(BOUND, kind), self.references["baseline", kind]
        if (bound.mean(1) <= start.mean(1)).any():
            return None
        return two_level_ratio(bound - self.psnr(arm, kind), bound - start, resamples=self.resamples)

    def compare(self, first: Arm, second: Arm, kind: str) -> Comparison:
        """Compare two arms on the degradation trained on: paired over images, averaged over seeds."""
        a, b = (self.psnr(arm, kind).mean(0) for arm in (first, second))
        return compare_paired(a, b, resamples=self.resamples)

    def better(self, first: Arm, second: Arm, kind: str) -> bool | None:
        """Say whether the first arm is better; None where it is not decided.

        Decided is what the interval of the difference over images says without covering 0, with p below 0.05 (on a
        few images intervals are too narrow), and what all seeds say alike.
        """
        compared = self.compare(first, second, kind)
        won = above(compared.difference)
        if won is None or compared.p >= SIGNIFICANT:
            return None
        per_seed = (self.psnr(first, kind) - self.psnr(second, kind)).mean(1)
        return None if len(set(np.sign(per_seed))) > 1 else won


def study(laboratory: Laboratory, settings: RetrainingSettings, name: str) -> Retrainings:
    """Re-train all arms of one pair: the learning rate of every arm first, then every arm with every seed.

    Raises:
        FilterlensError: A training diverged at its only rate, or at all of them.
    """
    shop, arms = Workshop(laboratory, settings, name), arms_of(laboratory, settings)
    places = [(arm, kind) for kind in laboratory.common.degradations for arm in arms]
    grids: dict[Place, Sequence[float]] = {place: getattr(settings.rates, place[0].grid) for place in places}
    steps = settings.search or settings.iterations
    tried = {place: [Training(0, *place, rate, steps) for rate in grid if len(grid) > 1]
             for place, grid in grids.items()}  # fmt: skip
    results = shop.train([training for own in tried.values() for training in own])
    searched = {place: {each.rate: results[each].get("held_out") for each in own} for place, own in tried.items()}
    rates = {place: best_rate(searched[place], grids[place], place) for place in places}
    wanted = {place: [Training(seed, *place, rates[place], settings.iterations) for seed in range(settings.seeds)]
              for place in places}  # fmt: skip
    results = shop.train([training for own in wanted.values() for training in own])
    trained = {}
    for place, own in wanted.items():
        runs = [results[training] for training in own]
        for run in runs:
            if "diverged" in run:
                raise FilterlensError(f"{place[0].label} on {place[1]}: {run['diverged']}")
        psnr = {given: np.array([run["psnr"][given] for run in runs]) for given in laboratory.inputs}
        weights, losses = ([run[what] for run in runs] for what in ("weights", "losses"))
        trained[place] = Trained(psnr, weights, losses, rates[place], searched[place])
    kinds = laboratory.common.degradations
    return Retrainings(name, arms, kinds, trained, shop.references(), laboratory.common.resamples)


def best_rate(searched: Mapping[float, float | None], grid: Sequence[float], place: Place) -> float:
    """Return the rate with the highest PSNR on held-out training images; of a single one, that one.

    Raises:
        FilterlensError: The training diverged at every rate.
    """
    if not searched:
        return grid[0]
    reached = {rate: value for rate, value in searched.items() if value is not None}
    if not reached:
        arm, kind = place
        raise FilterlensError(
            f"Re-training {arm.label} on {kind} diverged at every learning rate of "
            f"{', '.join(f'{rate:g}' for rate in grid)}. Give lower ones in the recipe, retraining.rates.{arm.grid}."
        )
    return max(reached, key=lambda rate: reached[rate])
