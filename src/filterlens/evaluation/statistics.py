# SPDX-License-Identifier: Apache-2.0
"""Uncertainty of numbers: spread over seeds, bootstrap intervals over images, paired tests, agreement against chance.

All intervals come from one table: the counts of each image (seed) when as many as there are, are drawn with
replacement. Means and pooled ratios are then products with that table. Percentile intervals (Efron 1979).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from filterlens.arguments import real_number, seed_number, whole_number
from filterlens.errors import UsageError

Array = npt.NDArray[np.float64]
Values = Sequence[float] | Array
RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number and how sure it is.

    Attributes:
        mean: The value itself: a mean, or a pooled ratio.
        low: Lower end of the interval; None where there is nothing to resample.
        high: Upper end.
        sd: Standard deviation over seeds or images (ddof = 1); None for a single one or for a pooled ratio.
        n: Over how many seeds, images or filters.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    n: int = 1

    @property
    def ends(self) -> tuple[float, float]:
        """Ends of the interval; the number itself where there is none."""
        low, high = (self.mean if end is None else end for end in (self.low, self.high))
        return low, high

    def __str__(self) -> str:
        spread = "" if self.sd is None else f" ± {self.sd:.3g}"
        interval = "" if self.low is None or self.high is None else f" [{self.low:.3g}, {self.high:.3g}]"
        return f"{self.mean:.4g}{spread}{interval}"


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same images.

    Attributes:
        difference: First minus second, with its paired bootstrap interval.
        p: Two-sided p value of the sign-flip permutation test.
    """

    difference: Estimate
    p: float


@dataclass(frozen=True)
class Overlap:
    """Two sets out of one total.

    Attributes:
        first: Size of the one set.
        second: Size of the other.
        total: Number of elements from which both are drawn.
        common: Number of elements in both.
        p_more: Probability of at least as many in common where both sets are random.
        p_fewer: Probability of at most as many.
    """

    first: int
    second: int
    total: int
    common: int
    p_more: float
    p_fewer: float

    @property
    def expected(self) -> float:
        """How many chance alone has in common: the hypergeometric mean."""
        return self.first * self.second / self.total

    @property
    def share(self) -> float:
        """|A ∩ B| over the smaller set: 1 where one set contains the other."""
        return self.common / min(self.first, self.second) if min(self.first, self.second) else 0.0

    @property
    def ratio(self) -> float:
        """How many times as many in common as by chance: 1 is chance, 0 disjoint."""
        return self.common / self.expected if self.expected else float("nan")


def standard_deviation(values: Values) -> float | None:
    """Return the standard deviation with ddof = 1, or None for a single value."""
    numbers = _vector(values)
    return float(numbers.std(ddof=1)) if len(numbers) > 1 else None


def over_seeds(values: Values) -> Estimate:
    """Return mean ± sd over seeds; three seeds are too few for an interval."""
    numbers = _vector(values)
    return Estimate(float(numbers.mean()), sd=standard_deviation(numbers), n=len(numbers))


