# SPDX-License-Identifier: Apache-2.0
"""Two edits on the same images: which one takes more of its own function away, and which one hits it alone.

Selectivity is J = R + P − 1: removal of the own function plus mean preservation of the others, less 1. It is 1 where
the function is gone and nothing else changed, and 0 both where nothing was replaced (R = 0, P = 1) and where
everything was (R = 1, P = 0); a network that merely breaks gets less than 0. In form it is Youden's index.
"""

from collections.abc import Callable, Sequence

import numpy as np

from filterlens.evaluation.damage import Edit
from filterlens.evaluation.statistics import Array, Estimate, bootstrap, pooled_ratio, two_level_mean
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
    return _drawn(judged, edit, lambda counts: _index(judged, edit, others, counts))


def selectivity_gain(judged: Judged, edit: Edit, other: Edit, others: Sequence[str]) -> Estimate:
    """Return J of ``edit`` minus J of ``other``, both replaced for the same degradation, paired over images."""
    return _drawn(
        judged, edit, lambda counts: _index(judged, edit, others, counts) - _index(judged, other, others, counts)
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


def _index(judged: Judged, edit: Edit, others: Sequence[str], counts: Array) -> Array:
    removed = _share(judged, edit, edit.masked, counts)
    kept = np.mean([_share(judged, edit, kind, counts) for kind in others], axis=0)
    return np.asarray(removed + kept - 1, dtype=np.float64)


def _share(judged: Judged, edit: Edit, kind: str, counts: Array) -> Array:
    residual, scale = (counts @ judged.per_image(edit, kind, column).T for column in ("residual", "scale"))
    return pooled_ratio(residual, scale)


def _drawn(judged: Judged, edit: Edit, statistic: Callable[[Array], Array]) -> Estimate:
    return bootstrap(statistic, len(judged.images(edit, edit.masked)), resamples=judged.resamples)
