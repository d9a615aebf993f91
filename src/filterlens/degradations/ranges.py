# SPDX-License-Identifier: Apache-2.0
"""Ranges of blur and noise, from which every training sample draws its own: ``blur:0.2..4``, ``noise:0..0.098``.

Drawing and blurring are done on the device for a whole batch: the host never waits for it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from filterlens.arguments import written
from filterlens.degradations.blur import GaussianBlur
from filterlens.degradations.pipeline import number_in, options_of
from filterlens.errors import UsageError, unknown
from filterlens.execution.hardware import widened, widest_float

Bounds = tuple[float, float]
GRAMMAR = "blur:0.2..4  blur:0.2..4,sigma_y=0.2..4,angle=0..180,kernel=21  noise:0..0.098"
_OPTIONS = {"blur": ("sigma", "sigma_y", "angle", "kernel"), "noise": ("sigma",)}


@dataclass(frozen=True)
class BlurRange:
    """Gaussian blurs whose parameters are drawn independently and uniformly, anew for every sample.

    Attributes:
        sigma: Least and greatest standard deviation in HR pixels; along x before rotation where ``sigma_y`` is given.
        sigma_y: Least and greatest standard deviation along y; None means isotropic.
        angle: Least and greatest rotation in degrees, counter-clockwise as seen on the screen; None means 0.
        kernel: Odd width of the kernels in pixels.
    """

    sigma: Bounds
    sigma_y: Bounds | None = None
    angle: Bounds | None = None
    kernel: int = 21

    def __post_init__(self) -> None:
        if self.angle is not None and self.sigma_y is None:
            raise UsageError(
                f"A blur range with angle = {_written(self.angle)} lacks sigma_y, so every kernel is round and has no "
                f"direction: add sigma_y={_written(self.sigma)}, or leave the angle out."
            )
        for name, bounds in self._bounds.items():
            _check_order(f"Blur {name}", bounds)
        for sigma, sigma_y in zip(self.sigma, self.sigma_y or self.sigma, strict=True):
            GaussianBlur(sigma, sigma_y=sigma_y, kernel=self.kernel)  # the blur itself knows what is legal

    @property
    def _bounds(self) -> dict[str, Bounds]:
        each = {"sigma": self.sigma, "sigma_y": self.sigma_y, "angle": self.angle}
        return {name: bounds for name, bounds in each.items() if bounds is not None}

    @property
    def is_isotropic(self) -> bool:
        """Whether every kernel is round."""
        return self.sigma_y is None

    def __str__(self) -> str:
        first, *others = (f"{name}={_written(bounds)}" for name, bounds in self._bounds.items())
        kernel = [] if self.kernel == 21 else [f"kernel={self.kernel}"]
        return ",".join([first.replace("sigma=", "blur:", 1), *others, *kernel])

    def draw(self, count: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw kernels ``(count, kernel, kernel)``, each of sum 1, on the generator's device."""
        drawn = {name: _uniform(bounds, count, generator) for name, bounds in self._bounds.items()}
        return _gaussian_kernels(**drawn, width=self.kernel).to(dtype)


@dataclass(frozen=True)
class NoiseRange:
    """White Gaussian noise whose strength is drawn uniformly, anew for every sample.

    Attributes:
        sigma: Least and greatest standard deviation as fractions of the range [0, 1]; the least may be 0.
    """

    sigma: Bounds

    def __post_init__(self) -> None:
        _check_order("Noise sigma", self.sigma)
        low, high = self.sigma
        if not (low >= 0 and 0 < high <= 1):
            raise UsageError(
                f"Noise sigma = {_written(self.sigma)} is not legal: fractions of the range, from 0 or more up to "
                "a value above 0 and at most 1 (25/255 is 0.098)."
            )

    def __str__(self) -> str:
        return f"noise:{_written(self.sigma)}"

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw standard deviations ``(count, 1, 1, 1)`` in float32, on the generator's device."""
        return _uniform(self.sigma, count, generator).float().view(count, 1, 1, 1)


def parse_range(text: str) -> BlurRange | NoiseRange | None:
    """Read a range from its written form; None where the text holds no ``..`` and so names no range.

    Example:
        >>> str(parse_range("blur:0.20..4.0,kernel=15"))
        'blur:0.2..4,kernel=15'

    Raises:
        UsageError: The text does not follow the grammar, or a bound is not legal.
    """
    if ".." not in text:
        return None
    effect, _, rest = text.strip().partition(":")
    if "+" in text:
        raise UsageError(f"'{text}' joins effects; a range stands alone. Written as: {GRAMMAR}.")
    if effect not in _OPTIONS:
        raise UsageError(f"{unknown('range', effect, _OPTIONS)} Written as: {GRAMMAR}.")
    settings = options_of(rest, _OPTIONS[effect], f"a range of '{effect}'", text)
    width = number_in(settings.pop("kernel", "21"), text, GRAMMAR, int)
    bounds = {name: _bounds(value, text) for name, value in settings.items()}
    return NoiseRange(**bounds) if effect == "noise" else BlurRange(**bounds, kernel=int(width))


def _bounds(value: str, text: str) -> Bounds:
    """Read ``low..high``; a single number is both."""
    low, dots, high = value.partition("..")
    return number_in(low, text, GRAMMAR), number_in(high if dots else low, text, GRAMMAR)


def _written(bounds: Bounds) -> str:
    if not all(math.isfinite(value) for value in bounds):
        return f"{bounds[0]}..{bounds[1]}"
    return f"{written(bounds[0])}..{written(bounds[1])}"


def _check_order(what: str, bounds: Bounds) -> None:
    if not all(math.isfinite(value) for value in bounds):
        raise UsageError(f"{what} = {_written(bounds)} is not legal: both ends of a range are finite numbers.")
    if bounds[0] > bounds[1]:
        turned = _written((bounds[1], bounds[0]))
        raise UsageError(f"{what} = {_written(bounds)} runs backwards: write the least value first, {turned}.")


def _uniform(bounds: Bounds, count: int, generator: torch.Generator) -> Tensor:
    """Draw ``(count,)`` numbers in float64; the device alone works, the host waits for nothing."""
    low, high = bounds
    drawn = torch.rand(count, generator=generator, device=generator.device)
    return low + (high - low) * widened(drawn)


def _gaussian_kernels(
    sigma: Tensor, sigma_y: Tensor | None = None, angle: Tensor | None = None, *, width: int
) -> Tensor:
    """Sample one Gaussian per entry, as :meth:`GaussianBlur.weights` does for one.

    Args:
        sigma: Standard deviations ``(B,)`` in pixels, float64.
        sigma_y: Along y before rotation, ``(B,)``; None means isotropic.
        angle: Rotations in degrees ``(B,)``, counter-clockwise as seen on the screen; None means 0.
        width: Odd width of the kernels.

    Returns:
        ``(B, width, width)`` in float64, each of sum 1.
    """
    axis = torch.arange(-(width // 2), width // 2 + 1, dtype=widest_float(sigma.device), device=sigma.device)
    turn = torch.deg2rad(torch.zeros_like(sigma) if angle is None else angle).view(-1, 1, 1)
    y, x = axis.view(1, -1, 1), axis.view(1, 1, -1)
    along, across = x * turn.cos() - y * turn.sin(), x * turn.sin() + y * turn.cos()  # y points down
    spread = sigma.view(-1, 1, 1)
    spread_y = spread if sigma_y is None else sigma_y.view(-1, 1, 1)
    kernels = torch.exp(-0.5 * ((along / spread) ** 2 + (across / spread_y) ** 2))
    return kernels / kernels.sum((1, 2), keepdim=True)
