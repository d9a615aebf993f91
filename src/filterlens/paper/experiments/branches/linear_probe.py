# SPDX-License-Identifier: Apache-2.0
"""A linear probe: multinomial logistic regression on standardised features."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

DECAY = 1e-3  # of the probe's weights, on features of unit variance


@dataclass(frozen=True)
class LinearProbe:
    """Multinomial logistic regression on standardised features: ``argmax (x − mean) / spread · weights + bias``."""

    mean: Tensor
    spread: Tensor
    weights: Tensor
    bias: Tensor

    def answer(self, features: Tensor) -> Tensor:
        """Return the class of every row ``(N, dimension)``."""
        return (((features.double() - self.mean) / self.spread) @ self.weights + self.bias).argmax(1)


def fit(features: Tensor, labels: Tensor) -> LinearProbe:
    """Fit a linear probe in float64: cross entropy plus ``DECAY / 2 · ‖weights‖²``, convex, by L-BFGS.

    Args:
        features: ``(N, dimension)``.
        labels: ``(N,)``, classes from 0.
    """
    known = features.double()
    mean, spread = known.mean(0), known.std(0).clamp_min(1e-12)
    x = (known - mean) / spread
    weights = torch.zeros(x.shape[1], int(labels.max()) + 1, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(weights.shape[1], dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weights, bias], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = F.cross_entropy(x @ weights + bias, labels) + DECAY / 2 * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        search.step(loss)  # type: ignore[no-untyped-call]
    return LinearProbe(mean, spread, weights.detach(), bias.detach())
