# SPDX-License-Identifier: Apache-2.0
"""The training mixture: each effect has a probability of its own with which it degrades a sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from filterlens.arguments import is_finite, is_whole, written
from filterlens.degradations.blur import reflected, weights_on
from filterlens.degradations.jpeg import Jpeg
from filterlens.degradations.pipeline import Blur, Degradation, Noise, round_to_8_bits
from filterlens.degradations.randomness import StreamedRandom
from filterlens.degradations.ranges import BlurRange, Bounds, NoiseRange, parse_range
from filterlens.degradations.resample import downsample
from filterlens.errors import UsageError


@dataclass(frozen=True)
class Coin:
    """A single effect, or a range of it, and the probability with which it degrades a sample."""

    degradation: Degradation | BlurRange | NoiseRange
    probability: float

    def __post_init__(self) -> None:
        if isinstance(self.degradation, Degradation) and self.degradation.is_clean:
            raise UsageError("A training mixture names effects alone: samples on which none falls are clean.")
        if "+" in str(self.degradation):
            raise UsageError(
                f"'{self.degradation}' is more than one effect. Name each by itself: they fall independently, "
                "so some samples have all of them."
            )
        if not (is_finite(self.probability) and 0 < self.probability <= 1):
            raise UsageError(f"Probability {self.probability} of '{self.degradation}' is not in (0, 1].")

    @classmethod
    def of(cls, text: str, probability: float) -> "Coin":
        """Make a coin of a written degradation, ``blur:2``, or a range, ``blur:0.2..4``."""
        return cls(parse_range(str(text)) or Degradation.parse(text), probability)

    @property
    def blur(self) -> Blur | BlurRange | None:
        """The blur, if this coin carries one."""
        if isinstance(self.degradation, Degradation):
            return self.degradation.blur
        return self.degradation if isinstance(self.degradation, BlurRange) else None

    @property
    def noise(self) -> Noise | NoiseRange | None:
        """The noise, if this coin carries one."""
        if isinstance(self.degradation, Degradation):
            return self.degradation.noise
        return self.degradation if isinstance(self.degradation, NoiseRange) else None

    @property
    def jpeg(self) -> Jpeg | None:
        """The compression, if this coin carries one; it has no range."""
        return self.degradation.jpeg if isinstance(self.degradation, Degradation) else None

    @property
    def blur_width(self) -> int | None:
        """Odd width of the blur's kernel in pixels; None without a blur."""
        return None if self.blur is None else self.blur.kernel


@dataclass(frozen=True)
class Degraded:
    """A batch that a mixture has degraded.

    Attributes:
        lowered: LR patches ``(B, 3, H/scale, W/scale)`` on 256 levels.
        blurs: Kernels ``(B, k, k)`` of every coin with a blur: the sample's own, or the delta where none fell.
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


Tossed = list[tuple[Coin, Tensor]]


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
        """Degrade as :meth:`apply` does, and return the kernels too.

        Args:
            images: HR patches ``(B, 3, H, W)`` in [0, 1].
            scale: Down-sampling factor.
            generator: Draws coins, strengths and noise, on the images' device.
            views: Number of consecutive samples that share one degradation (coins, kernel, noise level); the noise
                itself is drawn anew for each. B is a multiple of it.

        Raises:
            UsageError: The batch does not divide into views.
            FilterlensError: A patch is not larger than half a kernel.
        """
        if not is_whole(views) or views < 1 or len(images) % views:
            raise UsageError(f"A batch of {len(images)} does not divide into {views} views: make it a multiple.")
        tossed = [(coin, self._toss(coin, images, generator, views)) for coin in self.coins]
        images = _add_effects(tossed, images, generator)
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


def _add_effects(tossed: Tossed, images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply the effects of other packages to the samples that a coin fell on, in HR size."""
    for coin, fell in tossed:
        if isinstance(coin.degradation, Degradation) and (effect := coin.degradation.added) is not None:
            images = torch.where(fell, effect.apply(images, 1, random=StreamedRandom(generator)), images)
    return images


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


def convolve_each(images: Tensor, kernels: Tensor, *, are_round: bool) -> Tensor:
    """Convolve every image with its own kernel (symmetric about its centre); borders are reflected.

    One grouped convolution for the batch, two of lines where the kernels are round. Measured on one CPU core for 16
    RGB patches and kernels of 21: 1.1 ms at 64x64 and 2.4 ms at 96x96, as lines 0.5 and 0.9 ms (a loop over the
    samples: 11.8 and 25 ms, Fourier transforms: 1.3 and 6.2 ms).

    Args:
        images: ``(B, C, H, W)``.
        kernels: ``(B, k, k)`` of the images' type, k odd.
        are_round: True where every kernel is an isotropic Gaussian, the outer product of its marginals.

    Raises:
        FilterlensError: An image is not larger than half the kernel, so its border cannot be reflected.
    """
    batch, channels = images.shape[:2]
    side = kernels.shape[-1]
    padded = reflected(images, side // 2, f"a blur kernel of {side}", "a smaller kernel (kernel=…)")
    padded = padded.view(batch, channels, *padded.shape[-2:]).transpose(0, 1)
    if are_round:
        lines = kernels.sum(1)
        rows = F.conv2d(padded, lines.view(batch, 1, 1, side), groups=batch)
        blurred = F.conv2d(rows, lines.view(batch, 1, side, 1), groups=batch)
    else:
        blurred = F.conv2d(padded, kernels.view(batch, 1, side, side), groups=batch)
    return blurred.transpose(0, 1).contiguous()


def delta(width: int, device: torch.device) -> Tensor:
    """Return the kernel ``(width, width)`` in float32 that changes nothing."""
    centre = torch.arange(width, device=device) == width // 2
    return (centre[:, None] & centre).float()


def composed(first: Tensor, second: Tensor) -> Tensor:
    """Convolve ``(B, j, j)`` with ``(B, k, k)`` to the kernels ``(B, j + k - 1, j + k - 1)`` of both blurs in turn."""
    batch, side = len(first), second.shape[-1]
    padded = F.pad(first, (side - 1,) * 4).unsqueeze(0)
    return F.conv2d(padded, second.flip(1, 2).view(batch, 1, side, side), groups=batch).squeeze(0)


def representatives(coin: Coin) -> list[str]:
    """Return the fixed degradations, as written, that represent a coin in the validation of a network.

    A fixed effect represents itself, and the middle a range. Of an anisotropic range the middle would be round, so one
    long kernel represents it: three quarters up the range of ``sigma``, a quarter up that of ``sigma_y``.

    Example:
        >>> representatives(Coin.of("blur:0.2..4", 1)), representatives(Coin.of("noise:0..0.1", 1))
        (['blur:2.1'], ['noise:0.05'])
    """
    effect = coin.degradation
    if isinstance(effect, Degradation):
        return [str(effect)]
    if isinstance(effect, NoiseRange):
        return [f"noise:{_at(0.5, effect.sigma)}"]
    options = [] if effect.kernel == 21 else [f"kernel={effect.kernel}"]
    if effect.sigma_y is None:
        return [",".join([f"blur:{_at(0.5, effect.sigma)}", *options])]
    turned = [f"sigma_y={_at(0.25, effect.sigma_y)}", f"angle={_at(0.5, effect.angle or (0, 0))}"]
    return [",".join([f"blur:{_at(0.75, effect.sigma)}", *turned, *options])]


def _at(share: float, bounds: Bounds) -> str:
    """Write the value at a share of the way from the least to the greatest, to six digits."""
    return written(float(f"{bounds[0] + share * (bounds[1] - bounds[0]):.6g}"))
