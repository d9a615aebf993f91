# SPDX-License-Identifier: Apache-2.0
"""What an input has, and why: the filters that the network uses on it, patch by patch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from filterlens.diagnosis.classify import Classifier, Verdict
from filterlens.diagnosis.overlap import cut_patches, input_magnitudes, overlap_scores, patch_corners


@dataclass(frozen=True, eq=False)
class Explanation:
    """A verdict with its reasons.

    Attributes:
        verdict: Which degradations are there.
        thresholds: Degradation → overlap from which on it is said to be there.
        percent: Share of the filters that the overlap compares.
        shares: What part of the change that fine-tuning made to this input each filter carries, ``(filters,)``
            float64 with the sum 1.
    """

    verdict: Verdict
    thresholds: Mapping[str, float]
    percent: float
    shares: Tensor


def explaining(classifier: Classifier, image: Tensor) -> Iterator[Explanation | None]:
    """Judge an input as :meth:`Classifier.classify` does, pausing after each patch so that the caller may stop.

    Args:
        classifier: With a reading that needs no ground truth.
        image: LR ``(1, 3, h, w)`` in [0, 1].

    Yields:
        None after every patch, and the explanation at last.

    Raises:
        UsageError: The image is too small.
        FilterlensError: The magnitudes are not finite or all zero.
    """
    pair, reading = classifier.pair, classifier.reading
    corners = patch_corners(image.shape[-2], image.shape[-1], most=reading.patches)
    total = torch.zeros(len(pair.space), dtype=torch.float64)
    for patch in cut_patches(image, corners):
        total += input_magnitudes(pair, patch.unsqueeze(0), None, reading)
        yield None
    shares = total / total.sum()
    scores = overlap_scores(shares, classifier.selections, classifier.percent)
    yield Explanation(classifier.judge(scores), dict(classifier.thresholds), classifier.percent, shares)
