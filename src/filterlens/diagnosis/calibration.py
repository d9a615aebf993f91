# SPDX-License-Identifier: Apache-2.0
"""Thresholds on the overlap score and the probability behind a score, calibrated on images degraded on purpose."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from filterlens.data.samples import Sample
from filterlens.degradations import AnyDegradation, Degradation, Pairs
from filterlens.degradations.inputs import example_of
from filterlens.diagnosis.overlap import Reading, cut_patches, input_magnitudes, overlap_scores, patch_corners
from filterlens.errors import UsageError
from filterlens.filters import Selection
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress

CalibrationInput = tuple[frozenset[str], Degradation]  # names of the degradations, and their chain

PAPER_THRESHOLDS = {"noise": 0.6, "blur": 0.5}
OTHER_THRESHOLD = 0.5  # ours: the paper knows blur and noise alone


@dataclass(frozen=True)
class Logistic:
    """P(degradation present | overlap) = 1 / (1 + exp(−slope · (overlap − middle))).

    Attributes:
        middle: Overlap at which presence is as probable as absence.
        slope: Change of the log-odds per unit of overlap.
    """

    middle: float
    slope: float

    def __call__(self, overlap: float) -> float:
        """Return the probability of presence."""
        return float(torch.sigmoid(torch.tensor(self.slope * (overlap - self.middle), dtype=torch.float64)))


@dataclass(frozen=True)
class Calibration:
    """The calibration of one degradation.

    Attributes:
        threshold: Threshold of best balanced accuracy.
        curve: Overlap → probability.
        balanced_accuracy: Accuracy at the threshold, on the calibration inputs from which it comes.
        hidden_by: Other degradations that hide this one: of the calibration inputs with both, the threshold finds less
            than half. Such inputs are left out of threshold and curve.
    """

    threshold: float
    curve: Logistic
    balanced_accuracy: float
    hidden_by: tuple[str, ...] = ()


def paper_threshold(degradation: str) -> float:
    """Return the paper's threshold: 0.6 for noise, 0.5 for blur; 0.5 for all others, which is our choice."""
    return PAPER_THRESHOLDS.get(degradation.partition(":")[0] if "+" not in degradation else "", OTHER_THRESHOLD)


def best_threshold(scores: Tensor, present: Tensor) -> tuple[float, float]:
    """Return the threshold of best balanced accuracy, and that accuracy.

    An input has the degradation when its score ≥ the threshold. Thresholds between two neighbouring scores are
    equivalent: the middle of the gap is taken, and the widest gap where several are equally good.

    Args:
        scores: Overlap per input, ``(n,)``.
        present: True for inputs with the degradation, ``(n,)``.

    Raises:
        UsageError: All inputs have it, or none.
    """
    _check_both(present)
    values = torch.unique(scores.double())
    lower = torch.cat([values.new_zeros(1).minimum(values[:1]), values])
    upper = torch.cat([values, values.new_ones(1).maximum(values[-1:])])
    middles, gaps = (lower + upper) / 2, upper - lower
    said = scores.double().unsqueeze(0) >= middles.unsqueeze(1)
    accuracies = (said[:, present].double().mean(1) + (~said[:, ~present]).double().mean(1)) / 2
    best = accuracies.max()
    chosen = int(torch.where(accuracies >= best - 1e-12, gaps, -1.0).argmax())
    return float(middles[chosen]), float(best)


