# SPDX-License-Identifier: Apache-2.0
"""Tensors with their metadata as safetensors files: the same bytes every time, whole or not at all."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from filterlens.errors import FilterlensError, first_line, quoted
from filterlens.files import whole_file

HEADER = "filterlens"  # the key of our own text among a file's metadata
_METADATA, _ALIGNMENT = "__metadata__", 8
_MOST_LETTERS = 160  # of what a damaged file provokes in one line


def write_tensors(path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all; equal contents are equal bytes.

    Args:
        path: File to write.
        tensors: Name → tensor, on any device; two that share memory are written twice.
        metadata: Texts, in any order.

    Raises:
        FilterlensError: It cannot be written; the error says when the disk is full.
    """
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        for part in tensor_bytes(tensors, metadata):
            stream.write(part)


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[bytes, bytes, memoryview]:
    """Return the content of such a file in three parts: length of the header, header, numbers."""
    content = memoryview(save(_apart(tensors), dict(metadata)))
    length = struct.unpack("<Q", content[:8])[0]
    header = _in_order(bytes(content[8 : 8 + length]))
    return struct.pack("<Q", len(header)), header, content[8 + length :]


def read_tensors(path: Path | str, what: str, remedy: str) -> tuple[dict[str, Tensor], Any]:
    """Read a safetensors file and the JSON under :data:`HEADER`; the caller checks the content of the JSON.

    Args:
        path: The file.
        what: Name of an intact file in errors, for example ``"score file"``.
        remedy: Remedy that errors give.

    Raises:
        FilterlensError: It is damaged, no safetensors, or its header no JSON.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if text is None:
            raise ValueError(f"its header has no '{HEADER}'")
        return tensors, json.loads(text)
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, RecursionError) as error:
        raise damaged(path, what, error, remedy) from error


def damaged(path: Path | str, what: str, error: Exception, remedy: str) -> FilterlensError:
    """Say in one line that a file is not what it should be, where it is wrong, and what to do."""
    return FilterlensError(f"'{path}' is not an intact {what} ({_reason(error)}). {remedy}")


def _reason(error: Exception) -> str:
    """Say what is wrong without letting a file fill or control the terminal."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        place = " → ".join(map(str, first["loc"]))
        said = f"{place}: {first['msg']}, not {first['input']!r:.40}" if place else first["msg"]
    else:
        said = first_line(error, 4 * _MOST_LETTERS) or type(error).__name__
    return quoted(said.rstrip(". "), _MOST_LETTERS)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring tensors to the CPU, each with memory of its own, as the format has no shared ones."""
    seen: set[int] = set()
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        here = tensor.detach().cpu().contiguous()
        place = here.untyped_storage().data_ptr()
        found[name] = here.clone() if place in seen or here.untyped_storage().nbytes() > here.nbytes else here
        seen.add(place)
    return found


def _in_order(header: bytes) -> bytes:
    """Return a file's header with its metadata sorted: safetensors writes them in a random order."""
    content = json.loads(header)
    metadata = dict(sorted(content.pop(_METADATA, {}).items()))
    ordered = ({_METADATA: metadata} if metadata else {}) | content
    text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _ALIGNMENT)
