# SPDX-License-Identifier: Apache-2.0
"""Small float64 networks on which formulas can be computed by other means."""

import torch
import torch.nn.functional as F
from torch import nn

from filterlens.pair import ModelPair


class Curved(nn.Module):
    """Two convolutions (the second grouped, 5x5) with a smooth activation between, x2 by pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 2
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 12, 5, padding=2, groups=2)

    def forward(self, x):
        return F.pixel_shuffle(self.second(torch.tanh(self.first(x))), 2)


class Linear(nn.Module):
    """One 1x1 convolution without bias, so F(γ, x) = γ x and everything has a closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 1
        self.mix = nn.Conv2d(3, 3, 1, bias=False)

    def forward(self, x):
        return self.mix(x)


def make_pair(kind=Curved, seed=0, change=0.3):
    """A random baseline and a target that is a bounded step away from it, in float64."""
    torch.manual_seed(seed)
    baseline, target = kind().double(), kind().double()
    with torch.no_grad():
        for old, new in zip(baseline.parameters(), target.parameters(), strict=True):
            new.copy_(old + change * new)
    return baseline, target, ModelPair(baseline, target)


def photographs(count=2, height=36, width=28, seed=5):
    """Smooth random images: noise, blurred, on 256 levels, so that degradations do something to them."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64)
    smooth = F.avg_pool2d(noise, 3, 1, 1)
    return (smooth * 255).round() / 255
