# SPDX-License-Identifier: Apache-2.0
"""The dial: every filter of a target at its own strength between baseline and target.

At strength λ a filter is θ̄ + λ(θ − θ̄): 1 is the target, 0 the baseline's filter (substitution), values beyond
extrapolate. Where several functions dial one filter, the largest push up and the largest push down are added.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from filterlens.arguments import real_number
from filterlens.errors import FilterlensError, UsageError
from filterlens.filters import FilterSpace, Selection
from filterlens.pair import ModelPair, between


def substitute(pair: ModelPair, selection: Selection, *, biases: bool = False) -> nn.Module:
    """Return a new network with the selected filters at the baseline's values; see :func:`substituted`."""
    return pair.network(substituted(pair, selection, biases=biases))


def substituted(pair: ModelPair, selection: Selection, *, biases: bool = False) -> Tensor:
    """Return flat parameters ``(parameters,)`` with the selected filters at the baseline's values.

    The result is the target without their function. An empty selection gives the target; all filters and the biases
    give the baseline, both bit by bit.
    """
    return modulated(pair, selection, 0.0, biases=biases)


def modulate(pair: ModelPair, selection: Selection, strength: float, *, biases: bool = False) -> nn.Module:
    """Return a new network with the selected filters dialled to ``strength``; see :func:`modulated`."""
    return pair.network(modulated(pair, selection, strength, biases=biases))


def modulated(pair: ModelPair, selection: Selection, strength: float, *, biases: bool = False) -> Tensor:
    """Return flat parameters: the selected filters at θ̄ + λ(θ − θ̄), everything else the target's.

    Args:
        pair: Baseline and target.
        selection: Filters to dial.
        strength: λ; 1 is the target, 0 the baseline's filters, above 1 extrapolates.
        biases: Dial all biases (and other weights outside filters) too.

    Returns:
        ``(parameters,)`` on the pair's device.

    Raises:
        FilterlensError: The selection belongs to another network.
        UsageError: The strength is not finite, or takes weights beyond what their type holds.
    """
    return dialled(pair, [(selection, strength)], biases=strength_from(strength) if biases else 1.0)


def dialled(pair: ModelPair, dials: Sequence[tuple[Selection, float]], *, biases: float = 1.0) -> Tensor:
    """Return flat parameters: each set of filters at its own λ, everything else the target's.

    Args:
        pair: Baseline and target.
        dials: Sets of filters, each with its λ; a filter in several of them follows :class:`Strengths`.
        biases: λ of all biases (and other weights outside filters).

    Returns:
        ``(parameters,)`` on the pair's device.

    Raises:
        FilterlensError: A selection belongs to another network.
        UsageError: A strength is not finite, or takes weights beyond what their type holds.
    """
    strengths = filter_strengths(pair.space, dials).to(pair.dtype)
    point = between(pair.baseline, pair.target, pair.weight_mask(strengths, biases=biases))
    if not point.isfinite().all():
        raise out_of_range(max((strength for _, strength in dials), key=abs), "weights", pair.dtype)
    return point


def filter_strengths(space: FilterSpace, dials: Sequence[tuple[Selection, float]]) -> Tensor:
    """Return the λ of every filter, ``(filters,)`` float64; 1 where nothing dials it.

    Raises:
        FilterlensError: A selection belongs to another network.
        UsageError: A strength is not finite.
    """
    strengths = Strengths(torch.ones(len(space), dtype=torch.float64))
    for selection, strength in dials:
        if selection.space != space:
            raise FilterlensError(f"The selection is of another network: {selection.space}, but the pair has {space}.")
        strengths.push(selection.indices.cpu(), strength_from(strength))
    return strengths.combined()


class Strengths:
    """The strengths of filters, or of single weights, that several functions dial.

    Each function pushes by its strength minus the neutral one, which changes nothing. The largest push up and the
    largest push down are added, so the same function twice is the same as once.

    Args:
        neutral: The neutral strength of each, ``(n,)`` float64.
    """

    def __init__(self, neutral: Tensor) -> None:
        self.neutral, self.highest, self.lowest = neutral, neutral.clone(), neutral.clone()

    def rest(self, places: Tensor, neutral: float) -> None:
        """Set the neutral strength of places that no function has dialled yet."""
        for strengths in (self.neutral, self.highest, self.lowest):
            strengths[places] = neutral

    def push(self, places: Tensor, strength: float) -> None:
        """Let one more function dial these places."""
        self.highest[places] = self.highest[places].clamp(min=strength)
        self.lowest[places] = self.lowest[places].clamp(max=strength)

    @property
    def farthest(self) -> float:
        """The strength that pushes hardest."""
        return max(float(self.highest.max()), float(self.lowest.min()), key=abs)

    def combined(self) -> Tensor:
        """Return the strength of each, ``(n,)`` float64."""
        alone = torch.where(self.lowest == self.neutral, self.highest, self.lowest)  # without a rounding error
        one_way = (self.lowest == self.neutral) | (self.highest == self.neutral)
        return torch.where(one_way, alone, self.highest + self.lowest - self.neutral)


def strength_from(value: Any, of: str = "") -> float:
    """Return a strength that a user gave; ``of`` names its owner in errors.

    Raises:
        UsageError: It is not a finite number.
    """
    try:
        return real_number(value, "strength")
    except UsageError:
        raise UsageError(f"Strength {value}{of} is not a number that filters can be dialled to.") from None


def out_of_range(strength: float, weights: str, kind: torch.dtype) -> UsageError:
    """Build the error for a strength that takes weights beyond the numbers of their type."""
    return UsageError(f"Strength {strength:g} takes {weights} beyond {kind}: 0 is the baseline, 1 the target.")
