# SPDX-License-Identifier: Apache-2.0
"""What decides a network's results: its weights and statistics, its structure, and the code that computes them."""

import hashlib
import inspect
from pathlib import Path

import torch
from torch import nn

from filterlens.files import sha256_of

_LIBRARIES = ("torch", "filterlens")
_PLAIN = (bool, int, float, str, type(None))


def network_fingerprint(network: nn.Module) -> str:
    """Return a SHA-256 that changes with the results of a network: 64 hexadecimal digits.

    It covers parameters and buffers, the modules with their plain attributes, and the source files of modules that are
    neither PyTorch's nor filterlens's.
    """
    digest = hashlib.sha256()
    for name, values in sorted(network.state_dict().items()):
        if isinstance(values, torch.Tensor):
            plain = values.detach().cpu().contiguous()
            digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    for name, module in network.named_modules():
        digest.update(f"{name} {type(module).__qualname__} {module.extra_repr()} {_settings(module)}\n".encode())
    for source in sorted({_source(type(module)) for module in network.modules()}):
        digest.update(source.encode())
    return digest.hexdigest()


def _settings(module: nn.Module) -> list[tuple[str, object]]:
    plain = {name: value for name, value in vars(module).items() if isinstance(value, (*_PLAIN, tuple))}
    return sorted(
        (name, repr(value)) for name, value in plain.items() if name != "training" and "0x" not in repr(value)
    )


def _source(kind: type) -> str:
    """Return the hash of the file that defines a class of the user's; empty for libraries and lost sources."""
    if kind.__module__.split(".")[0] in _LIBRARIES:
        return ""
    try:
        return sha256_of(Path(inspect.getfile(kind)))
    except (OSError, TypeError):
        return ""
