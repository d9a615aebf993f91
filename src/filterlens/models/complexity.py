# SPDX-License-Identifier: Apache-2.0
"""Measured size of a network: parameters, multiply-adds per LR pixel, receptive field."""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from filterlens.errors import UsageError
from filterlens.models.one_branch import SRResNet

SIDE = 128  # LR pixels of the image on which multiply-adds are counted
WIDTH, HEIGHT = 257, 8  # LR pixels of the strip on which the receptive field is measured


@dataclass(frozen=True)
class Complexity:
    """The size and the cost of a network.

    Attributes:
        parameters: Trainable numbers.
        multiply_adds: Multiply-adds per LR pixel in every convolution, those with predicted kernels included, and in
            every matrix product. Activations, norms, sums and interpolation are not counted; border pixels are,
            like all others.
    """

    parameters: int
    multiply_adds: float


def complexity(network: nn.Module, *, height: int = SIDE, width: int = SIDE, channels: int = 3) -> Complexity:
    """Count on an image of ``height`` x ``width`` LR pixels and as many ``channels``; nothing is computed.

    Work that a network does once per image (linear layers, attention) is spread over the pixels, so it weighs less in
    a larger image.
    """
    probe = copy.deepcopy(network).to("meta", torch.float32).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        probe(torch.empty(1, channels, height, width, device="meta"))
    operations = counter.get_total_flops()  # a multiplication and an addition each
    return Complexity(sum(each.numel() for each in network.parameters()), operations / 2 / (height * width))


def matched_blocks(multiply_adds: float, scale: int, features: int = 64) -> int:
    """Return the number of blocks of the SRResNet that comes nearest to these multiply-adds per LR pixel, at least 1.

    Raises:
        UsageError: The number is not positive.
    """
    if not multiply_adds > 0:
        raise UsageError(f"{multiply_adds} multiply-adds per pixel are not legal: more than 0.")
    one, two = (complexity(SRResNet(scale, features, blocks)).multiply_adds for blocks in (1, 2))
    return max(1, round(1 + (multiply_adds - one) / (two - one)))


def receptive_field(network: nn.Module, channels: int = 3) -> int | None:
    """Return the width of the receptive field in LR pixels; None where an output sees the whole input, or none of it.

    Measured as the extent of non-zero input gradients of one central output pixel, on a thin strip in float64 (in
    float32 the product of many small weights would vanish). Works for any network that takes such a strip of
    ``channels``.
    """
    generator = torch.Generator().manual_seed(0)
    strip = torch.rand(1, channels, HEIGHT, WIDTH, generator=generator, dtype=torch.float64).requires_grad_(True)
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
