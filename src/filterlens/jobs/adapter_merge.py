# SPDX-License-Identifier: Apache-2.0
"""Baking adapters into an ordinary checkpoint: the base's own names, wrapper and form, so that any program loads it."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from filterlens.editing.adapter_file import VALUES
from filterlens.errors import FilterlensError, UsageError, unknown
from filterlens.files import whole_file
from filterlens.jobs.adapter import AdapterUse, check_file_name, exists_already, load_base, put_on
from filterlens.models import file_kinds
from filterlens.models.checkpoints import read_content
from filterlens.models.file_kinds import kind_of
from filterlens.run.folder import provenance
from filterlens.tensors import write_tensors

SAFETENSORS, PICKLED = (".safetensors",), (".pth", ".pt", ".ckpt")
_CARD, _BARE, _WRAPPER = "filterlens", "", "params"
_PREFIX = "module."  # of data-parallel training


@dataclass(frozen=True, eq=False)
class Container:
    """A checkpoint as the file has it.

    Attributes:
        tensors: Name → tensor, names and types as in the file.
        wrapper: Key under which a pickled file holds them; empty where it holds them bare.
        metadata: What a safetensors file says besides.
        entries: What a pickled file holds besides, without tensors (an optimiser's state, weights before averaging).
    """

    tensors: Mapping[str, Tensor]
    wrapper: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    entries: Mapping[str, Any] = field(default_factory=dict)


def merge_adapters(
    base: str,
    adapters: Sequence[str],
    output: Path,
    *,
    architecture: str | None = None,
    values: str = "exact",
    force: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Write the base with adapters baked in, and say what was written.

    Args:
        base: A checkpoint, or ``NAME`` or ``NAME/target`` of a shipped pair.
        adapters: Each ``FILE=STRENGTH``.
        output: ``.safetensors``; or ``.pth``, ``.pt``, ``.ckpt``, under the wrapper of the base (``params`` if the base
            is no such file).
        architecture: Of a base that does not say it itself.
        values: ``exact`` keeps the base's types where the merged weights fit them without loss, and else stores all of
            them in float32; ``fp16`` and ``fp32`` decide for all.
        force: Overwrite the output, and take a base that is neither end of an adapter.
        note: Told when the base was none.

    Raises:
        UsageError: No adapter, an unknown suffix or type, or the output is one of the inputs.
        FilterlensError: An input cannot be read, does not belong, or the output exists.
    """
    if values not in VALUES:
        raise unknown("type of values", values, VALUES)
    uses = [AdapterUse.parse(text) for text in adapters]
    if not uses:
        raise UsageError("Nothing to merge: give --adapter FILE=STRENGTH at least once.")
    check_file_name(output, SAFETENSORS + PICKLED)
    loaded = load_base(base, architecture)
    if output.resolve() in {path.resolve() for path in (loaded.path, *(use.path for use in uses))}:
        raise UsageError(f"'{output}' is an input of this merge. Give another output.")
    network = put_on(loaded, uses, any_base=force, note=note)
    container = _container(loaded.path, loaded.network)
    tensors = _with_values(_merged(container.tensors, loaded.network, network, loaded.path), container.tensors, values)
    said = [{"file": use.path.name, "strength": use.strength} for use in uses]
    if output.exists() and not force:
        if not _is_there(output, tensors, said):
            raise exists_already(output)
        note(f"'{output}' holds this very network already")
    else:
        _write(output, replace(container, tensors=tensors), said)
    return {
        "file": str(output),
        "bytes": output.stat().st_size,
        "adapters": said,
        "changed": sorted(name for name, tensor in tensors.items() if not _same(tensor, container.tensors[name])),
    }


def _container(path: Path, network: nn.Module) -> Container:
    """Open a checkpoint that was just loaded, so it is known to be safe and whole."""
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
    own = [each for each in (name, _PREFIX + name) if each in tensors and _same(tensors[each], weight)]
    return own or [each for each, tensor in tensors.items() if _same(tensor, weight)]


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first.float(), second.detach().float())


def _has_tensor(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_tensor(each) for each in value.values())
    if isinstance(value, list | tuple):
        return any(_has_tensor(each) for each in value)
    return isinstance(value, Tensor)


def _merged(tensors: Mapping[str, Tensor], base: nn.Module, edited: nn.Module, path: Path) -> dict[str, Tensor]:
    """Replace what changed, under the file's names; shared weights under all of theirs."""
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


def _with_values(merged: Mapping[str, Tensor], before: Mapping[str, Tensor], values: str) -> dict[str, Tensor]:
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


def _is_there(path: Path, tensors: Mapping[str, Tensor], adapters: list[dict[str, Any]]) -> bool:
    """Whether a file holds these very tensors, in these types, and names the same adapters where it can."""
    try:
        if path.suffix in SAFETENSORS:
            with safe_open(path, framework="pt") as file:
                there = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                said = json.loads((file.metadata() or {})[_CARD])["card"]["merged"]["adapters"]
            return bool(said == adapters) and _are_same(there, tensors)
        content = torch.load(path, map_location="cpu", weights_only=True)
        return any(_are_same(each, tensors) for each in (content, *content.values()))
    except Exception:  # whatever is wrong with it, it is something else
        return False


def _are_same(first: Any, second: Mapping[str, Tensor]) -> bool:
    if not isinstance(first, Mapping) or first.keys() != second.keys():
        return False
    pairs = [(first[name], each) for name, each in second.items()]
    return all(isinstance(one, Tensor) and one.dtype == other.dtype and torch.equal(one, other) for one, other in pairs)


def _write(path: Path, container: Container, adapters: list[dict[str, Any]]) -> None:
    tensors = dict(container.tensors)
    if path.suffix in SAFETENSORS:
        card = _card(container.metadata.get(_CARD, "{}"), adapters)
        write_tensors(path, tensors, {**container.metadata, _CARD: card, "format": "pt"})
        return
    buffer = io.BytesIO()
    torch.save({**container.entries, container.wrapper: tensors} if container.wrapper else tensors, buffer)
    with whole_file(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _card(header: str, adapters: list[dict[str, Any]]) -> str:
    """Add what was merged to the base's own header, which says how to build the network."""
    known: dict[str, Any] = json.loads(header)
    merged = {"adapters": adapters, **{key: provenance()[key] for key in ("filterlens", "created")}}
    return json.dumps(known | {"card": {**known.get("card", {}), "merged": merged}})
