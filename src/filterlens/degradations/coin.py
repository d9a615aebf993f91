# SPDX-License-Identifier: Apache-2.0
"""One effect of a training mixture, fixed or drawn from a range, and the probability with which it falls."""

from dataclasses import dataclass

from filterlens.arguments import is_finite
from filterlens.degradations.jpeg import Jpeg
from filterlens.degradations.noise import GaussianNoise, PoissonNoise
from filterlens.degradations.pipeline import Blur, Degradation
from filterlens.degradations.ranges import BlurRange, Bounds, NoiseRange, parse_range
from filterlens.degradations.written import written
from filterlens.errors import UsageError


@dataclass(frozen=True)
class Coin:
    """One single effect, or the range that it is drawn from, and the probability with which it falls on a sample."""

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
        """Read what a coin carries: a degradation as ``blur:2``, or a range as ``blur:0.2..4``."""
        return cls(parse_range(str(text)) or Degradation.parse(text), probability)

    @property
    def blur(self) -> Blur | BlurRange | None:
        """The blur, if this coin carries one."""
        if isinstance(self.degradation, Degradation):
            return self.degradation.blur
        return self.degradation if isinstance(self.degradation, BlurRange) else None

    @property
    def noise(self) -> GaussianNoise | PoissonNoise | NoiseRange | None:
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


def representatives(coin: Coin) -> list[str]:
    """Write the fixed degradations that stand for a coin when a network is validated.

    A fixed effect stands for itself, a range for its middle. Of an anisotropic range the middle would be round, so one
    long kernel stands for it: three quarters up the range of ``sigma``, a quarter up that of ``sigma_y``.

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
