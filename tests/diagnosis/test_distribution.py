# SPDX-License-Identifier: Apache-2.0
"""Where selected filters sit."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from filterlens import FilterlensError, FilterSpace, Selection, UsageError
from filterlens.diagnosis.distribution import (
    chance_depth,
    depth_estimate,
    distribution,
    mean_depth,
    overlap,
    uniformity,
)

SPACE = FilterSpace(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 1, 1)))


def test_counts_and_shares_per_layer():
    chosen = Selection.of(SPACE, ["0.weight[0, 0]", "0.weight[1, 2]", "2.weight[0, 1]", "2.weight[0, 0]"])
    rows = [(row.layer, row.position, row.filters, row.selected, row.share) for row in distribution(chosen)]
    assert rows == [("0", 0, 6, 2, 0.5), ("1", 0.5, 4, 0, 0), ("2", 1, 2, 2, 0.5)]


def test_mean_depth_is_0_for_the_first_layer_and_1_for_the_last():
    assert mean_depth(Selection.of(SPACE, ["0.weight[0, 0]"])) == 0
    assert mean_depth(Selection.of(SPACE, ["2.weight[0, 0]"])) == 1
    assert mean_depth(Selection.of(SPACE, ["0.weight[0, 0]", "1.weight[0, 0]"])) == pytest.approx(0.25)


def random_selection(count=4, seed=0):
    order = torch.randperm(len(SPACE), generator=torch.Generator().manual_seed(seed))
    return Selection(SPACE, order[:count])


def test_chance_depth_is_the_mean_depth_of_all_filters():
    everything = Selection(SPACE, torch.arange(len(SPACE)))
    assert chance_depth(distribution(random_selection())) == pytest.approx(mean_depth(everything))
    assert mean_depth(everything) == pytest.approx((4 * 0.5 + 2 * 1) / 12)


def test_the_depths_interval_is_the_bootstrap_over_filters():
    chosen = random_selection(8)
    positions = np.array([0.5 * int(SPACE.layer_index[index]) for index in chosen.indices])
    expected = stats.bootstrap((positions,), np.mean, n_resamples=20_000, method="percentile", random_state=0)
    found = depth_estimate(chosen, resamples=20_000)
    assert found.mean == pytest.approx(mean_depth(chosen)) and found.n == 8
    assert found.sd == pytest.approx(positions.std(ddof=1))
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval), abs=0.0626)
    assert depth_estimate(chosen) == depth_estimate(chosen)


def test_uniformity_is_that_of_all_random_selections():
    filters = np.array([6, 4, 2])
    every = []
    for chosen in combinations(range(12), 3):
        counts = np.bincount(np.searchsorted([6, 10, 12], chosen, side="right"), minlength=3)
        every.append(0.5 * np.abs(counts / 3 - filters / 12).sum())
    chosen = Selection.of(SPACE, ["2.weight[0, 0]", "2.weight[0, 1]", "1.weight[0, 0]"])
    found = uniformity(chosen, draws=40_000)
    distance = 0.5 * (abs(0 - 6 / 12) + abs(1 / 3 - 4 / 12) + abs(2 / 3 - 2 / 12))
    assert found.distance == pytest.approx(distance)
    assert found.expected == pytest.approx(np.mean(every), abs=0.005)
    assert found.p == pytest.approx(np.mean(np.array(every) >= distance - 1e-12), abs=0.005)


def test_all_filters_are_uniform():
    found = uniformity(Selection(SPACE, torch.arange(12)))
    assert found.distance == pytest.approx(0) and found.expected == pytest.approx(0) and found.p == 1


def test_the_overlap_of_two_selections_is_set_against_chance():
    found = overlap(random_selection(6, seed=1), random_selection(4, seed=2))
    common = len(set(random_selection(6, 1).indices.tolist()) & set(random_selection(4, 2).indices.tolist()))
    assert (found.common, found.first, found.second, found.total) == (common, 6, 4, 12)
    assert found.expected == pytest.approx(2)
    with pytest.raises(FilterlensError, match="two networks"):
        overlap(random_selection(), Selection.of(FilterSpace(nn.Conv2d(3, 3, 1)), ["weight[0, 0]"]))


def test_an_empty_selection_has_no_place():
    for call in (depth_estimate, uniformity):
        with pytest.raises(UsageError, match="empty"):
            call(Selection(SPACE, torch.arange(0)))
