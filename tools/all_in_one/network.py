# SPDX-License-Identifier: Apache-2.0
"""A plain network that keeps the size of its images; nothing of it is known to filterlens."""

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """x + conv(ReLU(conv(x)))."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, features, h, w)`` to the same shape."""
        change: Tensor = self.conv2(F.relu(self.conv1(x)))
        return x + change


class Restorer(nn.Module):
    """Six residual blocks on the image folded to half its size. No skip leads from the image to the output.

    Without such a skip, and with an activation after the first convolution, the network has to build its whole output
    with its filters: a baseline that leaves clean images alone is no zero.

    Args:
        features: Channels of the body.
        blocks: Residual blocks.
    """

    def __init__(self, features: int = 32, blocks: int = 6) -> None:
        super().__init__()
        self.first = nn.Conv2d(12, features, 3, padding=1)
        self.body = nn.Sequential(*(Block(features) for _ in range(blocks)))
        self.last = nn.Conv2d(features, 12, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` in [0, 1], with even H and W, to restored images of the same shape."""
        folded = F.relu(self.first(F.pixel_unshuffle(images, 2)))
        return F.pixel_shuffle(self.last(self.body(folded)), 2)
