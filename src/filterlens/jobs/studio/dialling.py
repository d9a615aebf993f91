# SPDX-License-Identifier: Apache-2.0
"""Several functions of a target dialled at once: every filter at its own place between baseline and target."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from filterlens.editing.adapt import combined_strength
from filterlens.errors import FilterlensError, UsageError
from filterlens.filters import FilterSpace, Selection
from filterlens.pair import ModelPair


def filter_strengths(space: FilterSpace, dials: Sequence[tuple[Selection, float]]) -> Tensor:
    """Return the strength of every filter, ``(filters,)`` float64; 1 where nothing dials it.

    A filter that several functions share follows the rule of adapters; see
    :func:`filterlens.editing.adapt.combined_strength`.

    Raises:
        FilterlensError: A selection is of another network.
        UsageError: A strength is not finite.
    """
    neutral = torch.ones(len(space), dtype=torch.float64)
    highest, lowest = neutral.clone(), neutral.clone()
    for selection, strength in dials:
        if selection.space != space:
            raise FilterlensError(f"The selection is of another network: {selection.space}, but the pair has {space}.")
        if not math.isfinite(strength):
            raise UsageError(f"Strength {strength} is not a number that filters can be dialled to.")
        highest[selection.indices] = highest[selection.indices].clamp(min=strength)
        lowest[selection.indices] = lowest[selection.indices].clamp(max=strength)
    return combined_strength(highest, lowest, neutral)


def dialled(pair: ModelPair, dials: Sequence[tuple[Selection, float]]) -> Tensor:
    """Return flat parameters ``(parameters,)``: the selected filters at θ̄ + λ(θ − θ̄), everything else the target's.

    Args:
        pair: Baseline and target.
        dials: Sets of filters, each with its λ; 1 is the target, 0 the baseline's filters.

    Raises:
        FilterlensError: A selection is of another network.
        UsageError: A strength is not finite.
    """
    strengths = filter_strengths(pair.space, dials)
    moved = pair.weight_mask(strengths != 1)
    spread = pair.space.spread(strengths.to(pair.target))
    one = torch.ones(1, device=pair.device, dtype=pair.dtype)
    weights = pair.flatten({name: spread.get(name, one) for name in pair.unflatten(pair.target)})
    return torch.where(moved, torch.lerp(pair.baseline, pair.target, weights), pair.target)
