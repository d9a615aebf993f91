# SPDX-License-Identifier: Apache-2.0
"""Dial selected filters along the path from baseline to target."""

from typing import Any

import torch
from torch import Tensor, nn

from filterlens.arguments import real_number
from filterlens.errors import FilterlensError, UsageError
from filterlens.filters import Selection
from filterlens.pair import ModelPair


def modulated(pair: ModelPair, selection: Selection, strength: float, *, biases: bool = False) -> Tensor:
    """Return flat parameters: the selected filters at θ̄ + λ(θ − θ̄), everything else the target's.

    Args:
        pair: Baseline and target.
        selection: Which filters.
        strength: λ; 1 is the target, 0 the baseline's filters, above 1 extrapolates.
        biases: Dial all biases (and other weights that are no filters) too.

    Returns:
        ``(parameters,)`` on the pair's device.

    Raises:
        FilterlensError: The selection belongs to another network.
        UsageError: The strength is not finite, or takes weights beyond what their type holds.
    """
    if selection.space != pair.space:
        raise FilterlensError(f"The selection is of another network: {selection.space}, but the pair has {pair.space}.")
    point = pair.at(strength_from(strength))
    return torch.where(pair.weight_mask(selection.mask, biases=biases), point, pair.target)


def modulate(pair: ModelPair, selection: Selection, strength: float, *, biases: bool = False) -> nn.Module:
    """Return a new network with the selected filters dialled to ``strength``; see :func:`modulated`."""
    return pair.network(modulated(pair, selection, strength, biases=biases))


def strength_from(value: Any, of: str = "") -> float:
    """Return a strength that a user gave; ``of`` says in errors of what it is.

    Raises:
        UsageError: It is no finite number.
    """
    try:
        return real_number(value, "strength")
    except UsageError:
        raise UsageError(f"Strength {value}{of} is not a number that filters can be dialled to.") from None
