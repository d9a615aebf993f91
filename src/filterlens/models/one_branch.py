# SPDX-License-Identifier: Apache-2.0
"""The one-branch networks: SRResNet and the SRCNN-style network of the paper, and DnCNN, which keeps the size."""

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.errors import UsageError


def shuffle_steps(scale: int) -> tuple[int, ...]:
    """Return the factors of the pixel shuffles: x2 and x3 in one step, x4 in two.

    Raises:
        UsageError: The scale is not 2, 3 or 4.
    """
    steps = {2: (2,), 3: (3,), 4: (2, 2)}
    if scale not in steps:
        raise UsageError(f"Scale {scale} is not legal: the networks here upscale by 2, 3 or 4.")
    return steps[scale]


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
    """SRResNet (Ledig et al. 2017) as used by the paper: residual body without batch normalisation, bilinear skip.

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


class SRCNNStyle(nn.Module):
    """Nine 3x3 convolutions (3→64→128×5→shuffle→128→3) with LeakyReLU 0.1 between them.

    The parameter names are those of the reference implementation's checkpoints (``features.0.weight`` …).
    At x2: 1,407,363 parameters, 9 convolutions, 156,224 filters.

    Args:
        scale: 2, 3 or 4 (at x4 a second shuffle adds a tenth convolution).
    """

    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = []
        channels = 3
        for width in (64, 128, 128, 128, 128, 128):
            layers += [nn.Conv2d(channels, width, 3, 1, 1), nn.LeakyReLU(0.1)]
            channels = width
        for step in shuffle_steps(scale):
            layers += [nn.Conv2d(channels, channels * step**2, 3, 1, 1), nn.PixelShuffle(step), nn.LeakyReLU(0.1)]
        layers += [nn.Conv2d(channels, channels, 3, 1, 1), nn.LeakyReLU(0.1), nn.Conv2d(channels, 3, 3, 1, 1)]
        self.features = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map LR ``(B, 3, H, W)`` in [0, 1] to HR ``(B, 3, H·scale, W·scale)``."""
        output: Tensor = self.features(x)
        return output


class DnCNN(nn.Module):
    """x - CNN(x) with 3x3 convolutions and ReLU between them (Zhang et al. 2017), for images that keep their size.

    There is no batch normalisation. The parameter names are those of the authors' colour checkpoints with merged batch
    normalisation. With the defaults: 557,443 parameters, 17 convolutions, 61,824 filters.

    Args:
        scale: 1.
        features: Channels of the chain.
        layers: Convolutions, at least 3.

    Raises:
        UsageError: Another scale, or too few layers.
    """

    def __init__(self, scale: int = 1, features: int = 64, layers: int = 17) -> None:
        super().__init__()
        if scale != 1:
            raise UsageError(f"Scale {scale} is not legal: DnCNN keeps the size of its images, so its scale is 1.")
        if layers < 3:
            raise UsageError(f"{layers} layers are not legal: DnCNN has at least 3.")
        self.scale = scale
        widths = [3] + [features] * (layers - 1) + [3]
        chain: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            chain += [nn.Conv2d(before, after, 3, 1, 1), nn.ReLU()]
        self.model = nn.Sequential(*chain[:-1])
        for module in self.model:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self.model[-1].weight.data.mul_(0.1)  # type: ignore[operator]  # begins near the image itself

    def forward(self, x: Tensor) -> Tensor:
        """Map degraded ``(B, 3, H, W)`` in [0, 1] to restored ones of the same shape."""
        noise: Tensor = self.model(x)
        return x - noise
