# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from filterlens.errors import UsageError
from filterlens.evaluation.stability import agreement_of, between_parts, parts_of, spread


def random_scores(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_correlation_is_scipys_and_the_overlap_is_counted_by_hand():
    first, second = random_scores(400), random_scores(400, seed=1)
    found = agreement_of(first, first + second, 5)
    tops = [set(np.argsort(-each.numpy())[:20].tolist()) for each in (first, first + second)]
    assert found.overlap == len(tops[0] & tops[1]) / 20
    assert found.correlation == pytest.approx(spearmanr(first, first + second).statistic)
    assert found.chance == 0.05


def test_the_same_order_agrees_wholly_and_the_reverse_not_at_all():
    scores = random_scores(300)
    same, reverse = agreement_of(scores, scores.exp(), 10), agreement_of(scores, -scores, 10)
    assert (same.correlation, same.overlap) == (pytest.approx(1), 1)
    assert (reverse.correlation, reverse.overlap) == (pytest.approx(-1), 0)


def test_random_rankings_overlap_by_chance():
    overlaps = [agreement_of(random_scores(5000, seed=s), random_scores(5000, seed=s + 50), 4) for s in range(20)]
    assert np.mean([each.overlap for each in overlaps]) == pytest.approx(overlaps[0].chance, abs=0.01)


def test_at_least_one_filter_is_compared():
    assert agreement_of(torch.arange(20.0), torch.arange(20.0), 1).overlap == 1


@pytest.mark.parametrize("percent", [0, -1, 101])
def test_an_illegal_percentage_is_refused(percent):
    with pytest.raises(UsageError, match=f"^{percent} is not a percentage"):
        agreement_of(torch.arange(9.0), torch.arange(9.0), percent)


@pytest.mark.parametrize(("items", "size"), [(4, 1), (4, 2), (5, 2), (6, 3), (7, 6)])
def test_all_ways_are_found_where_there_are_few(items, size):
    parts = parts_of(items, size, 1000)
    ways = math.comb(items, size) // (2 if 2 * size == items else 1)
    assert len({frozenset(map(frozenset, part)) for part in parts}) == len(parts) == ways
    assert all(len(one) == size and sorted(one + other) == list(range(items)) for one, other in parts)


@pytest.mark.parametrize(("items", "size"), [(8, 4), (9, 2)])
def test_many_ways_are_drawn_without_repetition_and_by_seed(items, size):
    parts = parts_of(items, size, 12, seed=3)
    assert len({frozenset(map(frozenset, part)) for part in parts}) == len(parts) == 12
    assert all(len(one) == size and sorted(one + other) == list(range(items)) for one, other in parts)
    assert parts == parts_of(items, size, 12, seed=3) != parts_of(items, size, 12, seed=4)


@pytest.mark.parametrize(("size", "most"), [(0, 3), (4, 3), (2, 0)])
def test_impossible_splits_are_refused(size, most):
    with pytest.raises(UsageError, match="4 images cannot be split"):
        parts_of(4, size, most)


def test_parts_are_compared_by_the_rankings_of_their_means():
    scores = random_scores(4, 200)
    (found,) = between_parts(scores, [((0, 2), (1, 3))], 10)
    assert found == agreement_of((scores[0] + scores[2]) / 2, (scores[1] + scores[3]) / 2, 10)


def test_images_that_say_the_same_agree_and_more_of_them_agree_better():
    truth, noise = random_scores(2000), 2 * random_scores(8, 2000, seed=1)
    assert between_parts(truth.repeat(4, 1), parts_of(4, 2, 9))[0].overlap == 1
    overlaps = [spread([e.overlap for e in between_parts(truth + noise, parts_of(8, n, 20), 5)]).mean for n in (1, 4)]
    assert overlaps[1] > overlaps[0] + 0.05


def test_the_spread_is_mean_lowest_and_highest():
    found = spread([0.2, 0.9, 0.4])
    assert (found.mean, found.low, found.high, found.n) == (pytest.approx(0.5), 0.2, 0.9, 3)
