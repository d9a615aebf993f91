# SPDX-License-Identifier: Apache-2.0
"""Adapters: the filters of a function as a value and a small file, which dials either network.

The file is safetensors: indices, both ends of every filter, and a card. Everything in it is checked on reading.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from filterlens.errors import FilterlensError, UsageError, quoted, unknown
from filterlens.files import whole_file
from filterlens.filters import FilterLayer, FilterSpace, Selection
from filterlens.pair import ModelPair
from filterlens.showing.tables import counted, some
from filterlens.tensors import tensor_bytes

BASELINE, TARGET = "baseline", "target"
ROLES = (BASELINE, TARGET)
_HEADER, _KIND, _FORMAT = "filterlens", "adapter", 1
_INDICES = "indices"
_EXACT = (torch.float16, torch.float32, torch.float64)  # from small to large
VALUES = {"exact": None, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, eq=False)
class Piece:
    """The adapter's filters within one weight.

    Attributes:
        parameter: Name of the weight in the state dict.
        shape: Shape of the whole weight.
        filters: Number of filters in the whole weight; each is a run of consecutive numbers.
        indices: Indices of the adapter's filters ``(n,)`` int64, ascending.
        baseline: Values before fine-tuning ``(n, weights of a filter)``.
        target: Values after fine-tuning, of the same shape.
    """

    parameter: str
    shape: tuple[int, ...]
    filters: int
    indices: Tensor
    baseline: Tensor
    target: Tensor

    @property
    def places(self) -> Tensor:
        """Positions of the values in the flattened weight, ``(n, weights of a filter)`` int64."""
        size = self.baseline.shape[1]
        return self.indices.unsqueeze(1) * size + torch.arange(size)


@dataclass(frozen=True, eq=False)
class Adapter:
    """Filters with their values in baseline and target, so that either network can be dialled.

    Attributes:
        pieces: Pieces, one for each weight that it changes.
        card: Description: degradations, share of the filters, the pair (``pair/baseline/weights`` and
            ``pair/target/weights`` are :func:`weights_hash`), origin of the scores, versions.

    Example:
        >>> adapter = Adapter.of(pair, [attribution.select("blur:2", percent=1)])
        >>> adapter.save("deblur.safetensors")
    """

    pieces: tuple[Piece, ...]
    card: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        filters = sum(len(piece.indices) for piece in self.pieces)
        degradations = self.card.get("degradations", ())
        what = f"{some([str(each) for each in degradations])}: " if degradations else ""
        return f"Adapter({what}{counted(filters, 'filter')} in {counted(len(self.pieces), 'weight')})"

    @classmethod
    def of(cls, pair: ModelPair, selections: Iterable[Selection], card: Mapping[str, Any] | None = None) -> "Adapter":
        """Take selected filters out of a pair.

        Args:
            pair: Baseline and target.
            selections: Sets of filters, joined into one.
            card: Further entries of the card.

        Raises:
            FilterlensError: A selection belongs to another network, or a filter's numbers are not consecutive.
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
        """Return the adapter's filters as a selection of a network's filters.

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
        """Return the hash of the ``baseline`` or ``target`` of its pair; empty where the card lacks it."""
        value: Any = self.card
        for key in ("pair", role, "weights"):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, str) else ""

    def save(self, path: Path | str, values: str = "exact") -> None:
        """Write the adapter to a file; see :func:`save_adapter`."""
        save_adapter(path, self, values)

    @classmethod
    def load(cls, path: Path | str) -> "Adapter":
        """Read an adapter from a file; see :func:`load_adapter`."""
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
    """Describe a pair without paths, as adapters are passed on to others."""
    known: dict[str, Any] = {key: pair.facts[key] for key in ("architecture", "options") if key in pair.facts}
    return {"name": pair.name or None, "scale": pair.scale, "filters": len(pair.space), **known, **hashes}


def weights_hash(network: nn.Module) -> str:
    """Return the SHA-256 over names, shapes and values of all parameters, as 64 hexadecimal digits.

    The same for a ``.pth``, a safetensors file and a module in memory; half-precision values count as the float32
    numbers that they are. Buffers (running statistics) do not count: no edit of filters touches them, and along a
    pair's path they are the target's.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(network.named_parameters()):
        digest.update(f"{name} {tuple(parameter.shape)}\n".encode())
        digest.update(_plain(parameter).numpy().tobytes())
    return digest.hexdigest()


def _plain(parameter: Tensor) -> Tensor:
    values = parameter.detach().cpu().contiguous()
    return values if values.dtype == torch.float64 else values.float()


def save_adapter(path: Path | str, adapter: Adapter, values: str = "exact") -> None:
    """Write an adapter, whole or not at all.

    Args:
        path: A ``.safetensors`` file.
        adapter: Adapter to write.
        values: Type of the stored values, as in :func:`adapter_bytes`.

    Raises:
        UsageError: Unknown type of values.
        FilterlensError: A value is too large for ``fp16``, or the file cannot be written.
    """
    content = adapter_bytes(adapter, values)
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def adapter_bytes(adapter: Adapter, values: str = "exact") -> bytes:
    """Return the content of an adapter's file.

    Args:
        adapter: Adapter to store.
        values: ``exact`` stores each end in the smallest of float16, float32 and float64 that holds it without loss
            (checkpoints in half precision give half the size), ``fp16`` and ``fp32`` round where they must.

    Raises:
        UsageError: Unknown type of values.
        FilterlensError: A value is too large for ``fp16``.
    """
    if values not in VALUES:
        raise unknown("type of values", values, VALUES)
    header = {"kind": _KIND, "format": _FORMAT, "card": dict(adapter.card)}
    header["weights"] = [
        {"name": piece.parameter, "shape": list(piece.shape), "filters": piece.filters, "here": len(piece.indices)}
        for piece in adapter.pieces
    ]
    tensors = {
        _INDICES: torch.cat([piece.indices for piece in adapter.pieces]).to(torch.int32),
        BASELINE: _stored([piece.baseline for piece in adapter.pieces], values),
        TARGET: _stored([piece.target for piece in adapter.pieces], values),
    }
    return b"".join(tensor_bytes(tensors, {_HEADER: json.dumps(header, separators=(",", ":")), "format": "pt"}))


