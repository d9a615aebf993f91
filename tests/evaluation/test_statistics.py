# SPDX-License-Identifier: Apache-2.0
"""Means, intervals and tests against closed forms, brute force and scipy."""

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from scipy import stats

from filterlens.errors import UsageError
from filterlens.evaluation.statistics import (
    Estimate,
    bootstrap,
    bootstrap_mean,
    bootstrap_ratio,
    compare_paired,
    draw_counts,
    over_seeds,
    overlap_by_chance,
    pooled_ratio,
    rank_correlation,
    standard_deviation,
    two_level_mean,
    two_level_ratio,
)

GENERATOR = np.random.default_rng(3)
VALUES = GENERATOR.gamma(2.0, size=40)


def test_the_standard_deviation_has_n_minus_1_and_a_single_value_has_none():
    assert standard_deviation([1, 2, 4]) == pytest.approx(((16 + 1 + 25) / 9 / 2) ** 0.5)
    assert standard_deviation([1]) is None
    assert over_seeds([1, 2, 4]) == Estimate(pytest.approx(7 / 3), None, None, standard_deviation([1, 2, 4]), 3)


def test_every_resample_draws_as_many_items_as_there_are():
    counts = draw_counts(7, 500, seed=0)
    assert counts.shape == (500, 7) and (counts.sum(1) == 7).all()
    assert counts.mean(0) == pytest.approx(np.ones(7), abs=0.15)


def test_the_interval_of_a_mean_is_that_of_scipy():
    mine = bootstrap_mean(VALUES, resamples=20_000)
    theirs = stats.bootstrap((VALUES,), np.mean, n_resamples=20_000, method="percentile", random_state=1)
    assert mine.mean == pytest.approx(VALUES.mean()) and mine.sd == pytest.approx(VALUES.std(ddof=1))
    assert (mine.low, mine.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)


def test_the_interval_of_a_mean_of_three_is_that_of_all_27_resamples():
    values = np.array([0.0, 1.0, 5.0])
    every = [np.mean(each) for each in product(values, repeat=3)]
    low, high = np.quantile(every, [0.1, 0.9], method="inverted_cdf")
    mine = bootstrap_mean(values, resamples=20_000, level=0.8)
    assert (mine.low, mine.high) == pytest.approx((low, high))


def test_the_interval_of_a_pooled_ratio_resamples_residual_and_scale_together():
    residuals, scales = GENERATOR.random(30), 1 + GENERATOR.random(30)
    mine = bootstrap_ratio(residuals, scales, resamples=20_000)
    theirs = stats.bootstrap(
        (residuals, scales),
        lambda r, s, axis: 1 - r.sum(axis) / s.sum(axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        random_state=2,
    )
    assert mine.mean == pytest.approx(1 - residuals.sum() / scales.sum())
    assert (mine.low, mine.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.005)
    assert mine.sd is None and mine.n == 30


def test_a_ratio_that_is_the_same_on_every_image_is_certain():
    mine = bootstrap_ratio([1, 2, 3], [10, 20, 30])
    assert (mine.low, mine.mean, mine.high) == pytest.approx((0.9, 0.9, 0.9))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    samples = np.random.default_rng(5).normal(size=(300, 30))
    covered = [each.low <= 0 <= each.high for each in (bootstrap_mean(row, resamples=400) for row in samples)]
    assert 0.88 < np.mean(covered) < 0.98


def test_two_levels_with_one_seed_are_the_interval_over_images():
    one, two = two_level_mean([VALUES], seed=4), bootstrap_mean(VALUES, seed=4)
    assert (one.mean, one.low, one.high) == pytest.approx((two.mean, two.low, two.high))
    assert one.sd is None and one.n == 1
    scales = VALUES + 1
    ratio, pooled = two_level_ratio([VALUES], [scales], seed=4), bootstrap_ratio(VALUES, scales, seed=4)
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((pooled.mean, pooled.low, pooled.high))


def test_two_levels_where_images_agree_show_the_seeds_alone():
    found = two_level_mean([[1.0] * 6, [2.0] * 6, [6.0] * 6], resamples=20_000, level=0.8)
    assert found.mean == pytest.approx(3) and found.sd == pytest.approx(7**0.5) and found.n == 3
    every = [np.mean(each) for each in product([1, 2, 6], repeat=3)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(every, [0.1, 0.9], method="inverted_cdf")))


