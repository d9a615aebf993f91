# SPDX-License-Identifier: Apache-2.0
"""Adapters as the command line names them: which base, which files at which strengths, and what a file holds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from filterlens.editing.adapt import adapt, end_of
from filterlens.editing.adapter import ROLES, Adapter
from filterlens.editing.adapter_file import adapter_bytes, load_adapter
from filterlens.editing.weights_hash import weights_hash
from filterlens.errors import FilterlensError, UsageError, unknown
from filterlens.models.checkpoints import LoadedNetwork, load_network

STRONGEST = 100.0  # beyond it nothing is left of any picture


@dataclass(frozen=True)
class AdapterUse:
    """An adapter's file and its strength, written ``deblur.safetensors=0.8``; without a strength it is 1."""

    path: Path
    strength: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "AdapterUse":
        """Read what the user wrote; what follows the last ``=`` is the strength if it is a number."""
        path, equals, strength = text.rpartition("=")
        if not equals or Path(text).is_file():
            return cls(Path(text))
        try:
            number = float(strength)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or abs(number) > STRONGEST:
            raise UsageError(
                f"'{strength}' in '{text}' is not a strength: a number from {-STRONGEST:g} to {STRONGEST:g}. "
                "Write FILE=NUMBER, for example deblur.safetensors=0.8."
            )
        return cls(Path(path), number)


def load_base(text: str, architecture: str | None = None) -> LoadedNetwork:
    """Load the network that adapters are put on: a checkpoint, or ``NAME`` or ``NAME/target`` of a shipped pair.

    Args:
        text: File or name.
        architecture: Of a checkpoint that does not say it itself.

    Raises:
        FilterlensError: No such file, or it is no checkpoint.
        UsageError: Neither a file nor a shipped network; the nearest name is quoted.
    """
    from filterlens.models.pretrained import pair_files, pair_names

    name, _, role = text.partition("/")
    shipped = {each: dict(zip(ROLES, pair_files(each), strict=True)) for each in pair_names()}
    if not Path(text).is_file() and name in shipped:
        if (role or ROLES[0]) not in ROLES:
            raise unknown(f"network of '{name}'", role, ROLES)
        return load_network(shipped[name][role or ROLES[0]])
    if not Path(text).exists() and not Path(text).suffix and "/" not in text:
        raise unknown("base (neither a file nor a shipped network)", text, shipped)
    return load_network(Path(text), architecture)


def adapted_network(
    base: str,
    adapters: Sequence[str],
    *,
    architecture: str | None = None,
    any_base: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> nn.Module:
    """Build the network that ``--base`` and ``--adapter`` describe.

    Args:
        base: See :func:`load_base`.
        adapters: Each ``FILE=STRENGTH``.
        architecture: See :func:`load_base`.
        any_base: Take a base that is neither end of an adapter, too.
        note: Told when that was so.

    Raises:
        UsageError: See :func:`load_base` and :meth:`AdapterUse.parse`.
        FilterlensError: An adapter cannot be read, or does not belong to the base or to another adapter.
    """
    uses = [AdapterUse.parse(text) for text in adapters]
    return put_on(load_base(base, architecture), uses, any_base=any_base, note=note)


def put_on(
    base: LoadedNetwork,
    uses: Sequence[AdapterUse],
    *,
    any_base: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> nn.Module:
    """Put adapters on a base; arguments as for :func:`adapted_network`."""
    loaded = [load_adapter(use.path) for use in uses]
    names = [str(use.path) for use in uses]
    pairs = [(adapter, use.strength) for adapter, use in zip(loaded, uses, strict=True)]
    network = adapt(base.network, pairs, any_base=any_base, names=names)
    hashed = weights_hash(base.network)
    for adapter, name in zip(loaded, names, strict=True):
        if end_of(adapter, hashed) is None:
            note(f"warning: '{base.path}' is not the base that '{name}' was taken from; its differences are added")
    return network


def describe_adapter(path: Path) -> dict[str, Any]:
    """Return what a file holds: card, sizes, and how many filters of which weights."""
    adapter = load_adapter(path)
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "filters": len(adapter),
        "weights": {piece.parameter: {"here": len(piece.indices), "of": piece.filters} for piece in adapter.pieces},
        "card": dict(adapter.card),
    }


def check_file_name(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse a name that is no file's, before anything is computed.

    Raises:
        UsageError: Another suffix.
        FilterlensError: It is a folder.
    """
    if path.is_dir():
        raise FilterlensError(f"'{path}' is a folder. Give a file, for example {path / 'deblur.safetensors'}.")
    if path.suffix not in suffixes:
        raise UsageError(f"'{path}' has no known suffix: it ends in {', '.join(suffixes)}.")


def exists_already(path: Path) -> FilterlensError:
    """Build the error for a file of other content that is in the way."""
    return FilterlensError(
        f"'{path}' exists already, and holds something else. Give another name, or --force to overwrite."
    )


def checked_file(
    adapter: Adapter, path: Path, values: str, *, force: bool, note: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Write an adapter, unless the file holds this very one already, and describe the file.

    Raises:
        FilterlensError: The file holds something else, and ``force`` is not set; or it cannot be written.
    """
    if path.exists() and not force:
        if not _is_this(path, adapter, values):
            raise exists_already(path)
        note(f"'{path}' holds this very adapter already")
    else:
        adapter.save(path, values)
    return describe_adapter(path)


def _is_this(path: Path, adapter: Adapter, values: str) -> bool:
    """Whether a file holds an adapter, written at whatever time: equal contents are equal bytes."""
    try:
        created = load_adapter(path).card.get("created")
    except FilterlensError:
        return False
    return adapter_bytes(replace(adapter, card={**adapter.card, "created": created}), values) == path.read_bytes()
