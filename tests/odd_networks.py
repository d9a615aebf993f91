# SPDX-License-Identifier: Apache-2.0
"""Networks that users write and that are not one plain module after the other."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint


class Plain(nn.Module):
    """Two convolutions and a smooth activation; ``scale`` by pixel shuffle, but no attribute says so."""

    def __init__(self, scale=1, into=3, out=3):
        super().__init__()
        self.larger = scale
        self.first = nn.Conv2d(into, 6, 3, padding=1)
        self.last = nn.Conv2d(6, out * scale**2, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.last(torch.tanh(self.first(x))), self.larger)


class TwoNames(Plain):
    """One module under two names, used twice."""

    def __init__(self):
        super().__init__()
        self.middle = nn.Conv2d(6, 6, 3, padding=1)
        self.again = self.middle

    def forward(self, x):
        return self.last(torch.tanh(self.again(torch.tanh(self.middle(self.first(x))))))


class Tied(Plain):
    """One weight in two modules, whose biases are their own."""

    def __init__(self, tied=True):
        super().__init__()
        self.middle, self.again = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        if tied:
            self.again.weight = self.middle.weight

    forward = TwoNames.forward


class Transposed(Plain):
    """The first layer's weight, which stands in the network itself too, leads back in the end."""

    def __init__(self):
        super().__init__()
        self.weight = self.first.weight

    def forward(self, x):
        return F.conv_transpose2d(torch.tanh(self.first(x)), self.weight, padding=1)


class Repeated(Plain):
    """One block four times in a sequence, and the sequence under two names."""

    def __init__(self):
        super().__init__()
        block = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.Tanh())
        self.body = nn.Sequential(block, block, block, block)
        self.again = self.body

    def forward(self, x):
        return self.last(self.again(self.body(self.first(x))))


class Careless(Plain):
    """Writes into its input, keeps an activation, and has frozen, unused, transposed and expanded parameters."""

    def __init__(self):
        super().__init__()
        self.first.weight = nn.Parameter(torch.randn(6, 1, 1, 1).expand(6, 3, 3, 3))
        self.last.weight = nn.Parameter((torch.randn(3, 3, 3, 6) * 0.2).permute(0, 3, 1, 2))
        self.frozen = nn.Parameter(torch.ones(3, 1, 1), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(5))

    def forward(self, x):
        x.sub_(0.5)
        self.kept = self.first(x)
        return self.last(torch.tanh(self.kept)) * self.frozen


class Recomputed(Plain):
    """Checkpoints everything in the reentrant way, whose gradients need ``backward`` and an input that has one."""

    def forward(self, x):
        hidden = checkpoint(lambda images: torch.tanh(self.first(images)), x, use_reentrant=True)
        return checkpoint(self.last, hidden, use_reentrant=True)


def ends(make, *options, change=0.3):
    """A random baseline and a target a bounded step away from it, in float64."""
    torch.manual_seed(0)
    baseline, target = make(*options).double(), make(*options).double()
    with torch.no_grad():
        for old, new in zip(baseline.parameters(), target.parameters(), strict=True):
            new.copy_(old + change * new)
    return baseline, target
