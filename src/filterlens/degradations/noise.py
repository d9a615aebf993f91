# SPDX-License-Identifier: Apache-2.0
"""Gaussian and Poisson noise."""

from dataclasses import dataclass

from torch import Tensor

from filterlens.arguments import is_finite, written
from filterlens.degradations.randomness import RandomSource
from filterlens.errors import UsageError


@dataclass(frozen=True)
class GaussianNoise:
    """Add white Gaussian noise, independent per pixel and channel.

    Attributes:
        sigma: Standard deviation as a fraction of the range [0, 1] (the paper: 0.1).
    """

    sigma: float

    def __post_init__(self) -> None:
        if not (is_finite(self.sigma) and 0 < self.sigma <= 1):
            raise UsageError(
                f"Noise sigma = {self.sigma} is not legal: a fraction of the range, above 0 and at most 1 "
                "(25/255 is 0.098)."
            )

    def __str__(self) -> str:
        return f"noise:{written(self.sigma)}"

    def apply(self, images: Tensor, random: RandomSource) -> Tensor:
        """Add noise to ``(B, C, H, W)`` in [0, 1]; differentiable with respect to the images."""
        return images + self.sigma * random.normal(images, str(self))


@dataclass(frozen=True)
class PoissonNoise:
    """Photon noise: each value v becomes Poisson(v · peak) / peak.

    Attributes:
        peak: Photons at full white; fewer means noisier.
    """

    peak: float

    def __post_init__(self) -> None:
        if not (is_finite(self.peak) and 0 < self.peak <= 1e7):
            raise UsageError(f"Poisson peak = {self.peak} is not legal: photons at white, above 0 and at most 1e7.")

    def __str__(self) -> str:
        return f"poisson:{written(self.peak)}"

    def apply(self, images: Tensor, random: RandomSource) -> Tensor:
        """Replace ``(B, C, H, W)`` in [0, 1] with noisy counts; the gradient passes straight through to the mean."""
        counts = random.poisson(images.clamp(0, 1) * self.peak, str(self))
        return images + (counts / self.peak - images).detach()
