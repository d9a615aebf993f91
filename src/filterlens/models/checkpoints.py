# SPDX-License-Identifier: Apache-2.0
"""Reading and writing checkpoints: safetensors with a card, BasicSR's ``.pth``; strictly, without running code."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from filterlens.errors import FilterlensError, first_line
from filterlens.files import sha256_of
from filterlens.models.file_kinds import SAFETENSORS, kind_of
from filterlens.models.identify import network_of
from filterlens.models.pickles import read_pickled
from filterlens.models.weight_sets import choice, weight_sets
from filterlens.tensors import HEADER, write_tensors
from filterlens.version import __version__

_CARD = HEADER
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedNetwork:
    """A network from a file, with the file's own description of it.

    Attributes:
        network: The network, on the CPU, float32, in evaluation mode.
        architecture: Name in :data:`filterlens.models.architectures.ARCHITECTURES`; ``spandrel:NAME`` where
            spandrel recognised it; or the user's factory, ``package.module:factory``.
        options: Options of the architecture, for example ``{"scale": 2}``.
        card: The file's own card; empty for foreign files.
        path: The file.
        sha256: Hash of the file.
        notes: Choices and changes on reading: the set of weights taken, the prefix removed. They are also logged, and
            commands print them.
    """

    network: nn.Module
    architecture: str
    options: dict[str, Any]
    path: Path
    sha256: str
    card: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def scale(self) -> int:
        """The upscaling factor."""
        return int(self.options["scale"])


def save_network(
    path: Path | str,
    network: nn.Module,
    architecture: str,
    options: Mapping[str, Any],
    card: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write weights as safetensors with a card, whole or not at all.

    Args:
        path: A ``.safetensors`` file.
        network: The network whose ``state_dict`` is written.
        architecture: Name of its architecture.
        options: Options to build it again.
        card: Description of recipe, data and figures: anything that JSON can hold.
        dtype: Storage type of floating-point tensors; ``torch.float16`` halves the file.
    """
    tensors = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }
    header = {"architecture": architecture, "options": dict(options), "version": __version__, "card": dict(card)}
    write_tensors(path, tensors, {_CARD: json.dumps(header), "format": "pt"})


def load_network(path: Path | str, architecture: str | None = None, scale: int | None = None) -> LoadedNetwork:
    """Read a checkpoint strictly: every tensor must be there, fit, and be finite.

    Args:
        path: Safetensors file, or a file of ``torch.save``, with any name: bare weights, or weights under any key,
            next to other objects. Moving averages (``params_ema``, ``ema``, ``net_g_ema`` …) are preferred. A prefix of
            all names (``module.``, ``_orig_mod.``, ``net_g.`` …) is removed where the names do not fit with it. The
            published files of DAN v1 and DASR are read too, and all architectures that spandrel knows.
        architecture: Name that overrides card and shapes; or a factory of your own that builds the network,
            ``package.module:factory`` or ``package.module:factory,option=value``. Its code runs.
        scale: Upscaling factor that overrides card and shapes.

    Raises:
        FilterlensError: The file is missing, damaged, no checkpoint, would run code, holds NaN or other numbers than
            weights are, or fits no known architecture; the message names the missing tensors and what would fit.
        UsageError: The scale is not the network's.
    """
    path = Path(path)
    content, header = read_content(path)
    sets = weight_sets(content, str(path))
    found, taken = network_of(sets, header, str(path), architecture, scale)
    notes = choice(taken, sets)
    for note in notes:
        _log.info("'%s': %s", path, note)
    card = dict(header.get("card", {}))
    return LoadedNetwork(found.network.eval(), found.architecture, found.options, path, sha256_of(path), card, notes)


def read_content(path: Path) -> tuple[Any, dict[str, Any]]:
    """Read the content of a checkpoint, and its filterlens header (empty for foreign files).

    The file's first bytes decide how it is read, not its name.

    Raises:
        FilterlensError: As in :func:`load_network`.
    """
    return _read_safetensors(path) if kind_of(path) == SAFETENSORS else (read_pickled(path), {})


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_CARD, "{}"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _check_header(header)
    except (SafetensorError, OSError, ValueError, RecursionError, AttributeError, TypeError) as error:
        reason = first_line(error, 150) or type(error).__name__
        raise FilterlensError(f"'{path}' is not an intact safetensors file ({reason}). Copy it again.") from error
    return weights, header


def _check_header(header: Any) -> None:
    if not isinstance(header, dict):
        raise ValueError(f"its '{_CARD}' header is no JSON object")
    types = {"architecture": str | None, "options": dict, "card": dict}
    for key, expected in types.items():
        if not isinstance(header.get(key, {} if key != "architecture" else None), expected):
            raise ValueError(f"in its '{_CARD}' header {key} is {str(header[key])[:60]!r}")
