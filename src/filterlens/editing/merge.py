# SPDX-License-Identifier: Apache-2.0
"""Changed weights in an ordinary checkpoint with the base's names, wrapper and format, so that any program loads it."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from filterlens.editing.adapter import VALUES
from filterlens.errors import FilterlensError
from filterlens.models import file_kinds
from filterlens.models.checkpoints import read_content
from filterlens.models.file_kinds import kind_of
from filterlens.tensors import HEADER, tensor_bytes

SAFETENSORS, PICKLED = (".safetensors",), (".pth", ".pt", ".ckpt")
_BARE, _WRAPPER = "", "params"
_PREFIX = "module."  # of data-parallel training


@dataclass(frozen=True, eq=False)
class Container:
    """A checkpoint as the file has it.

    Attributes:
        tensors: Name → tensor, names and types as in the file.
        wrapper: Key under which a pickled file holds them; empty where it holds them bare.
        metadata: Metadata of a safetensors file.
        entries: Further entries of a pickled file, without tensors (an optimiser's state, weights before averaging).
    """

    tensors: Mapping[str, Tensor]
    wrapper: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    entries: Mapping[str, Any] = field(default_factory=dict)


def container_of(path: Path, network: nn.Module) -> Container:
    """Open a checkpoint that was just loaded, so it is known to be safe and whole.

    Args:
        path: The checkpoint.
        network: Network built from it.

    Raises:
        FilterlensError: It holds the weights in another arrangement than the network.
    """
    if kind_of(path) == file_kinds.SAFETENSORS:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Container(tensors, _WRAPPER, metadata=file.metadata() or {})
    content = read_content(path)[0]
    for key in (_BARE, *(content if isinstance(content, Mapping) else ())):
        found = content if key == _BARE else content[key]
        if _holds(found, network):
            entries = {} if key == _BARE else {name: each for name, each in content.items() if not _has_tensor(each)}
            return Container({str(name): each for name, each in found.items()}, str(key), entries=entries)
    raise FilterlensError(
        f"'{path}' holds its weights in another arrangement than the network that was built from it, so they cannot "
        "be merged in place. Save the network's state_dict as .safetensors first."
    )


def _holds(content: Any, network: nn.Module) -> bool:
    """Say whether these are the network's weights (of weights and their moving average only one is loaded)."""
    if not isinstance(content, Mapping) or not all(isinstance(each, Tensor) for each in content.values()):
        return False
    return all(_names_of(name, weight, content) for name, weight in network.named_parameters())


def _names_of(name: str, weight: Tensor, tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names under which a file holds a weight: its own, prefixed, or one that holds the same numbers."""
    own = [each for each in (name, _PREFIX + name) if each in tensors and same(tensors[each], weight)]
    return own or [each for each, tensor in tensors.items() if same(tensor, weight)]


def same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors hold the same numbers, in whatever types."""
    return first.shape == second.shape and torch.equal(first.float(), second.detach().float())


def _has_tensor(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_tensor(each) for each in value.values())
    if isinstance(value, list | tuple):
        return any(_has_tensor(each) for each in value)
    return isinstance(value, Tensor)


def replaced(tensors: Mapping[str, Tensor], base: nn.Module, edited: nn.Module, path: Path) -> dict[str, Tensor]:
    """Replace what changed, under the file's names; shared weights under all of theirs.

    Args:
        tensors: Name in the file → tensor.
        base: The network that was loaded from the file.
        edited: The same network with changed weights.
        path: The file, for errors.

    Raises:
        FilterlensError: The tensor that holds a changed weight is not known.
    """
    result, before = dict(tensors), base.state_dict()
    for name, value in edited.state_dict().items():
        if torch.equal(value, before[name]):
            continue
        names = _names_of(name, before[name], tensors)
        if len(names) != 1:
            what = "no tensor" if not names else f"{len(names)} tensors"
            raise FilterlensError(
                f"'{path}' has {what} with the values of '{name}', so it is not known which to change. "
                "Save the network's state_dict as .safetensors first."
            )
        result[names[0]] = value.detach()
    return result


def in_types(merged: Mapping[str, Tensor], before: Mapping[str, Tensor], values: str) -> dict[str, Tensor]:
    """Bring weights to their types in the file.

    Args:
        merged: Name → weight.
        before: The base's tensors under the same names.
        values: ``exact`` keeps the base's types where the weights fit them without loss, and else takes float32 for all
            of them; ``fp16`` and ``fp32`` decide for all.

    Raises:
        FilterlensError: A weight does not fit.
    """
    kind = VALUES[values]
    if kind is None:
        kept = {name: tensor.to(before[name].dtype) for name, tensor in merged.items()}
        if all(torch.equal(kept[name].to(tensor.dtype), tensor) for name, tensor in merged.items()):
            return {name: tensor.contiguous() for name, tensor in kept.items()}
        kind = torch.float32
    stored = {name: (each.to(kind) if each.is_floating_point() else each).contiguous() for name, each in merged.items()}
    for name, tensor in stored.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise FilterlensError(f"The values of '{name}' do not fit {values}. Store them as exact.")
    return stored


def container_bytes(container: Container, suffix: str, merged: Mapping[str, Any]) -> bytes:
    """Return the content of a file of a suffix; equal contents are equal bytes.

    Args:
        container: Content to write.
        suffix: One of :data:`SAFETENSORS` and :data:`PICKLED`.
        merged: Description of the merge for the card of a safetensors file, next to the base's header.
    """
    tensors = dict(container.tensors)
    if suffix in SAFETENSORS:
        known: dict[str, Any] = json.loads(container.metadata.get(HEADER, "{}"))
        header = json.dumps(known | {"card": {**known.get("card", {}), "merged": merged}})
        return b"".join(tensor_bytes(tensors, {**container.metadata, HEADER: header, "format": "pt"}))
    buffer = io.BytesIO()
    torch.save({**container.entries, container.wrapper: tensors} if container.wrapper else tensors, buffer)
    return buffer.getvalue()
