# SPDX-License-Identifier: Apache-2.0
"""The layers of the selected filters, compared with chance."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from filterlens.errors import FilterlensError, UsageError
from filterlens.evaluation.statistics import LEVEL, RESAMPLES, Estimate, Overlap, overlap_by_chance
from filterlens.run.tables import LayerShare

if TYPE_CHECKING:  # the report reads shares from a table and needs no torch
    from filterlens.filters import Selection


@dataclass(frozen=True)
class Uniformity:
    """How far a selection is from being spread over the layers as all filters are.

    Attributes:
        distance: Total variation, ½ Σ |share of the selection − share of all filters| over layers; 0 is uniform.
        expected: Mean distance of random selections of the same size, which is not 0.
        p: Probability of at least that distance for a random selection (Monte Carlo, (1 + hits) / (1 + draws)).
    """

    distance: float
    expected: float
    p: float


def distribution(selection: "Selection") -> list[LayerShare]:
    """Count a selection per layer, in the order of the network."""
    space = selection.space
    counts = space.layer_counts(selection.indices).tolist()
    last = max(1, len(space.layers) - 1)
    return [
        LayerShare(layer.name, index / last, layer.count, counts[index], counts[index] / max(1, len(selection)))
        for index, layer in enumerate(space.layers)
    ]


def depth_of(rows: Iterable[LayerShare]) -> float:
    """Return the mean relative depth from the shares per layer; 0 is the first layer, 1 the last."""
    return sum(row.share * row.position for row in rows)


def chance_depth(rows: Sequence[LayerShare]) -> float:
    """Return the mean relative depth of all filters: that of a random selection on average."""
    return sum(row.position * row.filters for row in rows) / max(1, sum(row.filters for row in rows))


def mean_depth(selection: "Selection") -> float:
    """Return the mean relative depth of the selected filters; 0 is the first layer, 1 the last."""
    return depth_of(distribution(selection))


def depth_estimate(
    selection: "Selection", *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Estimate:
    """Return the mean relative depth with a bootstrap interval over the selected filters.

    Drawing filters with replacement draws their layers from a multinomial law, so no filter is touched.

    Args:
        selection: Not empty.
        resamples: Number of draws.
        level: Level of the interval.
        seed: Seed of the draws.

    Raises:
        UsageError: The selection is empty.
    """
    rows, count = _rows(selection)
    positions = np.array([row.position for row in rows])
    shares = np.array([row.selected for row in rows]) / count
    draws = np.random.default_rng(seed).multinomial(count, shares, size=resamples) @ positions / count
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    mean = float(shares @ positions)
    spread = float(np.sqrt(shares @ (positions - mean) ** 2 * count / (count - 1))) if count > 1 else None
    return Estimate(mean, float(low), float(high), spread, count)


def uniformity(selection: "Selection", *, draws: int = 10_000, seed: int = 0) -> Uniformity:
    """Return how far the selection is from the spread of all filters over layers, against random selections.

    Args:
        selection: Not empty.
        draws: Random selections of the same size (multivariate hypergeometric: a filter is chosen once).
        seed: Seed of the draws.

    Raises:
        UsageError: The selection is empty.
    """
    rows, count = _rows(selection)
    filters = np.array([row.filters for row in rows])
    everything = filters / filters.sum()
    found = 0.5 * float(np.abs(np.array([row.selected for row in rows]) / count - everything).sum())
    random = np.random.default_rng(seed).multivariate_hypergeometric(filters, count, size=draws, method="marginals")
    distances = 0.5 * np.abs(random / count - everything).sum(1)
    hits = int((distances >= found - 1e-12).sum())  # equal counts, summed in another order
    return Uniformity(found, float(distances.mean()), (1 + hits) / (1 + draws))


def overlap(first: "Selection", second: "Selection") -> Overlap:
    """Compare the overlap of two selections of one network with chance.

    Raises:
        FilterlensError: The selections belong to different networks.
    """
    if first.space != second.space:
        raise FilterlensError(f"The selections are of two networks: {first.space} and {second.space}.")
    common = int((first.mask & second.mask).sum())
    return overlap_by_chance(common, len(first), len(second), len(first.space))


def _rows(selection: "Selection") -> tuple[list[LayerShare], int]:
    if not len(selection):
        raise UsageError("The selection is empty: no filter lies anywhere. Take a larger percentage.")
    return distribution(selection), len(selection)
