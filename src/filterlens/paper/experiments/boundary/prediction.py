# SPDX-License-Identifier: Apache-2.0
"""How well one number per case predicts another: rank correlation, area under the ROC curve, calibrated predictions."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from filterlens.evaluation.statistics import Estimate, standard_deviation

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Prediction = Callable[[Array], Array]


def auc(scores: Array, positive: npt.NDArray[np.bool_]) -> float:
    """Return the probability that a positive case scores above a negative one (ties half); NaN with one kind alone.

    The rank sum of Wilcoxon, Mann and Whitney, over the number of pairs: fast enough for a bootstrap.

    Args:
        scores: Any numbers ``(n,)``.
        positive: ``(n,)``.
    """
    from scipy.stats import rankdata

    more = int(positive.sum())
    less = len(positive) - more
    if not more or not less:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - more * (more + 1) / 2) / (more * less))


def isotonic(scores: Array, values: Array) -> Prediction:
    """Fit the rising step function of least squares; between the fitted scores it is linear, beyond them constant.

    Equal scores count as one, with their mean (R. Barlow et al., Statistical inference under order restrictions, 1972).

    Args:
        scores: What predicts, ``(n,)``.
        values: What is predicted, ``(n,)``.
    """
    from scipy.optimize import isotonic_regression

    places, group, counts = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(group, values) / counts
    fitted = isotonic_regression(means, weights=counts).x
    return lambda new: np.interp(new, places, fitted)


def linear(scores: Array, values: Array) -> Prediction:
    """Fit values ``(n,)`` by a constant and a multiple of every column of the scores ``(n, columns)``."""
    factors = np.linalg.lstsq(_with_constant(scores), values, rcond=None)[0]
    return lambda new: np.asarray(_with_constant(new) @ factors, dtype=np.float64)


def over_images(
    statistic: Callable[[Indices], Sequence[float]],
    images: Sequence[str],
    *,
    resamples: int,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Return a statistic with its bootstrap interval over images: all cases of an image are drawn together.

    Args:
        statistic: Indices of cases → one value per target model.
        images: The image of every case.
        resamples: How many times the images are drawn anew.
        level: Of the interval.
        seed: Of the draws.

    Returns:
        The mean over target models, its interval over images, and the standard deviation over target models.
    """
    names = list(dict.fromkeys(images))
    members = [np.array([place for place, image in enumerate(images) if image == name]) for name in names]
    values = list(statistic(np.arange(len(images))))
    mean, sd = float(np.mean(values)), standard_deviation(values) if np.isfinite(values).all() else None
    if len(names) < 2:
        return Estimate(mean, sd=sd, n=len(names))
    random = np.random.default_rng(seed)
    drawn = random.integers(len(names), size=(resamples, len(names)))
    draws = np.array([np.mean(statistic(np.concatenate([members[each] for each in row]))) for row in drawn])
    if np.isnan(draws).all():
        return Estimate(mean, sd=sd, n=len(names))
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(mean, float(low), float(high), sd, len(names))


def _with_constant(scores: Array) -> Array:
    return np.column_stack([np.ones(len(scores)), scores])
