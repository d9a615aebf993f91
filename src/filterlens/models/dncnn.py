# SPDX-License-Identifier: Apache-2.0
"""DnCNN without batch normalisation: a plain chain that predicts what to take off the image."""

import itertools

from torch import Tensor, nn

from filterlens.errors import UsageError


class DnCNN(nn.Module):
    """x - CNN(x) with 3x3 convolutions and ReLU between them (Zhang et al. 2017), for images that keep their size.

    The parameter names are those of the authors' colour checkpoints with merged batch normalisation. With the
    defaults: 557,443 parameters, 17 convolutions, 61,824 filters.

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