def test_two_levels_pool_within_a_seed_and_average_over_seeds():
    residuals, scales = [[1, 1], [4, 0]], [[2, 6], [4, 4]]
    found = two_level_ratio(residuals, scales)
    assert found.mean == pytest.approx(((1 - 2 / 8) + (1 - 4 / 8)) / 2)
    assert found.sd == pytest.approx(standard_deviation([0.75, 0.5]))


def test_any_statistic_of_the_draws_has_an_interval_over_images_or_over_both():
    images, whole = len(VALUES), bootstrap_mean(VALUES, seed=4)
    found = bootstrap(lambda counts: counts @ VALUES / images, images, seed=4)
    assert (found.mean, found.low, found.high) == pytest.approx((whole.mean, whole.low, whole.high))
    table = np.stack([VALUES, 2 * VALUES])
    found = bootstrap(lambda counts: counts @ table.T / images, images, seed=4)
    both = two_level_mean(table, seed=4)
    assert (found.mean, found.low, found.high, found.sd) == pytest.approx((both.mean, both.low, both.high, both.sd))
    assert found.n == 2


def test_a_pooled_ratio_without_any_scale_is_no_number():
    assert pooled_ratio([1.0, 0.0], [4.0, 0.0]) == pytest.approx([0.75, np.nan], nan_ok=True)


def test_the_permutation_test_is_exact_for_few_images():
    first, second = np.array([1.0, 2.5, 0.4, 3.0, 1.1]), np.array([0.5, 1.0, 0.6, 1.0, 1.0])
    difference = first - second
    flipped = [abs(np.mean(difference * signs)) for signs in product([1, -1], repeat=5)]
    p = np.mean(np.array(flipped) >= abs(difference.mean()) - 1e-12)
    found = compare_paired(first, second)
    assert found.p == pytest.approx(p)
    assert found.difference == bootstrap_mean(difference)


def test_a_clear_difference_of_many_images_is_clear_and_none_is_none():
    noise = np.random.default_rng(0).normal(size=(2, 50))
    assert compare_paired(noise[0] + 2, noise[1]).p < 0.001
    assert compare_paired(noise[0], noise[0]).p == pytest.approx(1)
    assert compare_paired([1.0], [2.0]).p == 1


def test_the_same_seed_gives_the_same_numbers():
    assert bootstrap_mean(VALUES, seed=1) == bootstrap_mean(VALUES, seed=1) != bootstrap_mean(VALUES, seed=2)
    other = VALUES[::-1]
    assert compare_paired(VALUES, other, seed=1) == compare_paired(VALUES, other, seed=1)


def test_rank_correlation_is_of_ranks():
    assert rank_correlation([1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    a, b = GENERATOR.random(50), GENERATOR.random(50)
    ranks = np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1]
    assert rank_correlation(a, b) == pytest.approx(ranks)
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))


def test_overlap_against_chance_is_counted_over_all_random_sets():
    total, first, second = 7, 3, 4
    commons = [len({0, 1, 2} & set(chosen)) for chosen in combinations(range(total), second)]
    assert len(commons) == comb(total, second)
    for common in range(4):
        found = overlap_by_chance(common, first, second, total)
        assert found.expected == pytest.approx(np.mean(commons))
        assert found.p_more == pytest.approx(np.mean([each >= common for each in commons]))
        assert found.p_fewer == pytest.approx(np.mean([each <= common for each in commons]))
        assert found.ratio == pytest.approx(common / np.mean(commons)) and found.share == pytest.approx(common / 3)


@pytest.mark.parametrize("wrong", [(4, 3, 5, 10), (0, 6, 6, 10), (1, 11, 2, 10), (-1, 2, 2, 10)])
def test_impossible_overlaps_are_refused(wrong):
    with pytest.raises(UsageError, match="cannot have"):
        overlap_by_chance(*wrong)


def test_estimates_read_well():
    assert str(Estimate(0.95312, 0.94, 0.96)) == "0.9531 [0.94, 0.96]"
    assert str(Estimate(26.4, sd=0.1234, n=3)) == "26.4 ± 0.123"
    assert bootstrap_mean([2.0]) == Estimate(2.0, None, None, None, 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: bootstrap_mean([]),
        lambda: bootstrap_mean([1.0, float("nan")]),
        lambda: bootstrap_mean([1.0, 2.0], level=95),
        lambda: bootstrap_ratio([1.0], [1.0, 2.0]),
        lambda: two_level_mean([1.0, 2.0]),
        lambda: two_level_ratio([[1.0]], [[1.0, 2.0]]),
        lambda: compare_paired([1.0], [1.0, 2.0]),
    ],
)
def test_what_cannot_be_averaged_is_refused(call):
    with pytest.raises(UsageError):
        call()
