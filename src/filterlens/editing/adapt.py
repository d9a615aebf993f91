# SPDX-License-Identifier: Apache-2.0
"""Adapters on a network: each dials its own filters, starting from the network's end of the path.

On the baseline a strength s sets an adapter's filters to θ̄ + s(θ − θ̄): 0 changes nothing, 1 adds the function. On the
target the same formula holds, so 1 changes nothing and 0 removes the function (the paper's modulation). The strength
that changes nothing, 0 or 1, is the end's neutral strength. A filter that several adapters of one target hold follows
:class:`filterlens.editing.dial.Strengths`: all at 1 are the target, all at 0 the baseline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from filterlens.editing.adapter import BASELINE, ROLES, TARGET, Adapter, Piece, weights_hash
from filterlens.editing.dial import Strengths, out_of_range, strength_from
from filterlens.errors import FilterlensError
from filterlens.execution.own_network import copied
from filterlens.pair import between

_NEUTRAL = {BASELINE: 0.0, TARGET: 1.0}
_ROUNDING = 1e-3  # values that were rounded to float16 are at most half of that share away


def adapt(
    network: nn.Module,
    adapters: Sequence[tuple[Adapter, float]],
    *,
    any_base: bool = False,
    names: Sequence[str] = (),
) -> nn.Module:
    """Return a new network with adapters dialled in; the given one stays as it is.

    Args:
        network: Baseline or target of every adapter (either one for each adapter).
        adapters: Adapters, each with its strength; 0 and 1 are the ends, other finite values extrapolate.
        any_base: Whether to accept a network that is neither: the differences are added to its filters, counted from
            the end to which they are nearer.
        names: Names of the adapters in errors; by default 1, 2, …

    Raises:
        UsageError: A strength is not finite, or takes weights beyond what their type holds.
        FilterlensError: The network is neither end of an adapter, has other weights, or two adapters hold different
            values for one filter.
    """
    base, weights = weights_hash(network), dict(network.named_parameters(remove_duplicate=False))
    dials: dict[str, _Dial] = {}
    for index, (adapter, strength) in enumerate(adapters):
        name = f"'{names[index]}'" if names else str(index + 1)
        pieces = [(piece, _fitting(piece, weights, name)) for piece in adapter.pieces]
        end = end_of(adapter, base)
        if end is None and not any_base:
            raise _other_base(adapter, base, name)
        strength = strength_from(strength, f" of adapter {name}")
        for piece, weight in pieces:
            dial = dials.setdefault(piece.parameter, _Dial.at_rest(weight))
            dial.turn(piece, end or _nearer_end(pieces), strength, exact=end is not None)
    return _edited(network, dials)


def _edited(network: nn.Module, dials: Mapping[str, "_Dial"]) -> nn.Module:
    edited = copied(network)
    with torch.no_grad():
        for name, parameter in edited.named_parameters(remove_duplicate=False):
            if name in dials:
                parameter.copy_(dials[name].value().view(parameter.shape))
                if not parameter.isfinite().all():
                    raise out_of_range(dials[name].strengths.farthest, f"'{name}'", parameter.dtype)
    return edited


def end_of(adapter: Adapter, weights: str) -> str | None:
    """Say whether a network with that hash is the adapter's ``baseline`` or ``target``, or None."""
    return next((role for role in ROLES if weights and adapter.weights_of(role) == weights), None)


@dataclass(eq=False)
class _Dial:
    """One flattened weight that adapters dial: base, both ends and strength of every number, and what they hold."""

    base: Tensor
    low: Tensor
    high: Tensor
    strengths: Strengths
    held: Tensor

    @classmethod
    def at_rest(cls, weight: Tensor) -> "_Dial":
        base = weight.detach().cpu().flatten()
        nothing = Strengths(torch.zeros(len(base), dtype=torch.float64))
        return cls(base, base.clone(), base.clone(), nothing, torch.zeros(len(base), dtype=torch.bool))

    def turn(self, piece: Piece, end: str, strength: float, *, exact: bool) -> None:
        """Dial a piece's filters; ``exact``: the base is that end, otherwise differences are added to it."""
        places = piece.places.flatten()
        here = self.base[places]
        low, high = (values.flatten().to(here) for values in (piece.baseline, piece.target))
        if end == BASELINE:
            low, high = here, high if exact else here + (high - low)
        else:
            low, high = low if exact else here - (high - low), here
        taken = self.held[places]
        if taken.any():
            self._refuse_another_target(piece, places[taken], low[taken], high[taken], _NEUTRAL[end])
        new = places[~taken]
        self.low[new], self.high[new] = low[~taken], high[~taken]
        self.strengths.rest(new, _NEUTRAL[end])
        self.strengths.push(places, strength)
        self.held[places] = True

    def value(self) -> Tensor:
        """Return the dialled weight; numbers that no adapter changes are the base's, bit by bit."""
        return between(self.low, self.high, self.strengths.combined())

    def _refuse_another_target(self, piece: Piece, places: Tensor, low: Tensor, high: Tensor, neutral: float) -> None:
        same = bool((self.strengths.neutral[places] == neutral).all())
        for known, value in ((self.low[places], low), (self.high[places], high)):
            same = same and torch.allclose(known, value, rtol=_ROUNDING, atol=_ROUNDING**2)
        if not same:
            raise FilterlensError(
                f"Two adapters hold different values for the same filter of '{piece.parameter}': they were taken from "
                "different targets. Leave one out, or export both from one pair."
            )


def _fitting(piece: Piece, weights: dict[str, nn.Parameter], name: str) -> Tensor:
    weight = weights.get(piece.parameter)
    if weight is None:
        raise FilterlensError(
            f"Adapter {name} edits '{piece.parameter}', which the base does not have: it is of another architecture."
        )
    if tuple(weight.shape) != piece.shape:
        raise FilterlensError(
            f"Adapter {name} edits '{piece.parameter}' of shape {piece.shape}, but the base's is "
            f"{tuple(weight.shape)}: it is of another architecture."
        )
    return weight


def _nearer_end(pieces: Sequence[tuple[Piece, Tensor]]) -> str:
    """Say to which end the base's filters are nearer, in squared distance."""
    distances = dict.fromkeys(ROLES, 0.0)
    for piece, weight in pieces:
        here = weight.detach().cpu().flatten()[piece.places].double()
        for role, values in ((BASELINE, piece.baseline), (TARGET, piece.target)):
            distances[role] += float((here - values).square().sum())
    return min(ROLES, key=lambda role: distances[role])


def _other_base(adapter: Adapter, base: str, name: str) -> FilterlensError:
    ends = ", ".join(f"{role} {adapter.weights_of(role)[:12] or 'unknown'}" for role in ROLES)
    return FilterlensError(
        f"Adapter {name} belongs to another base: the hash of this one's weights is {base[:12]}, the adapter's are "
        f"{ends}. Give the network that it was taken from (`filterlens adapter show` names it)."
    )
