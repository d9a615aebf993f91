# SPDX-License-Identifier: Apache-2.0
"""How many input pixels one output pixel sees, measured on the network itself."""

import copy

import torch
from torch import nn

WIDTH = 257
HEIGHT = 8


def receptive_field(network: nn.Module) -> int | None:
    """Return the width of the receptive field in LR pixels; None where an output sees the whole input, or none of it.

    Measured as the extent of non-zero input gradients of one central output pixel, on a thin strip in float64 (in
    float32 the product of many small weights would vanish). Works for any network that takes such a strip.
    """
    generator = torch.Generator().manual_seed(0)
    strip = torch.rand(1, 3, HEIGHT, WIDTH, generator=generator, dtype=torch.float64).requires_grad_(True)
    probe = copy.deepcopy(network).to("cpu", torch.float64).eval().requires_grad_(False)
    with torch.enable_grad():
        try:
            output = probe(strip.clone())  # some networks write into it
        except Exception:  # one that takes no such strip, such as one of a fixed size
            return None
        row, column = output.shape[-2] // 2, output.shape[-1] // 2
        (gradient,) = torch.autograd.grad(output[..., row, column].sum(), strip)
    seen = gradient.abs().sum((0, 1, 2)).nonzero().flatten()
    width = int(seen.max() - seen.min()) + 1
    return None if width >= WIDTH - 1 else width