def fit_logistic(scores: Tensor, present: Tensor) -> Logistic:
    """Fit P(present | overlap), both classes weighing the same, by maximum likelihood with Platt's targets.

    The targets (n₊ + 1)/(n₊ + 2) and 1/(n₋ + 2) in place of 1 and 0 keep the slope finite where the classes are
    separable (J. Platt, Probabilistic outputs for support vector machines, 1999).

    Raises:
        UsageError: All inputs have the degradation, or none.
    """
    _check_both(present)
    values, number = scores.double(), present.double().sum()
    rest = len(present) - number
    targets = torch.where(present, (number + 1) / (number + 2), 1 / (rest + 2))
    weights = torch.where(present, 0.5 / number, 0.5 / rest)
    mean, spread = values.mean(), values.std().clamp_min(1e-6)
    line = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([line], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = line[0] * (values - mean) / spread + line[1]
        value = F.binary_cross_entropy_with_logits(logits, targets, weights, reduction="sum")
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    slope, offset = (float(value) for value in line.detach())
    if slope <= 0:  # overlaps that do not rise with presence say nothing
        return Logistic(float(mean), 0.0)
    return Logistic(float(mean - offset * spread / slope), float(slope / spread))


def calibrate(scores: Mapping[str, Tensor], present: Sequence[frozenset[str]]) -> dict[str, Calibration]:
    """Calibrate every degradation on inputs that have none, one, or two of them.

    Args:
        scores: Degradation → overlap per input, ``(n,)``.
        present: The degradations of every input.

    Raises:
        UsageError: For a degradation, inputs with it alone or inputs without it are missing.
    """
    return {name: _calibrate_one(name, values, present) for name, values in scores.items()}


def _calibrate_one(name: str, scores: Tensor, inputs: Sequence[frozenset[str]]) -> Calibration:
    present = torch.tensor([name in each for each in inputs])
    simple = torch.tensor([len(each) < 2 or name not in each for each in inputs])
    threshold, _ = best_threshold(scores[simple], present[simple])
    hidden = []
    for other in sorted(set().union(*inputs) - {name}):
        both = torch.tensor([each == {name, other} for each in inputs])
        if both.any() and (scores[both] >= threshold).double().mean() < 0.5:
            hidden.append(other)
    used = torch.tensor([name not in each or each.isdisjoint(hidden) for each in inputs])
    threshold, reached = best_threshold(scores[used], present[used])
    return Calibration(threshold, fit_logistic(scores[used], present[used]), reached, tuple(hidden))


def calibration_inputs(degradations: Sequence[str]) -> list[CalibrationInput]:
    """Return the degradations of calibration inputs: none, each one, and each two that one input can have."""
    alone = {name: Degradation.parse(name) for name in degradations}
    return [(frozenset(), Degradation()), *((frozenset({name}), each) for name, each in alone.items()), *_twos(alone)]


def _twos(degradations: Mapping[str, Degradation]) -> Iterator[CalibrationInput]:
    for (one, first), (other, second) in combinations(degradations.items(), 2):
        with contextlib.suppress(UsageError):  # two strengths of one effect
            yield frozenset({one, other}), Degradation.parse(f"{first}+{second}")


def _inputs_of(degradations: Mapping[str, AnyDegradation]) -> list[tuple[frozenset[str], AnyDegradation]]:
    """Return those of :func:`calibration_inputs`; a function of the user's stands alone, since none can join it."""
    written = {name: each for name, each in degradations.items() if isinstance(each, Degradation)}
    alone = [(frozenset({name}), each) for name, each in degradations.items()]
    return [(frozenset(), Degradation()), *alone, *_twos(written)]


def calibrate_on_images(
    pair: ModelPair,
    selections: Mapping[float, Mapping[str, Selection]],
    samples: Sequence[Sample],
    *,
    known: Mapping[str, AnyDegradation] | None = None,
    patches: int = 1,
    seed: int = 0,
    resampler: str = "bicubic",
    reading: Reading | None = None,
    progress: Progress = SILENT,
) -> dict[float, dict[str, Calibration]]:
    """Calibrate at several percentages from the same magnitudes.

    Args:
        pair: Baseline and target.
        selections: Percent of the filters → degradation → filter^D.
        samples: HR images; better not those that the classifier is tested on.
        known: Name → degradation; None where all are written. Pairs are inputs with their degradation alone.
        patches: Number of 64×64 LR patches of every image; each is an input of its own.
        seed: Seed of the noise.
        resampler: Resampler of the down-sampling.
        reading: Settings with which filter^x is found.
        progress: Receiver of the progress bar.

    Returns:
        Percent → degradation → calibration.
    """
    degradations = list(next(iter(selections.values()), {}))
    given = {name: Degradation.parse(name) for name in degradations} if known is None else known
    inputs = _inputs_of({name: given[name] for name in degradations if not isinstance(given[name], Pairs)})
    pairs = [(name, each) for name in degradations if isinstance(each := given[name], Pairs)]
    scores: dict[float, dict[str, list[float]]] = {
        percent: {name: [] for name in degradations} for percent in selections
    }
    present: list[frozenset[str]] = []

    def read(low: Tensor, names: frozenset[str]) -> None:
        corners = patch_corners(low.shape[-2], low.shape[-1], most=patches)
        for patch in torch.split(cut_patches(low, corners), 1):
            present.append(names)
            magnitudes = input_magnitudes(pair, patch, reading=reading)
            for percent, table in scores.items():
                for name, score in overlap_scores(magnitudes, selections[percent], percent).items():
                    table[name].append(score)

    total = len(samples) * len(inputs) + sum(len(each.samples) for _, each in pairs)
    with progress.bar("calibrate", total) as bar:
        for sample in samples:
            truth = sample.truth(pair.scale)
            for names, degradation in inputs:
                read(degradation.apply(truth, pair.scale, seed=seed, resampler=resampler), names)
                bar.advance()
        for name, each in pairs:
            for sample in each.samples:
                read(example_of(sample, each, pair.scale).lowered, frozenset({name}))
                bar.advance()
    tables = {percent: {name: torch.tensor(each) for name, each in table.items()} for percent, table in scores.items()}
    return {percent: calibrate(table, present) for percent, table in tables.items()}


def _check_both(present: Tensor) -> None:
    if present.all() or not present.any():
        raise UsageError("Calibration needs inputs with the degradation and inputs without it.")