def _stored(parts: list[Tensor], values: str) -> Tensor:
    joined = torch.cat([part.flatten() for part in parts]).cpu()
    wanted = VALUES[values]
    kinds = (wanted,) if wanted else _EXACT
    kind = next((kind for kind in kinds if torch.equal(joined.to(kind).to(joined.dtype), joined)), kinds[-1])
    if not joined.to(kind).isfinite().all():
        raise FilterlensError(f"Values up to {joined.abs().max():g} do not fit {values}. Store them as exact.")
    return joined.to(kind)


def load_adapter(path: Path | str) -> Adapter:
    """Read what :func:`save_adapter` wrote, and check every number of it. No code in the file is ever run.

    Raises:
        FilterlensError: The file is missing, truncated, no adapter, or contradicts itself: indices out of range or
            repeated, wrong shapes, values that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FilterlensError(f"Adapter '{path}' does not exist. `filterlens adapter export` writes one.")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
            if not isinstance(header, dict) or header.get("kind") != _KIND:
                raise FilterlensError(f"'{path}' is no adapter. `filterlens adapter export` writes one.")
            if header.get("format") != _FORMAT:
                raise FilterlensError(
                    f"Adapter '{path}' has format {quoted(header.get('format'))}, but this version reads {_FORMAT}. "
                    "Install the version of filterlens that wrote it, or a newer one."
                )
            tensors = {name: file.get_tensor(name) for name in (_INDICES, BASELINE, TARGET)}
        pieces = _pieces(header["weights"], tensors)
        card = header["card"]
        if not isinstance(card, dict):
            raise ValueError("its card is no JSON object")
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise FilterlensError(
            f"'{path}' is not an intact adapter ({quoted(error)}). Copy or export it again."
        ) from error
    return Adapter(pieces, card)


def _pieces(weights: list[Mapping[str, Any]], tensors: Mapping[str, Tensor]) -> tuple[Piece, ...]:
    """Cut the three flat tensors into pieces; a ValueError says what does not fit."""
    names = [entry["name"] for entry in weights]
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError("it names no weight, or one twice")
    if tensors[_INDICES].dtype != torch.int32 or any(each.ndim != 1 for each in tensors.values()):
        raise ValueError("its indices are not int32, or a tensor is not flat")
    layouts = [_layout(entry) for entry in weights]
    heres = [here for *_, here in layouts]
    lengths = [here * size for _, _, size, here in layouts]
    indices = _cut(tensors[_INDICES], heres, _INDICES)
    ends = [_cut(_finite(tensors[role], role), lengths, role) for role in (BASELINE, TARGET)]
    return tuple(
        Piece(name, shape, filters, _checked(index, filters, name), low.view(here, size), high.view(here, size))
        for name, (shape, filters, size, here), index, low, high in zip(names, layouts, indices, *ends, strict=True)
    )


def _layout(entry: Mapping[str, Any]) -> tuple[tuple[int, ...], int, int, int]:
    """Return shape, filters, weights of a filter and filters that are here."""
    numbers = [*entry["shape"], entry["filters"], entry["here"]]
    if not all(isinstance(number, int) and not isinstance(number, bool) and number > 0 for number in numbers):
        raise ValueError(f"the shape of '{quoted(entry['name'])}' is not made of positive integers")
    shape, filters, here = tuple(entry["shape"]), entry["filters"], entry["here"]
    if math.prod(shape) % filters or here > filters:
        raise ValueError(f"{here} of {filters} filters do not fit '{quoted(entry['name'])}' of shape {shape}")
    return shape, filters, math.prod(shape) // filters, here


def _cut(tensor: Tensor, lengths: list[int], name: str) -> tuple[Tensor, ...]:
    if len(tensor) != sum(lengths):
        raise ValueError(f"'{name}' holds {len(tensor)} numbers, not {sum(lengths)}")
    return torch.split(tensor, lengths)


def _finite(tensor: Tensor, name: str) -> Tensor:
    if tensor.dtype not in _EXACT:
        raise ValueError(f"'{name}' is of type {tensor.dtype}")
    if not tensor.isfinite().all():
        raise ValueError(f"'{name}' holds NaN or infinity")
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _checked(indices: Tensor, filters: int, name: str) -> Tensor:
    values = indices.long()
    if int(values.min()) < 0 or int(values.max()) >= filters:
        wrong = int(values.min()) if int(values.min()) < 0 else int(values.max())
        raise ValueError(f"filter {wrong} of '{quoted(name)}' is out of range: there are {filters}, counted from 0")
    if bool((values.diff() <= 0).any()):
        raise ValueError(f"the filters of '{quoted(name)}' are repeated or not in order")
    return values
