# SPDX-License-Identifier: Apache-2.0
"""Adapters as safetensors: indices, both ends of every filter, and a card. Reading one trusts nothing in it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from filterlens.editing.adapter import BASELINE, TARGET, Adapter, Piece
from filterlens.errors import FilterlensError, unknown
from filterlens.files import whole_file
from filterlens.tensors import tensor_bytes

_HEADER, _KIND, _FORMAT = "filterlens", "adapter", 1
_INDICES = "indices"
_EXACT = (torch.float16, torch.float32, torch.float64)  # from small to large
VALUES = {"exact": None, "fp16": torch.float16, "fp32": torch.float32}


def save_adapter(path: Path | str, adapter: Adapter, values: str = "exact") -> None:
    """Write an adapter, whole or not at all.

    Args:
        path: A ``.safetensors`` file.
        adapter: What is written.
        values: As in :func:`adapter_bytes`.

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
        adapter: What is stored.
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
    """Read what :func:`save_adapter` wrote, and check every number of it. No code of the file is ever run.

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
                    f"Adapter '{path}' has format {_short(header.get('format'))}, but this version reads {_FORMAT}. "
                    "Install the version of filterlens that wrote it, or a newer one."
                )
            tensors = {name: file.get_tensor(name) for name in (_INDICES, BASELINE, TARGET)}
        pieces = _pieces(header["weights"], tensors)
        card = header["card"]
        if not isinstance(card, dict):
            raise ValueError("its card is no JSON object")
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise FilterlensError(
            f"'{path}' is not an intact adapter ({_short(error)}). Copy or export it again."
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
        raise ValueError(f"the shape of '{_short(entry['name'])}' is not made of positive integers")
    shape, filters, here = tuple(entry["shape"]), entry["filters"], entry["here"]
    if math.prod(shape) % filters or here > filters:
        raise ValueError(f"{here} of {filters} filters do not fit '{_short(entry['name'])}' of shape {shape}")
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
        raise ValueError(f"filter {wrong} of '{_short(name)}' is out of range: there are {filters}, counted from 0")
    if bool((values.diff() <= 0).any()):
        raise ValueError(f"the filters of '{_short(name)}' are repeated or not in order")
    return values


def _short(value: object) -> str:
    """Quote what a file says without letting it fill or control the terminal."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in str(value)).split())
    return text if len(text) <= 120 else f"{text[:119]}…"
