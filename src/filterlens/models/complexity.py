# SPDX-License-Identifier: Apache-2.0
"""What a network costs: parameters, and multiply-adds per LR pixel as PyTorch's counter sees them."""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from filterlens.errors import UsageError
from filterlens.models.srresnet import SRResNet

SIDE = 128


@dataclass(frozen=True)
class Complexity:
    """The size and the price of a network.

    Attributes:
        parameters: Trainable numbers.
        multiply_adds: Per LR pixel: of every convolution, those with predicted kernels included, and of every matrix
            product. Activations, norms, sums and interpolation are not counted, border pixels like all others.
    """

    parameters: int
    multiply_adds: float


def complexity(network: nn.Module, *, height: int = SIDE, width: int = SIDE) -> Complexity:
    """Count on an image of ``height`` x ``width`` LR pixels; nothing is computed.

    What a network does once per image (linear layers, attention) is spread over the pixels, so it weighs less in a
    larger image.
    """
    probe = copy.deepcopy(network).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        probe(torch.empty(1, 3, height, width, device="meta"))
    operations = counter.get_total_flops()  # a multiplication and an addition each
    return Complexity(sum(each.numel() for each in network.parameters()), operations / 2 / (height * width))


def matched_blocks(multiply_adds: float, scale: int, features: int = 64) -> int:
    """Return how many blocks the SRResNet has that comes nearest to so many multiply-adds per LR pixel, at least 1.

    Raises:
        UsageError: The number is not positive.
    """
    if not multiply_adds > 0:
        raise UsageError(f"{multiply_adds} multiply-adds per pixel are not legal: more than 0.")
    one, two = (complexity(SRResNet(scale, features, blocks)).multiply_adds for blocks in (1, 2))
    return max(1, round(1 + (multiply_adds - one) / (two - one)))
