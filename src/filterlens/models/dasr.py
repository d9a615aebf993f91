# SPDX-License-Identifier: Apache-2.0
"""DASR, a two-branch network: an encoder of the degradation, and a restorer that adapts to its representation."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.models.one_branch import shuffle_steps

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # RGB, in [0, 1]
REDUCTION = 8
SLOPE = 0.1


class EncoderLayer(nn.Module):
    """Convolution, batch normalisation, LeakyReLU."""

    def __init__(self, channels: int, features: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, features, 3, stride, 1)
        self.norm = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, H, W)`` to ``(B, features, H/stride, W/stride)``, rounded up."""
        return F.leaky_relu(self.norm(self.conv(x)), SLOPE)


class DegradationEncoder(nn.Module):
    """The degradation branch: six layers and a mean over all pixels, trained by contrast.

    Args:
        features: Channels of the first layer; the representation has four times as many.
        rgb_range: Value inside the network of a 1 in an image.

    Attributes:
        dimension: Numbers in a representation.
    """

    def __init__(self, features: int, rgb_range: float) -> None:
        super().__init__()
        self.rgb_range, self.dimension = rgb_range, 4 * features
        widths = [3] + [features * factor for factor in (1, 1, 2, 2, 4, 4)]
        strides = (1, 1, 2, 1, 2, 1)
        self.layers = nn.ModuleList(
            EncoderLayer(*between) for between in zip(widths[:-1], widths[1:], strides, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, 3, H, W)`` in [0, 1] to representations of their degradation ``(B, 4·features)``."""
        y = x * self.rgb_range
        for layer in self.layers:
            y = layer(y)
        return y.mean((2, 3))


class DegradationAwareConv(nn.Module):
    """A depthwise 3x3 convolution with predicted kernels, plus the input times predicted channel weights."""

    def __init__(self, features: int) -> None:
        super().__init__()
        narrow = max(1, features // REDUCTION)
        self.kernel = nn.Sequential(
            nn.Linear(features, features, bias=False),
            nn.LeakyReLU(SLOPE),
            nn.Linear(features, features * 9, bias=False),
        )
        self.conv = nn.Conv2d(features, features, 1)
        self.ca = nn.Sequential(
            nn.Conv2d(features, narrow, 1, bias=False), nn.LeakyReLU(SLOPE), nn.Conv2d(narrow, features, 1, bias=False)
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map ``(B, features, H, W)`` and the degradation ``(B, features)`` to the shape of the first."""
        kernels = self.kernel(condition).view(*x.shape[:2], 3, 3)
        mixed: Tensor = self.conv(F.leaky_relu(depthwise(x, kernels), SLOPE))
        return mixed + x * torch.sigmoid(self.ca(condition[..., None, None]))


class DegradationAwareBlock(nn.Module):
    """x plus two degradation-aware convolutions, each followed by a plain one."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.da_conv1 = DegradationAwareConv(features)
        self.da_conv2 = DegradationAwareConv(features)
        self.conv1 = nn.Conv2d(features, features, 3, 1, 1)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map ``(B, features, H, W)`` and the degradation ``(B, features)`` to the shape of the first."""
        y = F.leaky_relu(self.da_conv1(x, condition), SLOPE)
        y = F.leaky_relu(self.conv1(y), SLOPE)
        y = F.leaky_relu(self.da_conv2(y, condition), SLOPE)
        change: Tensor = self.conv2(y)
        return x + change


class Group(nn.Module):
    """x plus a chain of blocks and a convolution."""

    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(DegradationAwareBlock(features) for _ in range(blocks))
        self.conv = nn.Conv2d(features, features, 3, 1, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map ``(B, features, H, W)`` and the degradation ``(B, features)`` to the shape of the first."""
        y = x
        for block in self.blocks:
            y = block(y, condition)
        change: Tensor = self.conv(y)
        return x + change


class DegradationAwareNetwork(nn.Module):
    """The restoration branch, DASR's degradation-aware SR network: from the LR image to the HR image.

    Its blocks adapt to the representation of the image's degradation.
    """

    mean: Tensor

    def __init__(self, scale: int, features: int, groups: int, blocks: int, rgb_range: float) -> None:
        super().__init__()
        self.rgb_range = rgb_range
        self.compress = nn.Linear(4 * features, features, bias=False)
        self.head = nn.Conv2d(3, features, 3, 1, 1)
        self.groups = nn.ModuleList(Group(features, blocks) for _ in range(groups))
        self.conv_body = nn.Conv2d(features, features, 3, 1, 1)
        self.upconvs = nn.ModuleList(nn.Conv2d(features, features * s**2, 3, 1, 1) for s in shuffle_steps(scale))
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)
        self._steps = shuffle_steps(scale)
        self.register_buffer("mean", torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor, representation: Tensor) -> Tensor:
        """Map LR ``(B, 3, H, W)`` in [0, 1] and ``(B, 4·features)`` to HR ``(B, 3, H·scale, W·scale)``."""
        condition = F.leaky_relu(self.compress(representation), SLOPE)
        shallow = self.head((x - self.mean) * self.rgb_range)
        y = shallow
        for group in self.groups:
            y = group(y, condition)
        y = self.conv_body(y) + shallow
        for upconv, step in zip(self.upconvs, self._steps, strict=True):
            y = F.pixel_shuffle(upconv(y), step)
        output: Tensor = self.conv_last(y) / self.rgb_range + self.mean
        return output


class DASR(nn.Module):
    """DASR (Wang et al. 2021): a restorer whose depthwise kernels and channel weights follow the degradation.

    The projection head, the momentum encoder and the queue of its contrastive training are no part of the network.
    With the defaults: 5,689,987 parameters at x2, 5,837,699 at x4.

    Args:
        scale: 2, 3 or 4.
        features: Channels of the restorer and of the encoder's first layers.
        groups: Groups of blocks.
        blocks: Degradation-aware blocks per group.
        rgb_range: Value inside the network of a 1 in an image; the published weights work on 0 to 255.
    """

    def __init__(
        self, scale: int = 2, features: int = 64, groups: int = 5, blocks: int = 5, rgb_range: float = 255.0
    ) -> None:
        super().__init__()
        self.scale = scale
        self.encoder = DegradationEncoder(features, rgb_range)
        self.restorer = DegradationAwareNetwork(scale, features, groups, blocks, rgb_range)

    def forward(self, x: Tensor) -> Tensor:
        """Map LR ``(B, 3, H, W)`` in [0, 1] to HR ``(B, 3, H·scale, W·scale)``."""
        output: Tensor = self.restorer(x, self.encoder(x))
        return output


def depthwise(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve every channel of every sample with its own kernel, borders zero.

    One grouped convolution: forward and backward, it was three to seven times as fast on a CPU as nine shifted
    products, and four to eight times as fast as unfolding. It gives back the layout that it got, which the next
    convolution wants.

    Args:
        x: ``(B, C, H, W)``.
        kernels: ``(B, C, k, k)``, k odd.

    Returns:
        ``(B, C, H, W)``.
    """
    batch, channels, height, width = x.shape
    size, count = kernels.shape[-1], batch * channels
    one = x.reshape(1, count, height, width)
    y = F.conv2d(one, kernels.reshape(count, 1, size, size), padding=size // 2, groups=count).view(x.shape)
    if x.stride(1) != 1:
        return y
    return y.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # channels last, in words that vmap knows
