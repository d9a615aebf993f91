# SPDX-License-Identifier: Apache-2.0
"""Dial selected filters along the path from baseline to target."""

import math

import torch
from torch import Tensor, nn

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
        UsageError: The strength is not finite.
    """
    if selection.space != pair.space:
        raise FilterlensError(f"The selection is of another network: {selection.space}, but the pair has {pair.space}.")
    if not math.isfinite(strength):
        raise UsageError(f"Strength {strength} is not a number that weights can be dialled to.")
    return torch.where(pair.weight_mask(selection.mask, biases=biases), pair.at(strength), pair.target)


def modulate(pair: ModelPair, selection: Selection, strength: float, *, biases: bool = False) -> nn.Module:
    """Return a new network with the selected filters dialled to ``strength``; see :func:`modulated`."""
    return pair.network(modulated(pair, selection, strength, biases=biases))
