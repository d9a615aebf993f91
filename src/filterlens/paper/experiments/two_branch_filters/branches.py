# SPDX-License-Identifier: Apache-2.0
"""The branches of a network as masks: which filters, and which parameters of which kind, each of them holds."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from filterlens.filters import FilterSpace, Selection, ranking
from filterlens.models.branches import filter_branches, parameter_branch
from filterlens.pair import ModelPair

CONVOLUTIONS, LINEAR, NORMS, BIASES = "convolutions", "linear layers", "batch normalisation", "biases"
KINDS = (CONVOLUTIONS, LINEAR, NORMS, BIASES)


@dataclass(frozen=True, eq=False)
class Branches:
    """Where every filter and every parameter of a network belongs.

    Attributes:
        names: Of the branches; a plain network has ``restoration`` alone.
        space: The filters.
        of_filters: Branch of every filter, ``(filters,)`` int64.
        of_parameters: Branch of every parameter, flat ``(parameters,)`` int64.
        kinds: Place in :data:`KINDS` of every parameter, ``(parameters,)`` int64.
    """

    names: tuple[str, ...]
    space: FilterSpace
    of_filters: Tensor
    of_parameters: Tensor
    kinds: Tensor

    @classmethod
    def of(cls, pair: ModelPair, architecture: str, options: Mapping[str, Any]) -> "Branches":
        """Ask the architecture; filters count where they read from, all other parameters where their module is."""
        names, of_filters = filter_branches(pair.space, architecture, options)
        places = {name: names.index(parameter_branch(name, architecture)) for name in pair.unflatten(pair.target)}
        return cls(names, pair.space, of_filters, _flat(pair, places, of_filters), _kinds(pair))

    def place(self, name: str) -> int:
        """Return the number of a branch."""
        return self.names.index(name)

    def parameters(self, name: str) -> Tensor:
        """Return the mask over all parameters of a branch, ``(parameters,)`` bool."""
        return self.of_parameters == self.place(name)

    def top(self, scores: Tensor, percent: float, branch: str | None = None) -> Selection:
        """Return the best filters of one branch, as many as ``percent`` % of all filters, or all that it has."""
        anywhere = Selection.top(self.space, scores, percent)
        if branch is None:
            return anywhere
        ranked = ranking(scores)
        inside = ranked[self.of_filters[ranked] == self.place(branch)]
        return Selection(self.space, inside[: len(anywhere)])

    @cached_property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """The pairs (layer, branch) that hold filters, in the order of layers; a layer may serve two branches."""
        return tuple(divmod(int(code), len(self.names)) for code in torch.unique(self._codes))

    @cached_property
    def group_of_filters(self) -> Tensor:
        """Place in :attr:`groups` of every filter, ``(filters,)`` int64."""
        return torch.searchsorted(torch.unique(self._codes), self._codes)

    @cached_property
    def digest(self) -> str:
        """Hash of what belongs where."""
        found = hashlib.sha256(repr(self.names).encode())
        for places in (self.of_parameters, self.kinds):
            found.update(places.to("cpu", torch.uint8).numpy().tobytes())
        return found.hexdigest()[:24]

    @property
    def _codes(self) -> Tensor:
        return self.space.layer_index * len(self.names) + self.of_filters


def _flat(pair: ModelPair, places: Mapping[str, int], of_filters: Tensor) -> Tensor:
    """Give every parameter its module's branch, and the weights of filters that of the filter."""
    whole = {name: torch.tensor(place) for name, place in places.items()}
    return pair.flatten(whole | pair.space.spread(of_filters))


def _kinds(pair: ModelPair) -> Tensor:
    modules = dict(pair.network(pair.target).named_modules())

    def kind(name: str) -> str:
        owner, _, last = name.rpartition(".")
        if isinstance(modules[owner], nn.modules.batchnorm._NormBase):
            return NORMS
        return BIASES if last == "bias" else LINEAR if isinstance(modules[owner], nn.Linear) else CONVOLUTIONS

    return pair.flatten({name: torch.tensor(KINDS.index(kind(name))) for name in pair.unflatten(pair.target)})
