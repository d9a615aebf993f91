# SPDX-License-Identifier: Apache-2.0
"""The place of every parameter of a network in one flat vector, and all its names in the network."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from filterlens.errors import FilterlensError


@dataclass(frozen=True)
class Slot:
    """The place of one parameter in the flat vector."""

    name: str
    shape: torch.Size


@dataclass(frozen=True)
class Layout:
    """The parameters of a network, each once however many modules share it.

    Attributes:
        slots: In the order of ``network.parameters()``.
        places: Every place of the network that holds a parameter, with the name of its slot: one where a module has
            several names, several where modules share a parameter.
    """

    slots: tuple[Slot, ...]
    places: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, network: nn.Module, preferred: Collection[str] = ()) -> "Layout":
        """Read it off a network; of the names of a shared parameter, a preferred one is taken, else the first."""
        names = _names(network)
        known = {first: next((name for name in all_ if name in preferred), first) for first, all_ in names.items()}
        slots = tuple(Slot(known[name], parameter.shape) for name, parameter in network.named_parameters())
        first_of = {name: first for first, all_ in names.items() for name in all_}
        return cls(slots, tuple((place, known[first_of[place]]) for place in _places(network)))

    def join(self, values: Mapping[str, Tensor]) -> Tensor:
        """Join tensors, one per slot and broadcastable to its shape, into one flat vector."""
        return torch.cat([values[slot.name].expand(slot.shape).reshape(-1) for slot in self.slots])

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """View a flat vector as the parameters: slot → tensor of its shape; differentiable."""
        pieces = torch.split(vector, [slot.shape.numel() for slot in self.slots])
        return {slot.name: piece.view(slot.shape) for slot, piece in zip(self.slots, pieces, strict=True)}

    def placed(self, vector: Tensor) -> dict[str, Tensor]:
        """View a flat vector as what ``functional_call(…, tie_weights=False)`` puts into the network.

        Left to itself, it puts the values of a module with two names in twice and then takes the first for the
        module's own: the network would keep them.
        """
        values = self.split(vector)
        return {place: values[name] for place, name in self.places}


def check_same_architecture(baseline: nn.Module, target: nn.Module) -> None:
    """Check that two networks have parameters of the same names and shapes, shared in the same way.

    Raises:
        FilterlensError: They differ; the first difference is named.
    """
    first, second = (_shapes(network) for network in (baseline, target))
    shared = [_first_names(network) for network in (baseline, target)]
    for name in [*second, *(name for name in first if name not in second)]:
        if name not in first or name not in second:
            side = "baseline" if name in first else "target"
            raise FilterlensError(f"Baseline and target differ in architecture: '{name}' exists in the {side} only.")
        if first[name] != second[name]:
            raise FilterlensError(
                f"Baseline and target differ in architecture: '{name}' is {first[name]} in the baseline "
                f"and {second[name]} in the target."
            )
        if shared[0][name] != shared[1][name]:
            one = 0 if shared[0][name] != name else 1
            side, other = ("baseline", "target") if one == 0 else ("target", "baseline")
            raise FilterlensError(
                f"Baseline and target differ in architecture: '{shared[one][name]}' and '{name}' are one weight in "
                f"the {side}, but not in the {other}."
            )


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.named_parameters(remove_duplicate=False)}


def _names(network: nn.Module) -> dict[str, list[str]]:
    """Return all names of every parameter by its first."""
    found: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        found.setdefault(id(parameter), []).append(name)
    return {names[0]: names for names in found.values()}


def _first_names(network: nn.Module) -> dict[str, str]:
    return {name: first for first, names in _names(network).items() for name in names}


def _places(network: nn.Module) -> Iterator[str]:
    for prefix, module in network.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                yield f"{prefix}.{key}" if prefix else key