def bootstrap(
    statistic: Callable[[Array], Array],
    images: int,
    *,
    value: Array | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate:
    """Return any statistic of a set of images with its interval.

    Every seed is judged on the same images, so seeds and images are drawn independently (crossed bootstrap). With few
    seeds the interval says more about the images than about the seeds: give the sd as well.

    Args:
        statistic: Function from the counts of the images ``(draws, images)`` to the statistic of each draw
            ``(draws,)``, or to that of each seed ``(draws, seeds)``; then the seeds are drawn too.
        images: Number of images.
        value: The statistic itself, ``()`` or ``(seeds,)``; None computes it with every image counted once.
        resamples: Number of draws of the images.
        level: Level of the interval.
        seed: Seed of the images' draws; the seeds' draws use its successor.

    Raises:
        UsageError: There is no image, or the level is outside (0, 1).
    """
    draws = statistic(draw_counts(images, resamples, seed))
    if value is None:
        value = statistic(np.ones((1, images)))[0]
    if draws.ndim == 2:
        return over_both(value, draws, level, seed, images)
    return Estimate(float(value), *_interval(draws, level, images), n=images)


def bootstrap_mean(values: Values, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0) -> Estimate:
    """Return the mean over images with its bootstrap interval, and the sd over images.

    Args:
        values: One number per image.
        resamples: As in :func:`bootstrap`, with ``level`` and ``seed``.
        level: Level of the interval.
        seed: Seed of the draws.

    Raises:
        UsageError: No value, one that is not finite, or a level outside (0, 1).
    """
    numbers = _vector(values)
    return replace(_mean(numbers, resamples, level, seed), sd=standard_deviation(numbers))


def bootstrap_ratio(
    residuals: Values, scales: Values, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Estimate:
    """Return 1 − Σ residual / Σ scale (removal, preservation) with its interval over images.

    Args:
        residuals: One per image.
        scales: One per image, the same images.
        resamples: As in :func:`bootstrap`, with ``level`` and ``seed``.
        level: Level of the interval.
        seed: Seed of the draws.

    Raises:
        UsageError: As in :func:`bootstrap_mean`, or the lengths differ.
    """
    return _ratio(*_same_shape(_vector(residuals), _vector(scales)), resamples, level, seed)


def two_level_mean(values: Any, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0) -> Estimate:
    """Return the mean over seeds and images, its sd over seeds, and an interval that draws both; see :func:`bootstrap`.

    Args:
        values: ``(seeds, images)``.
        resamples: As in :func:`bootstrap`, with ``level`` and ``seed``.
        level: Level of the interval.
        seed: Seed of the draws.

    Raises:
        UsageError: As in :func:`bootstrap_mean`, or the values are no table.
    """
    return _mean(_table(values), resamples, level, seed)


def two_level_ratio(
    residuals: Any, scales: Any, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Estimate:
    """As :func:`two_level_mean` for 1 − Σ residual / Σ scale: pooled over a seed's images, averaged over seeds."""
    return _ratio(*_same_shape(_table(residuals), _table(scales)), resamples, level, seed)


def _mean(values: Array, resamples: int, level: float, seed: int) -> Estimate:
    images = values.shape[-1]
    return bootstrap(
        lambda counts: np.asarray(counts @ values.T / images),
        images,
        value=values.mean(-1),
        resamples=resamples,
        level=level,
        seed=seed,
    )


def _ratio(residuals: Array, scales: Array, resamples: int, level: float, seed: int) -> Estimate:
    return bootstrap(
        lambda counts: pooled_ratio(counts @ residuals.T, counts @ scales.T),
        residuals.shape[-1],
        value=pooled_ratio(residuals.sum(-1), scales.sum(-1)),
        resamples=resamples,
        level=level,
        seed=seed,
    )


def compare_paired(
    first: Values, second: Values, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Comparison:
    """Compare two methods over the same images: first − second, its interval, and a sign-flip permutation test.

    The test is exact where all sign patterns are at most 9,999, else that many random ones (scipy).

    Raises:
        UsageError: Different lengths, or as in :func:`bootstrap_mean`.
    """
    from scipy.stats import permutation_test

    a, b = _same_shape(_vector(first), _vector(second))
    difference = bootstrap_mean(a - b, resamples=resamples, level=level, seed=seed)
    if len(a) < 2:
        return Comparison(difference, 1.0)
    test = permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9999,
        random_state=np.random.default_rng(seed),
    )
    return Comparison(difference, float(test.pvalue))


def rank_correlation(first: Any, second: Any) -> float:
    """Return Spearman's rank correlation of two score vectors ``(filters,)``; NaN where one of them is constant."""
    from scipy.stats import spearmanr

    a, b = _same_shape(_vector(first), _vector(second))
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)


def overlap_by_chance(common: int, first: int, second: int, total: int) -> Overlap:
    """Set an overlap against chance: |A ∩ B| of random sets is hypergeometric.

    Raises:
        UsageError: Such sets cannot exist.
    """
    from scipy.stats import hypergeom

    possible = range(max(0, first + second - total), min(first, second) + 1)
    if total < 1 or max(first, second) > total or common not in possible:
        raise UsageError(f"Sets of {first} and {second} out of {total} cannot have {common} in common.")
    law = hypergeom(total, first, second)
    return Overlap(first, second, total, common, float(law.sf(common - 1)), float(law.cdf(common)))


def draw_counts(items: int, resamples: int, seed: int) -> Array:
    """Return ``(resamples, items)``: how often each item is among ``items`` draws with replacement."""
    if items < 1:
        raise UsageError("There is nothing to average: no value was given.")
    resamples, seed = whole_number(resamples, "resamples", 1), seed_number(seed)
    return np.random.default_rng(seed).multinomial(items, np.full(items, 1 / items), size=resamples).astype(float)


def over_both(per_seed: Array, draws: Array, level: float, seed: int, images: int) -> Estimate:
    """Join values per seed ``(seeds,)`` and their draws over images ``(resamples, seeds)``, drawing the seeds too.

    Args:
        per_seed: Value of each seed.
        draws: The same values for every draw of the images; see :func:`draw_counts`.
        level: Level of the interval.
        seed: Seed of the images' draws; the seeds' draws use its successor.
        images: Number of images.
    """
    resamples, seeds = draws.shape
    joint = (draws * draw_counts(seeds, resamples, seed + 1)).sum(1) / seeds
    sd = standard_deviation(per_seed)
    return Estimate(float(per_seed.mean()), *_interval(joint, level, max(seeds, images)), sd=sd, n=seeds)


def pooled_ratio(residual: Any, scale: Any) -> Array:
    """Return 1 − residual / scale of sums over images: removal or preservation; NaN where there is no scale at all."""
    residual, scale = np.asarray(residual), np.asarray(scale)
    ratio = np.divide(residual, scale, out=np.full(residual.shape, np.nan), where=scale > 0)
    return np.asarray(1 - ratio, dtype=np.float64)


def _interval(draws: Array, level: float, items: int) -> tuple[float | None, float | None]:
    level = real_number(level, "level of an interval", above=0, below=1)
    if items < 2:
        return None, None
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _vector(values: Any) -> Array:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise UsageError(f"Statistics need one finite number per item, not an array of shape {numbers.shape}.")
    return numbers


def _table(values: Any) -> Array:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 2 or not numbers.size or not np.isfinite(numbers).all():
        raise UsageError(f"Two levels need a table (seeds, images) of finite numbers, not the shape {numbers.shape}.")
    return numbers


def _same_shape(first: Array, second: Array) -> tuple[Array, Array]:
    if first.shape != second.shape:
        raise UsageError(
            f"Both sides must be of the same items, but they are of the shapes {first.shape} and {second.shape}."
        )
    return first, second
