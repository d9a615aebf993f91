# SPDX-License-Identifier: Apache-2.0
"""The SRCNN-style network of the paper: nine plain convolutions, no skip."""

from torch import Tensor, nn

from filterlens.models.upsampling import shuffle_steps


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
