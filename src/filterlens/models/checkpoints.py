# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in and out: safetensors with a card, BasicSR's ``.pth``, always strictly and without running code."""

import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from filterlens.errors import FilterlensError
from filterlens.files import sha256_of
from filterlens.models.identification import network_of
from filterlens.models.published_names import in_our_names
from filterlens.tensors import HEADER, write_tensors
from filterlens.version import __version__

_CARD = HEADER


@dataclass(frozen=True)
class LoadedNetwork:
    """A network from a file, with what the file says of it.

    Attributes:
        network: On the CPU, float32, in evaluation mode.
        architecture: Its name in :data:`filterlens.models.architectures.ARCHITECTURES`; ``spandrel:NAME`` for what
            spandrel recognised; or the user's factory, ``package.module:factory``.
        options: What the architecture was built with, for example ``{"scale": 2}``.
        card: The file's own card; empty for foreign files.
        path: Where it came from.
        sha256: Of the file.
    """

    network: nn.Module
    architecture: str
    options: dict[str, Any]
    path: Path
    sha256: str
    card: dict[str, Any] = field(default_factory=dict)

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
        network: Its ``state_dict`` is written.
        architecture: How to build it again.
        options: With which options.
        card: Recipe, data, figures: anything that JSON can hold.
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
        path: ``.safetensors``, or a ``.pth``/``.pt``/``.ckpt`` with bare weights, ``params_ema``, ``params`` or
            ``state_dict``, with or without a ``module.`` prefix (``params_ema`` is preferred); also the published
            files of DAN v1 and DASR, and of whatever spandrel knows.
        architecture: Overrides what the card or the shapes say; or a factory of your own that builds the network,
            ``package.module:factory`` or ``package.module:factory,option=value``. Its code runs.
        scale: Overrides what the card or the shapes say.

    Raises:
        FilterlensError: The file is missing, truncated, would run code, holds NaN, or fits no known architecture;
            the message names what is missing and what would fit.
        UsageError: The scale is not the network's.
    """
    path = Path(path)
    if not path.is_file():
        raise FilterlensError(f"Checkpoint '{path}' does not exist.")
    weights, header = read_weights(path)
    if not weights:
        raise FilterlensError(f"Checkpoint '{path}' holds no tensors.")
    weights = in_our_names(weights, str(path))
    found = network_of(weights, header, str(path), architecture, scale)
    card = dict(header.get("card", {}))
    return LoadedNetwork(found.network.eval(), found.architecture, found.options, path, sha256_of(path), card)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors of a checkpoint as float32 and its filterlens header (empty for foreign files).

    Raises:
        FilterlensError: As in :func:`load_network`.
    """
    weights, header = _read_safetensors(path) if path.suffix == ".safetensors" else (_read_pickled(path), {})
    return {name: _as_float(tensor) for name, tensor in weights.items()}, header


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_CARD, "{}"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not isinstance(header, dict):
            raise ValueError(f"its '{_CARD}' header is no JSON object")
    except (SafetensorError, OSError, ValueError) as error:
        raise FilterlensError(f"'{path}' is not an intact safetensors file ({error}). Copy it again.") from error
    return weights, header


def _read_pickled(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle protocol; what matters is raised below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FilterlensError(
            f"'{path}' holds Python objects that would run code when loaded, or is no checkpoint; filterlens refuses "
            "it. Save its state_dict alone, or convert it to safetensors."
        ) from error
    except Exception as error:  # torch.load raises whatever the damage provokes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FilterlensError(
            f"Cannot read checkpoint '{path}' ({reason}). It is truncated or no checkpoint; copy it again."
        ) from error
    return _unwrap(content, path)


def _as_float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    """Find the weights in what ``torch.load`` returned and strip the prefix of data-parallel training."""
    for key in ("params_ema", "params", "state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        found = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise FilterlensError(
            f"'{path}' holds no weights under a known key: found {found[:200]}; "
            "looked for params_ema, params, state_dict, model_state_dict, model, or bare tensors."
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}
