# SPDX-License-Identifier: Apache-2.0
"""SRResNet without batch normalisation, the plain one-branch network of the paper."""

import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.models.upsampling import shuffle_steps


class ResidualBlock(nn.Module):
    """x + conv(ReLU(conv(x))), no batch normalisation, residual scale 1."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, 1, 1)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, features, H, W)`` to the same shape."""
        change: Tensor = self.conv2(F.relu(self.conv1(x)))
        return x + change


class SRResNet(nn.Module):
    """SRResNet (Ledig et al. 2017) as used by the paper: residual body, pixel shuffle, bilinear global skip.

    The parameter names are those of BasicSR's checkpoints. With the defaults at x2: 1,369,859 parameters,
    36 convolutions, 151,936 filters.

    Args:
        scale: 2, 3 or 4.
        features: Channels of the body.
        blocks: Residual blocks.
    """

    def __init__(self, scale: int = 2, features: int = 64, blocks: int = 16) -> None:
        super().__init__()
        steps = shuffle_steps(scale)
        self.scale = scale
        self.conv_first = nn.Conv2d(3, features, 3, 1, 1)
        self.body = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        self.upconv1 = nn.Conv2d(features, features * steps[0] ** 2, 3, 1, 1)
        if len(steps) == 2:
            self.upconv2 = nn.Conv2d(features, features * steps[1] ** 2, 3, 1, 1)
        self._steps = steps
        self.conv_hr = nn.Conv2d(features, features, 3, 1, 1)
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                module.weight.data.mul_(0.1)  # residual networks without normalisation start near the skip
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map LR ``(B, 3, H, W)`` in [0, 1] to HR ``(B, 3, H·scale, W·scale)``."""
        skip = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        y = self.body(F.leaky_relu(self.conv_first(x), 0.1))
        for upconv, step in zip(("upconv1", "upconv2"), self._steps, strict=False):
            y = F.leaky_relu(F.pixel_shuffle(getattr(self, upconv)(y), step), 0.1)
        output: Tensor = self.conv_last(F.leaky_relu(self.conv_hr(y), 0.1)) + skip
        return output
