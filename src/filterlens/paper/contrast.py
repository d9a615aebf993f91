# SPDX-License-Identifier: Apache-2.0
"""Two edits on the same images: which one takes more of its own function away, and which one hits it alone.

Selectivity is J = R + P − 1: removal of the own function plus mean preservation of the others, less 1. It is 1 where
the function is gone and nothing else changed, and 0 both where nothing was replaced (R = 0, P = 1) and where
everything was (R = 1, P = 0); a network that merely breaks gets less than 0. In form it is Youden's index.
"""

from collections.abc import Sequence

import numpy as np

from filterlens.evaluation.damage import Edit
from filterlens.evaluation.statistics import LEVEL, Array, Estimate, draw_counts, over_both, two_level_mean
from filterlens.paper.damage import Judged

INTERVALS = (
    "95 %, bootstrap over images and target models, paired for differences; squares of one photograph are drawn as if "
    "they were independent"
)
ROUNDING = 1e-12  # equal numbers, summed in another order, do not differ


def selectivity(judged: Judged, edit: Edit, others: Sequence[str]) -> Estimate:
    """Return J of an edit: 1 is ideal, 0 is nothing, below 0 is broken.

    Args:
        judged: Holds the edit on its own input and on the others.
        edit: What was replaced.
        others: The inputs that must stay as they are.
    """
    return _estimate(judged, edit, _values(judged, edit, others), _draws(judged, edit, others))


def selectivity_gain(judged: Judged, edit: Edit, other: Edit, others: Sequence[str]) -> Estimate:
    """Return J of ``edit`` minus J of ``other``, both replaced for the same degradation, paired over images."""
    return _estimate(
        judged,
        edit,
        _values(judged, edit, others) - _values(judged, other, others),
        _draws(judged, edit, others) - _draws(judged, other, others),
    )


def distance_gain(judged: Judged, edit: Edit, other: Edit, kind: str) -> Estimate:
    """Return the function distance x 1000 of ``edit`` minus that of ``other`` on one kind of input, paired."""
    first, second = judged.per_image(edit, kind), judged.per_image(other, kind)
    return two_level_mean(first - second, resamples=judged.resamples)


def is_above(estimate: Estimate, level: float = 0.0) -> bool:
    """Whether the whole interval lies above a level; without an interval, whether the number does."""
    return (estimate.mean if estimate.low is None else estimate.low) > level + ROUNDING


def is_below(estimate: Estimate, level: float = 0.0) -> bool:
    """Whether the whole interval lies below a level; without an interval, whether the number does."""
    return (estimate.mean if estimate.high is None else estimate.high) < level - ROUNDING


def others_of(own: str, degradations: Sequence[str]) -> list[str]:
    """Return the inputs that an edit for ``own`` must leave alone: the other degradations, or else the clean one."""
    return [kind for kind in degradations if kind != own] or ["clean"]


def _values(judged: Judged, edit: Edit, others: Sequence[str]) -> Array:
    """Return J per target model ``(models,)``."""
    images = len(judged.images(edit, edit.masked))
    return np.asarray(_index(judged, edit, others, np.ones((1, images)))[0])


def _draws(judged: Judged, edit: Edit, others: Sequence[str]) -> Array:
    """Return J per draw of the images and target model ``(draws, models)``; every edit sees the same draws."""
    images = len(judged.images(edit, edit.masked))
    return _index(judged, edit, others, draw_counts(images, judged.resamples, seed=0))


def _index(judged: Judged, edit: Edit, others: Sequence[str], counts: Array) -> Array:
    removed = _share(judged, edit, edit.masked, counts)
    kept = np.mean([_share(judged, edit, kind, counts) for kind in others], axis=0)
    return np.asarray(removed + kept - 1, dtype=np.float64)


def _share(judged: Judged, edit: Edit, kind: str, counts: Array) -> Array:
    residual, scale = (counts @ judged.per_image(edit, kind, column).T for column in ("residual", "scale"))
    return np.asarray(1 - np.divide(residual, scale, out=np.full(residual.shape, np.nan), where=scale > 0))


def _estimate(judged: Judged, edit: Edit, values: Array, draws: Array) -> Estimate:
    return over_both(values, draws, LEVEL, 0, len(judged.images(edit, edit.masked)))
