# SPDX-License-Identifier: Apache-2.0
"""Thresholds on the overlap score, and what a score says about the probability that a degradation is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from filterlens.errors import UsageError

PAPER_THRESHOLDS = {"noise": 0.6, "blur": 0.5}
OTHER_THRESHOLD = 0.5  # ours: the paper knows blur and noise alone


@dataclass(frozen=True)
class Logistic:
    """P(degradation present | overlap) = 1 / (1 + exp(−slope · (overlap − middle))).

    Attributes:
        middle: The overlap at which presence is as probable as absence.
        slope: Per unit of overlap.
    """

    middle: float
    slope: float

    def __call__(self, overlap: float) -> float:
        """Return the probability of presence."""
        return float(torch.sigmoid(torch.tensor(self.slope * (overlap - self.middle), dtype=torch.float64)))


@dataclass(frozen=True)
class Calibration:
    """What calibration inputs say of one degradation.

    Attributes:
        threshold: Of best balanced accuracy.
        curve: Overlap → probability.
        balanced_accuracy: At the threshold, on the calibration inputs from which it comes.
        hidden_by: Other degradations beneath which this one is not seen: of the calibration inputs with both, the
            threshold finds less than half. Such inputs are left out of threshold and curve.
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

    An input has the degradation when its score ≥ the threshold. Thresholds between two neighbouring scores do the
    same: the middle of the gap is taken, and the widest gap where several are equally good.

    Args:
        scores: Overlap per input, ``(n,)``.
        present: Which inputs have the degradation, ``(n,)`` bool.

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


def calibrate(scores: Mapping[str, Tensor], kinds: Sequence[frozenset[str]]) -> dict[str, Calibration]:
    """Calibrate every degradation on inputs that have none, one, or two of them.

    Args:
        scores: Degradation → overlap per input, ``(n,)``.
        kinds: The degradations of every input.

    Raises:
        UsageError: For a degradation, inputs with it alone or inputs without it are missing.
    """
    return {name: _calibrate_one(name, values, kinds) for name, values in scores.items()}


def _calibrate_one(name: str, scores: Tensor, kinds: Sequence[frozenset[str]]) -> Calibration:
    present = torch.tensor([name in kind for kind in kinds])
    simple = torch.tensor([len(kind) < 2 or name not in kind for kind in kinds])
    threshold, _ = best_threshold(scores[simple], present[simple])
    hidden = []
    for other in sorted(set().union(*kinds) - {name}):
        both = torch.tensor([kind == {name, other} for kind in kinds])
        if both.any() and (scores[both] >= threshold).double().mean() < 0.5:
            hidden.append(other)
    used = torch.tensor([name not in kind or kind.isdisjoint(hidden) for kind in kinds])
    threshold, reached = best_threshold(scores[used], present[used])
    return Calibration(threshold, fit_logistic(scores[used], present[used]), reached, tuple(hidden))


def _check_both(present: Tensor) -> None:
    if present.all() or not present.any():
        raise UsageError("Calibration needs inputs with the degradation and inputs without it.")
