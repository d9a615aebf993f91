# SPDX-License-Identifier: Apache-2.0
"""How well overlap scores tell degradations: ROC curve, area under it, accuracy, confusion."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from filterlens.execution.torchvision_stand_in import import_beside_torchvision

_METRICS = "torchmetrics.functional.classification"


@dataclass(frozen=True, eq=False)
class RocCurve:
    """True against false positives over all thresholds; an input is positive when its score ≥ the threshold.

    Attributes:
        false_positive_rate: ``(n,)``, rising from 0 to 1.
        true_positive_rate: ``(n,)``.
        thresholds: ``(n,)``, falling.
    """

    false_positive_rate: Tensor
    true_positive_rate: Tensor
    thresholds: Tensor


def roc_curve(scores: Tensor, present: Tensor) -> RocCurve:
    """Return the ROC curve of scores in [0, 1] ``(n,)`` against which inputs have the degradation, ``(n,)`` bool."""
    return RocCurve(*import_beside_torchvision(_METRICS).binary_roc(scores.double(), present.long()))


def area_under_roc(scores: Tensor, present: Tensor) -> float:
    """Return the probability that a random input with the degradation scores above one without; ties count half."""
    return float(import_beside_torchvision(_METRICS).binary_auroc(scores.double(), present.long()))


def accuracy(scores: Tensor, present: Tensor, threshold: float) -> float:
    """Return the share of inputs for which ``score ≥ threshold`` says rightly whether the degradation is there."""
    return float(((scores >= threshold) == present).double().mean())


def balanced_accuracy(scores: Tensor, present: Tensor, threshold: float) -> float:
    """Return the mean of the accuracies on inputs with and on inputs without the degradation."""
    said = scores >= threshold
    return float((said[present].double().mean() + (~said[~present]).double().mean()) / 2)


def confusion(truths: Sequence[str], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count: true label → given label → how many inputs, in the order in which the labels first appear."""
    pairs = Counter(zip(truths, labels, strict=True))
    names = list(dict.fromkeys([*truths, *labels]))
    rows = list(dict.fromkeys(truths))
    return {row: {name: pairs[row, name] for name in names} for row in rows}


def label_accuracy(truths: Sequence[str], labels: Sequence[str]) -> float:
    """Return the share of inputs whose whole label is right; one of two degradations counts as wrong."""
    right = torch.tensor([truth == label for truth, label in zip(truths, labels, strict=True)])
    return float(right.double().mean())
