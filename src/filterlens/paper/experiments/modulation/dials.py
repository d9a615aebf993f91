# SPDX-License-Identifier: Apache-2.0
"""What knobs do to a set of images, as pieces of work: PSNR, removal and preservation at every strength λ."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.evaluation.modulation import (
    AllWeights,
    Dialled,
    FilterKnob,
    Knob,
    OutputBlend,
    best_strength,
    measure_knobs,
    preservation_at,
)
from filterlens.evaluation.statistics import Estimate, bootstrap_mean, draw_counts
from filterlens.filters import Selection
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.pieces import digest

Array = npt.NDArray[np.float64]
ALL_WEIGHTS, BLEND = "all weights (DNI)", "output blending"


def knob_name(degradation: str, percent: float) -> str:
    """Name the knob on the filters found for a degradation."""
    return f"{percent:g} %, found for {degradation}"


@dataclass(frozen=True, eq=False)
class Dials:
    """All knobs on all images.

    Attributes:
        strengths: λ, ascending; 1 is among them.
        images: Names of the images.
        rows: (knob, input) → (quantity, strengths, images) with the quantities of :data:`QUANTITIES`.
        resamples: Of bootstraps over images.
    """

    strengths: tuple[float, ...]
    images: tuple[str, ...]
    rows: Mapping[tuple[str, str], Array]
    resamples: int = 2000

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


QUANTITIES = ("psnr", "to_baseline", "to_target", "scale")


def dial(
    laboratory: Laboratory,
    model: TargetModel,
    selections: Mapping[tuple[str, float], Selection],
    samples: Sequence[Sample],
    strengths: Sequence[float],
    inputs: Mapping[str, Collection[str]],
) -> Dials:
    """Dial the found filters, all weights and the blend of outputs.

    Args:
        laboratory: Shares and keeps the pieces.
        model: Baseline and target.
        selections: (degradation, percent) → found filters.
        samples: HR images.
        strengths: λ; 0 and 1 are added where they are missing.
        inputs: Degradation → inputs on which its filters are dialled, besides the common ones and clean, on which all
            knobs are.
    """
    grid = tuple(sorted({0.0, 1.0, *strengths}))
    everywhere = tuple(laboratory.inputs)
    knobs: dict[str, tuple[Knob, tuple[str, ...]]] = {
        knob_name(*key): (FilterKnob(selection), tuple(dict.fromkeys((*everywhere, *inputs[key[0]]))))
        for key, selection in selections.items()
    }
    knobs |= {ALL_WEIGHTS: (AllWeights(), everywhere), BLEND: (OutputBlend(), everywhere)}
    kinds = {kind: Degradation.parse(kind) for kind in dict.fromkeys(k for _, where in knobs.values() for k in where)}
    precision, seed = laboratory.judge_precision, laboratory.common.seed
    chosen = {knob_name(*key): each.indices.sort().values.tolist() for key, each in selections.items()}
    wanted = {name: [digest(chosen.get(name)), list(where)] for name, (_, where) in knobs.items()}

    def compute(sample: Sample) -> Any:
        measured = measure_knobs(model.pair, knobs, sample, kinds, grid, seed=seed, precision=precision)
        return [asdict(each) for each in measured]

    results = laboratory.pieces.of(
        "modulation",
        samples,
        lambda sample: [model.identity, wanted, sample.fingerprint(), grid, precision, seed],
        compute,
        title=lambda sample: f"{model.name}, {sample.name}",
    )
    rows = [[Dialled(**row) for row in result] for result in results]
    return _joined(grid, [sample.name for sample in samples], rows, laboratory.common.resamples)


def _joined(grid: tuple[float, ...], images: Sequence[str], rows: Sequence[Sequence[Dialled]], resamples: int) -> Dials:
    """Turn rows per image into arrays; all images hold the same rows in the same order."""
    keys = dict.fromkeys((row.knob, row.input) for row in rows[0])
    tables: dict[tuple[str, str], Array] = {}
    for key in keys:
        column = partial(_column, rows, key)
        tables[key] = np.array([column(quantity) for quantity in QUANTITIES], dtype=np.float64)
    return Dials(grid, tuple(images), tables, resamples)


def _column(rows: Sequence[Sequence[Dialled]], key: tuple[str, str], quantity: str) -> list[list[float]]:
    """Return one quantity of one knob on one input: ``[strengths][images]``."""
    per_image = [[getattr(row, quantity) for row in each if (row.knob, row.input) == key] for each in rows]
    return [list(values) for values in zip(*per_image, strict=True)]
