# SPDX-License-Identifier: Apache-2.0
"""The training mixture: every effect falls on every sample by its own coin."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from filterlens.arguments import is_whole
from filterlens.degradations.coin import Coin
from filterlens.degradations.kernels import weights_on
from filterlens.degradations.per_sample import composed, convolve_each, delta
from filterlens.degradations.pipeline import round_to_8_bits
from filterlens.degradations.randomness import StreamedRandom
from filterlens.degradations.ranges import BlurRange, NoiseRange
from filterlens.degradations.resample import downsample
from filterlens.errors import UsageError

Tossed = list[tuple[Coin, Tensor]]


@dataclass(frozen=True)
class Degraded:
    """What a mixture made of a batch.

    Attributes:
        lowered: LR patches ``(B, 3, H/scale, W/scale)`` on 256 levels.
        blurs: For every coin with a blur the kernels ``(B, k, k)``: what fell on the sample, or the delta.
    """

    lowered: Tensor
    blurs: tuple[Tensor, ...] = ()

    @property
    def kernels(self) -> Tensor | None:
        """The blur kernel of every sample ``(B, k, k)``, sum 1, the delta where none fell; None without a blur coin.

        Several blurs follow one another, so their kernels are convolved, which widens them: widths j and k give
        j + k − 1. Near the borders, where each blur reflects anew, the one kernel is an approximation of the several.
        """
        return reduce(composed, self.blurs) if self.blurs else None


@dataclass(frozen=True)
class Mixture:
    """Independent coins: with blur and noise at 0.5 each, a quarter of the samples is clean, blurred, noisy, both."""

    coins: tuple[Coin, ...]
    resampler: str = "bicubic"

    @classmethod
    def of(cls, coins: Sequence[tuple[str, float]], resampler: str = "bicubic") -> "Mixture":
        """Build a mixture from written degradations or ranges, and probabilities."""
        return cls(tuple(Coin.of(text, probability) for text, probability in coins), resampler)

    @property
    def has_blur(self) -> bool:
        """Whether any coin carries a blur."""
        return any(coin.blur is not None for coin in self.coins)

    @property
    def blur_range(self) -> BlurRange | None:
        """The range of the blur; None where no coin has one, or several do."""
        ranges = [coin.blur for coin in self.coins if isinstance(coin.blur, BlurRange)]
        return ranges[0] if len(ranges) == 1 else None

    @property
    def blur_width(self) -> int | None:
        """Odd width of the kernels that :meth:`degrade` returns; None without a blur."""
        widths = [coin.blur_width for coin in self.coins if coin.blur_width is not None]
        return sum(widths) - len(widths) + 1 if widths else None

    def apply(self, images: Tensor, scale: int, generator: torch.Generator) -> Tensor:
        """Degrade HR patches ``(B, 3, H, W)`` in [0, 1] in one batch on their device, without synchronisation.

        Returns:
            LR patches ``(B, 3, H/scale, W/scale)`` on 256 levels. JPEG is the batched differentiable codec.
        """
        return self.degrade(images, scale, generator).lowered

    def degrade(self, images: Tensor, scale: int, generator: torch.Generator, *, views: int = 1) -> Degraded:
        """Degrade as :meth:`apply` does, and tell with which kernels.

        Args:
            images: HR patches ``(B, 3, H, W)`` in [0, 1].
            scale: Down-sampling factor.
            generator: Draws coins, strengths and noise, on the images' device.
            views: So many consecutive samples share one degradation (coins, kernel, noise level); the noise itself is
                drawn anew for each. B is a multiple of it.

        Raises:
            UsageError: The batch does not divide into views.
            FilterlensError: A patch is not larger than half a kernel.
        """
        if not is_whole(views) or views < 1 or len(images) % views:
            raise UsageError(f"A batch of {len(images)} does not divide into {views} views: make it a multiple.")
        tossed = [(coin, self._toss(coin, images, generator, views)) for coin in self.coins]
        blurred, kernels = _blur(tossed, images, generator, views)
        lowered = _add_noise(tossed, downsample(blurred, scale, self.resampler), generator, views)
        return Degraded(round_to_8_bits(_compress(tossed, lowered)), kernels)

    @staticmethod
    def _toss(coin: Coin, images: Tensor, generator: torch.Generator, views: int) -> Tensor:
        draws = torch.rand(len(images) // views, 1, 1, 1, generator=generator, device=images.device)
        return _shared(draws < coin.probability, views)


def _shared(values: Tensor, views: int) -> Tensor:
    """Give each entry of ``(G, …)`` to consecutive samples: ``(G · views, …)``."""
    return values.unsqueeze(1).expand(-1, views, *values.shape[1:]).flatten(0, 1)


def _blur(tossed: Tossed, images: Tensor, generator: torch.Generator, views: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Blur the samples that a coin fell on; also return every blur's kernels ``(B, k, k)``."""
    kernels = []
    for coin, fell in tossed:
        blur = coin.blur
        if blur is None:
            continue
        if isinstance(blur, BlurRange):
            drawn = _shared(blur.draw(len(images) // views, generator, images.dtype), views)
            blurred = convolve_each(images, drawn, are_round=blur.is_isotropic)
        else:
            drawn = weights_on(images.device, blur, images.dtype)
            blurred = blur.apply(images)
        images = torch.where(fell, blurred, images)
        kernels.append(torch.where(fell.view(-1, 1, 1), drawn, delta(blur.kernel, images.device).to(drawn)))
    return images, tuple(kernels)


def _add_noise(tossed: Tossed, lowered: Tensor, generator: torch.Generator, views: int) -> Tensor:
    """Add noise to the samples that a coin fell on."""
    random = StreamedRandom(generator)
    for coin, fell in tossed:
        noise = coin.noise
        if noise is None:
            continue
        if isinstance(noise, NoiseRange):
            levels = _shared(noise.draw(len(lowered) // views, generator), views)
            noisy = lowered + levels * random.normal(lowered, str(noise))
        else:
            noisy = noise.apply(lowered, random)
        lowered = torch.where(fell, noisy, lowered)
    return lowered


def _compress(tossed: Tossed, lowered: Tensor) -> Tensor:
    """Compress the samples that a coin fell on, from 8 bits as a file holds them."""
    coders = [(coin.jpeg, fell) for coin, fell in tossed if coin.jpeg is not None]
    if coders:
        lowered = round_to_8_bits(lowered)
    for jpeg, fell in coders:
        lowered = torch.where(fell, jpeg.apply_differentiable(lowered), lowered)
    return lowered
