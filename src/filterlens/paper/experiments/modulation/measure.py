# SPDX-License-Identifier: Apache-2.0
"""Measure knobs on a set of images: PSNR, removal and preservation at every strength λ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from filterlens.attribution.result import Attribution
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.evaluation.modulation import (
    AllWeights,
    FilterKnob,
    Knob,
    OutputBlend,
    best_strength,
    measure_knobs,
    preservation_at,
)
from filterlens.evaluation.statistics import Array, Estimate, bootstrap_mean, draw_counts
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.settings import Percent, Positive, Settings
from filterlens.work.store import digest

ALL_WEIGHTS, BLEND = "all weights (DNI)", "output blending"
QUANTITIES = ("psnr", "to_baseline", "to_target", "scale")  # of a knob on an image
DEFAULT_INPUTS = {
    "blur:2": ("clean", "blur:1", "blur:1.5", "blur:2", "blur:2.5", "blur:3"),
    "noise:0.1": ("clean", "noise:0.05", "noise:0.1", "noise:0.15", "noise:0.2"),
}


class ModulationSettings(Settings):
    """Settings of controllable restoration.

    Attributes:
        pairs: At most so many of the common pairs.
        percents: Shares of the filters that are dialled.
        strengths: λ.
        inputs: Degradation → inputs of varying strength on which its filters are dialled, weakest first.
        levels: Removals at which knobs are compared.
        images: At most so many of the images to judge on, spread evenly.
        picture: Side of the square that is shown, in HR pixels.
    """

    pairs: Positive | None = None
    percents: tuple[Percent, ...] = (1.0, 5.0)
    strengths: tuple[float, ...] = (0, 0.2, 0.4, 0.6, 0.8, 0.9, 1, 1.1, 1.2, 1.35, 1.5)
    inputs: dict[str, tuple[str, ...]] = DEFAULT_INPUTS
    levels: tuple[float, ...] = (0.5, 0.75, 0.9)
    images: Positive | None = None
    picture: Positive = 160


def inputs_of(laboratory: Laboratory, settings: ModulationSettings) -> dict[str, tuple[str, ...]]:
    """Return the inputs on which the filters of each degradation are dialled, in their canonical names."""
    given = {str(Degradation.parse(kind)): inputs for kind, inputs in settings.inputs.items()}
    chosen = {kind: given.get(kind, ("clean", kind)) for kind in laboratory.common.degradations}
    return {kind: tuple(str(Degradation.parse(each)) for each in inputs) for kind, inputs in chosen.items()}


def knob_name(degradation: str, percent: float) -> str:
    """Name the knob on the filters found for a degradation."""
    return f"{percent:g} %, found for {degradation}"


@dataclass(frozen=True, eq=False)
class Dials:
    """All knobs on all images.

    Attributes:
        name: Name of the pair.
        inputs: Degradation → inputs on which its filters were dialled, weakest first.
        percents: Shares of the filters that were dialled.
        strengths: λ, ascending; 1 is among them.
        images: Names of the images.
        rows: (knob, input) → (quantity, strengths, images) with the quantities of :data:`QUANTITIES`.
        resamples: Draws of a bootstrap over images.
    """

    name: str
    inputs: Mapping[str, Sequence[str]]
    percents: tuple[float, ...]
    strengths: tuple[float, ...]
    images: tuple[str, ...]
    rows: Mapping[tuple[str, str], Array]
    resamples: int = 2000

    @property
    def percent(self) -> float:
        """The smallest share of the filters; claims and figures show it."""
        return min(self.percents)

    def knob(self, kind: str) -> str:
        """Return the knob on the smallest share of the filters found for a degradation."""
        return knob_name(kind, self.percent)

    def knobs(self, kind: str) -> list[str]:
        """Return the knobs on all shares of the filters found for a degradation."""
        return [knob_name(kind, percent) for percent in self.percents]

    def psnr(self, knob: str, kind: str) -> Array:
        """Return the PSNR in dB, ``(strengths, images)``."""
        return np.asarray(self.rows[knob, kind][0])

    def best(self, knob: str, kind: str) -> Estimate:
        """Return the λ with the highest mean PSNR, with its interval over images."""
        values = self.psnr(knob, kind)
        draws = values @ draw_counts(len(self.images), self.resamples, 0).T / len(self.images)
        interval = self._interval([best_strength(self.strengths, draw) for draw in draws.T])
        return Estimate(best_strength(self.strengths, values.mean(1)), *interval, n=len(self.images))

    def gain_beyond(self, knob: str, kind: str) -> Estimate:
        """Return the gain in dB over λ = 1 of the best λ ≥ 1, which is chosen for each image on all other images."""
        values, one = self.psnr(knob, kind), self.strengths.index(1)
        beyond, images = values[one:], len(self.images)
        others = [beyond[:, [i for i in range(images) if i != image] or [image]].mean(1) for image in range(images)]
        gains = [beyond[other.argmax(), image] - beyond[0, image] for image, other in enumerate(others)]
        return bootstrap_mean(gains, resamples=self.resamples)

    def curve(self, knob: str, own: str, other: str, counts: Array | None = None) -> tuple[list[float], list[float]]:
        """Return removal on one input and preservation on another, pooled over images, from λ = 1 down to 0."""
        down = [index for index, strength in enumerate(self.strengths) if 0 <= strength <= 1][::-1]
        weights = np.ones(len(self.images)) if counts is None else counts
        removed, kept = self.rows[knob, own], self.rows[knob, other]
        return (
            (1 - (removed[1] @ weights)[down] / (removed[3] @ weights)[down]).tolist(),
            (1 - (kept[2] @ weights)[down] / (kept[3] @ weights)[down]).tolist(),
        )

    def kept(self, knob: str, own: str, other: str, level: float) -> Estimate | None:
        """Return the preservation of another input where a knob removes ``level``; None where it never does."""
        value = preservation_at(*self.curve(knob, own, other), level)
        if value is None:
            return None
        counts = draw_counts(len(self.images), self.resamples, 0)
        drawn = [preservation_at(*self.curve(knob, own, other, each), level) for each in counts]
        interval = self._interval([each for each in drawn if each is not None])
        return Estimate(value, *interval, n=len(self.images))

    def _interval(self, draws: Sequence[float]) -> tuple[float | None, float | None]:
        if len(self.images) < 2 or not draws:
            return None, None
        low, high = np.quantile(draws, [0.025, 0.975])
        return float(low), float(high)


def dial(
    laboratory: Laboratory,
    settings: ModulationSettings,
    model: TargetModel,
    found: Attribution,
    samples: Sequence[Sample],
) -> Dials:
    """Dial the found filters, all weights and the blend of outputs.

    The filters of a degradation are dialled on the inputs of the settings, and all knobs on the common ones and clean.

    Args:
        laboratory: Shares and keeps the results.
        settings: Shares of the filters, strengths (0 and 1 are added where they are missing) and inputs.
        model: Baseline and target.
        found: The ranking.
        samples: HR images.
    """
    grid = tuple(sorted({0.0, 1.0, *settings.strengths}))
    everywhere, inputs = tuple(laboratory.inputs), inputs_of(laboratory, settings)
    knobs: dict[str, tuple[Knob, tuple[str, ...]]] = {}
    chosen: dict[str, str] = {}
    for kind, own in inputs.items():
        for percent in settings.percents:
            name, selection = knob_name(kind, percent), found.select(kind, percent)
            knobs[name] = FilterKnob(selection), tuple(dict.fromkeys((*everywhere, *own)))
            chosen[name] = selection.fingerprint()
    knobs |= {ALL_WEIGHTS: (AllWeights(), everywhere), BLEND: (OutputBlend(), everywhere)}
    kinds = {kind: Degradation.parse(kind) for _, where in knobs.values() for kind in where}
    precision, seed = laboratory.judge_precision, laboratory.common.seed
    wanted = {name: [digest(chosen.get(name)), list(where)] for name, (_, where) in knobs.items()}

    def measure(model: TargetModel, sample: Sample) -> dict[str, Any]:
        dialled = measure_knobs(model.pair, knobs, sample, kinds, grid, seed=seed, precision=precision)
        return {"dialled": [[getattr(each, quantity) for quantity in QUANTITIES] for each in dialled]}

    def identity(model: TargetModel) -> Any:
        return [model.identity, wanted, grid, precision]

    measured = laboratory.measured("modulation", [model], samples, identity, measure, title=lambda model: model.title)
    rows = [
        (name, kind) for kind in kinds for name, (_, where) in knobs.items() if kind in where
    ]  # as they are measured
    table = measured["dialled"].reshape(len(samples), len(rows), len(grid), len(QUANTITIES))
    by_row = dict(zip(rows, table.transpose(1, 3, 2, 0), strict=True))
    images = tuple(sample.name for sample in samples)
    return Dials(model.name, inputs, settings.percents, grid, images, by_row, laboratory.common.resamples)
