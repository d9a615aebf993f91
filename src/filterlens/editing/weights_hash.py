# SPDX-License-Identifier: Apache-2.0
"""What identifies a network by its weights alone, whatever file it came from."""

import hashlib

import torch
from torch import Tensor, nn


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
