# SPDX-License-Identifier: Apache-2.0
"""The training mixture: every effect falls on every sample by its own coin."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from filterlens.degradations.pipeline import Degradation, round_to_8_bits
from filterlens.degradations.randomness import StreamedRandom
from filterlens.degradations.resample import downsample
from filterlens.errors import UsageError


@dataclass(frozen=True)
class Coin:
    """One single effect and the probability with which it falls on a sample."""

    degradation: Degradation
    probability: float

    def __post_init__(self) -> None:
        if "+" in str(self.degradation) or self.degradation.is_clean:
            raise UsageError(f"A coin carries one effect, not '{self.degradation}'.")
        if not 0 < self.probability <= 1:
            raise UsageError(f"Probability {self.probability} of '{self.degradation}' is not in (0, 1].")


@dataclass(frozen=True)
class Mixture:
    """Independent coins: with blur and noise at 0.5 each, a quarter of the samples is clean, blurred, noisy, both."""

    coins: tuple[Coin, ...]
    resampler: str = "bicubic"

    @classmethod
    def of(cls, coins: Sequence[tuple[str, float]], resampler: str = "bicubic") -> "Mixture":
        """Build a mixture from written degradations and probabilities."""
        return cls(tuple(Coin(Degradation.parse(text), probability) for text, probability in coins), resampler)

    def apply(self, images: Tensor, scale: int, generator: torch.Generator) -> Tensor:
        """Degrade HR patches ``(B, 3, H, W)`` in [0, 1] in one batch on their device, without synchronisation.

        Returns:
            LR patches ``(B, 3, H/scale, W/scale)`` on 256 levels. JPEG is the batched differentiable codec.
        """
        random = StreamedRandom(generator)
        falls = [self._toss(coin, images, generator) for coin in self.coins]
        steps = list(zip(self.coins, falls, strict=True))
        for coin, fell in steps:
            if coin.degradation.blur is not None:
                images = torch.where(fell, coin.degradation.blur.apply(images), images)
        lowered = downsample(images, scale, self.resampler)
        for coin, fell in steps:
            if coin.degradation.noise is not None:
                lowered = torch.where(fell, coin.degradation.noise.apply(lowered, random), lowered)
        coders = [(coin.degradation.jpeg, fell) for coin, fell in steps if coin.degradation.jpeg is not None]
        if coders:
            lowered = round_to_8_bits(lowered)
        for jpeg, fell in coders:
            lowered = torch.where(fell, jpeg.apply_differentiable(lowered), lowered)
        return round_to_8_bits(lowered)

    @staticmethod
    def _toss(coin: Coin, images: Tensor, generator: torch.Generator) -> Tensor:
        draws = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)
        return draws < coin.probability
