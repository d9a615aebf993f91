# SPDX-License-Identifier: Apache-2.0
"""An adapter: the filters of a function as a value of its own, small enough to send, with a knob on either network."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from filterlens.editing.weights_hash import weights_hash
from filterlens.errors import FilterlensError, UsageError
from filterlens.filters import FilterLayer, FilterSpace, Selection
from filterlens.pair import ModelPair

BASELINE, TARGET = "baseline", "target"
ROLES = (BASELINE, TARGET)


@dataclass(frozen=True, eq=False)
class Piece:
    """The adapter's filters within one weight.

    Attributes:
        parameter: Name of the weight in the state dict.
        shape: Of the whole weight.
        filters: How many filters the whole weight has; each is a run of consecutive numbers.
        indices: Which of them are here ``(n,)`` int64, ascending.
        baseline: Their values before fine-tuning ``(n, weights of a filter)``.
        target: And after it.
    """

    parameter: str
    shape: tuple[int, ...]
    filters: int
    indices: Tensor
    baseline: Tensor
    target: Tensor

    @property
    def places(self) -> Tensor:
        """Where the values lie in the flattened weight, ``(n, weights of a filter)`` int64."""
        size = self.baseline.shape[1]
        return self.indices.unsqueeze(1) * size + torch.arange(size)


@dataclass(frozen=True, eq=False)
class Adapter:
    """Filters with their values in baseline and target, so that either network can be dialled.

    Attributes:
        pieces: One per weight that it touches.
        card: What it is: degradations, share of the filters, which pair (``pair/baseline/weights`` and
            ``pair/target/weights`` are :func:`filterlens.editing.weights_hash.weights_hash`), where the scores come
            from, versions.

    Example:
        >>> adapter = Adapter.of(pair, [attribution.select("blur:2", percent=1)])
        >>> adapter.save("deblur.safetensors")
    """

    pieces: tuple[Piece, ...]
    card: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, pair: ModelPair, selections: Iterable[Selection], card: Mapping[str, Any] | None = None) -> "Adapter":
        """Take selected filters out of a pair.

        Args:
            pair: Baseline and target.
            selections: Which filters, as one set; one in several of them is taken once.
            card: What else the card says.

        Raises:
            FilterlensError: A selection is of another network, or a filter's numbers lie apart in their weight.
            UsageError: No filter is selected.
        """
        chosen = _union(pair.space, selections)
        ends = [pair.unflatten(vector.cpu()) for vector in (pair.baseline, pair.target)]
        numbers = pair.space.spread(torch.arange(len(pair.space)))
        pieces = [_piece(layer, chosen, numbers[layer.parameter], *ends) for layer in pair.space.layers]
        hashes = {role: {"weights": weights_hash(pair.network(getattr(pair, role)))} for role in ROLES}
        return cls(tuple(piece for piece in pieces if len(piece.indices)), {**(card or {}), "pair": _of(pair, hashes)})

    def __len__(self) -> int:
        return sum(len(piece.indices) for piece in self.pieces)

    def selection(self, space: FilterSpace, name: str = "") -> Selection:
        """Return its filters as a set of a network's filters, by index.

        Raises:
            FilterlensError: The network lacks a weight, or has it in another shape.
        """
        layers = {layer.parameter: layer for layer in space.layers}
        found = []
        for piece in self.pieces:
            layer = layers.get(piece.parameter)
            if layer is None or layer.count != piece.filters:
                raise FilterlensError(f"The adapter is of another network: '{piece.parameter}' does not fit {space}.")
            found.append(piece.indices + layer.offset)
        return Selection(space, torch.cat(found), name)

    def weights_of(self, role: str) -> str:
        """Return the hash of the ``baseline`` or ``target`` that it was taken from; empty where the card lacks it."""
        value: Any = self.card
        for key in ("pair", role, "weights"):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, str) else ""

    def save(self, path: Path | str, values: str = "exact") -> None:
        """Write it; see :func:`filterlens.editing.adapter_file.save_adapter`."""
        from filterlens.editing.adapter_file import save_adapter

        save_adapter(path, self, values)

    @classmethod
    def load(cls, path: Path | str) -> "Adapter":
        """Read it; see :func:`filterlens.editing.adapter_file.load_adapter`."""
        from filterlens.editing.adapter_file import load_adapter

        return load_adapter(path)


def _union(space: FilterSpace, selections: Iterable[Selection]) -> Tensor:
    mask = torch.zeros(len(space), dtype=torch.bool)
    for selection in selections:
        if selection.space != space:
            raise FilterlensError(f"The selection is of another network: {selection.space}, but the pair has {space}.")
        mask |= selection.mask
    if not mask.any():
        raise UsageError("No filter is selected, so the adapter would be empty. Take a larger share of the filters.")
    return mask


def _piece(
    layer: FilterLayer, chosen: Tensor, numbers: Tensor, baseline: Mapping[str, Tensor], target: Mapping[str, Tensor]
) -> Piece:
    """Cut out a layer's chosen filters; ``numbers`` says of every weight to which filter it belongs."""
    weights = target[layer.parameter]
    size = weights.numel() // layer.count
    expected = layer.offset + torch.arange(layer.count).repeat_interleave(size)
    if not torch.equal(numbers.expand(weights.shape).flatten(), expected):
        raise FilterlensError(
            f"The filters of '{layer.parameter}' are no consecutive numbers: adapters cannot hold them."
        )
    here = chosen[layer.offset : layer.offset + layer.count].nonzero().flatten()
    ends = [end[layer.parameter].reshape(layer.count, -1)[here].clone() for end in (baseline, target)]
    return Piece(layer.parameter, tuple(weights.shape), layer.count, here, *ends)


def _of(pair: ModelPair, hashes: Mapping[str, Any]) -> dict[str, Any]:
    """Say which pair: no path of anyone's disk, as adapters are sent around."""
    known: dict[str, Any] = {key: pair.facts[key] for key in ("architecture", "options") if key in pair.facts}
    return {"name": pair.name or None, "scale": pair.scale, "filters": len(pair.space), **known, **hashes}
