# SPDX-License-Identifier: Apache-2.0
"""Stability of a ranking under changes of its images or settings: rank correlation and common top filters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from filterlens.arguments import percentage, seed_number, whole_number
from filterlens.degradations.randomness import derive_seed
from filterlens.errors import UsageError
from filterlens.evaluation.statistics import Estimate, rank_correlation
from filterlens.filters import ranking

Part = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Agreement:
    """Two rankings of the same filters.

    Attributes:
        correlation: Spearman's rank correlation over all filters; 0 by chance, 1 the same order.
        overlap: Share of the top filters of one that are among the top filters of the other.
        chance: The overlap that two random rankings have on average.
    """

    correlation: float
    overlap: float
    chance: float


def agreement_of(first: Tensor, second: Tensor, percent: float = 1.0) -> Agreement:
    """Compare two score vectors ``(filters,)`` over the whole order and at the top ``percent`` % (at least one filter).

    Raises:
        UsageError: Different lengths, or no percentage.
    """
    percent = percentage(percent, of_none=False)
    correlation = rank_correlation(first.cpu().numpy(), second.cpu().numpy())
    count = max(1, int(len(first) * percent / 100 + 1e-9))
    common = torch.isin(ranking(first)[:count], ranking(second)[:count]).sum()
    return Agreement(correlation, float(common) / count, count / len(first))


def parts_of(items: int, size: int, most: int, seed: int = 0) -> list[Part]:
    """Split ``items`` images into ``size`` of them and all others, in at most ``most`` different ways.

    Where there are no more ways than that, it is all of them; two halves count as one way, whichever comes first.

    Raises:
        UsageError: A part would be empty.
    """
    seed = seed_number(seed)
    if not 0 < whole_number(size, "images in a part") < items or whole_number(most, "ways to split") < 1:
        raise UsageError(f"{items} images cannot be split into {size} and the rest in {most} ways: 1 to {items - 1}.")
    halves = 2 * size == items
    if math.comb(items, size) // (1 + halves) <= most:
        chosen = [each for each in combinations(range(items), size) if not halves or 0 in each]
    else:
        generator, found = np.random.default_rng(derive_seed(seed, "parts", items, size)), dict[tuple[int, ...], None]()
        while len(found) < most:
            drawn = set(generator.permutation(items)[:size].tolist())
            found[tuple(sorted(set(range(items)) - drawn if halves and 0 not in drawn else drawn))] = None
        chosen = list(found)
    return [(each, tuple(index for index in range(items) if index not in each)) for each in chosen]


def between_parts(scores: Tensor, parts: Sequence[Part], percent: float = 1.0) -> list[Agreement]:
    """Compare the ranking from one part of the images with that from the other part.

    Args:
        scores: Per image, ``(images, filters)``; the ranking from several images is that of their mean, which holds for
            FAIG with and without elimination, IG and Taylor.
        parts: Two disjoint sets of images each; see :func:`parts_of`.
        percent: Share of top filters that is compared, as in :func:`agreement_of`.
    """
    means = [[scores[list(part)].mean(0) for part in both] for both in parts]
    return [agreement_of(first, second, percent) for first, second in means]


def spread(values: Sequence[float]) -> Estimate:
    """Return the mean with the lowest and the highest value (splits of one set of images are not independent)."""
    mean = sum(values) / len(values)
    return Estimate(mean, min(values), max(values), n=len(values))
