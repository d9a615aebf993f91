# SPDX-License-Identifier: Apache-2.0
"""Blur by a Gaussian, round or long, and by the motion of the camera."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from filterlens.arguments import is_finite, is_whole, written
from filterlens.errors import FilterlensError, UsageError

LONGEST = 401  # HR pixels: the widest kernel, and the longest motion


class Kernel(Hashable, Protocol):
    """A blur that can write down its kernel."""

    def weights(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the kernel ``(kernel, kernel)``; it sums to 1."""
        ...


@dataclass(frozen=True)
class GaussianBlur:
    """Convolve with a sampled, normalised Gaussian; borders are reflected (the border pixel not repeated).

    Attributes:
        sigma: Standard deviation in HR pixels, along x before rotation.
        sigma_y: Standard deviation along y; None means isotropic.
        angle: Rotation in degrees, counter-clockwise as seen on the screen.
        kernel: Odd width of the kernel in pixels (the paper: 21).
    """

    sigma: float
    sigma_y: float | None = None
    angle: float = 0.0
    kernel: int = 21

    def __post_init__(self) -> None:
        for name, value in (("sigma", self.sigma), ("sigma_y", self.sigma if self.sigma_y is None else self.sigma_y)):
            if not (is_finite(value) and 0 < value <= 100):
                raise UsageError(f"Blur {name} = {value} is not legal: it is in HR pixels, above 0 and at most 100.")
        if not is_whole(self.kernel) or self.kernel < 3 or self.kernel % 2 == 0 or self.kernel > LONGEST:
            raise UsageError(f"Blur kernel = {self.kernel} is not legal: an odd width from 3 to {LONGEST} pixels.")
        if not is_finite(self.angle):
            raise UsageError(f"Blur angle = {self.angle} is not legal: degrees.")
        if self.is_isotropic:  # one kernel has one written form: a round one has no direction
            object.__setattr__(self, "sigma_y", None)
            object.__setattr__(self, "angle", 0.0)

    @property
    def is_isotropic(self) -> bool:
        """Whether the kernel is round."""
        return self.sigma_y is None or self.sigma_y == self.sigma

    def __str__(self) -> str:
        options = []
        if self.sigma_y is not None:
            options += [f"sigma_y={written(self.sigma_y)}", f"angle={written(self.angle)}"]
        if self.kernel != 21:
            options.append(f"kernel={self.kernel}")
        return ",".join([f"blur:{written(self.sigma)}", *options])

    def weights(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the kernel ``(kernel, kernel)``; it sums to 1."""
        along, across = _turned_axes(self.kernel // 2, self.angle)
        sigma_y = self.sigma if self.sigma_y is None else self.sigma_y
        kernel = torch.exp(-0.5 * ((along / self.sigma) ** 2 + (across / sigma_y) ** 2))
        return (kernel / kernel.sum()).to(dtype)

    def apply(self, images: Tensor) -> Tensor:
        """Blur ``(B, C, H, W)``; differentiable.

        Raises:
            FilterlensError: An image is not larger than half the kernel, so its border cannot be reflected.
        """
        remedy = f"a smaller kernel (blur:{written(self.sigma)},kernel=…)"
        padded = reflected(images, self.kernel // 2, f"a blur kernel of {self.kernel}", remedy)
        kernel = weights_on(images.device, self, images.dtype)
        if self.is_isotropic:  # a round Gaussian is the outer product of its marginals
            line = kernel.sum(0)
            blurred = F.conv2d(F.conv2d(padded, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))
        else:
            blurred = F.conv2d(padded, kernel.view(1, 1, self.kernel, self.kernel))
        return blurred.view_as(images)


@dataclass(frozen=True)
class MotionBlur:
    """Convolve with a straight, anti-aliased line; borders are reflected (the border pixel not repeated).

    A pixel of the kernel weighs 1 − its distance to the line from the first to the last pixel centre, and nothing
    beyond a distance of 1 (as MATLAB's ``fspecial('motion', length, angle)``); the sum is 1. At 0 and 90 degrees an
    odd length is a box filter, a length of 1 changes nothing at any angle.

    Attributes:
        length: Length of the line in HR pixels, 1 or more; need not be whole.
        angle: Degrees, counter-clockwise as seen on the screen; kept in [0, 180), since a line has no direction.
    """

    length: float
    angle: float = 0.0

    def __post_init__(self) -> None:
        if not (is_finite(self.length) and 1 <= self.length <= LONGEST):
            raise UsageError(f"Motion length = {self.length} is not legal: it is in HR pixels, from 1 to {LONGEST}.")
        if not is_finite(self.angle):
            raise UsageError(f"Motion angle = {self.angle} is not legal: degrees.")
        turned = self.angle % 180 % 180  # one kernel has one written form; a tiny negative angle leaves 180 at first
        object.__setattr__(self, "angle", turned if self.length > 1 else 0.0)

    @property
    def kernel(self) -> int:
        """Odd width of the kernel in pixels."""
        return 2 * math.ceil((self.length - 1) / 2) + 1

    def __str__(self) -> str:
        angle = [f"angle={written(self.angle)}"] if self.angle else []
        return ",".join([f"motion:{written(self.length)}", *angle])

    def weights(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the kernel ``(kernel, kernel)``; it sums to 1."""
        along, across = _turned_axes(self.kernel // 2, self.angle)
        distance = torch.hypot((along.abs() - (self.length - 1) / 2).clamp_min(0), across)
        kernel = (1 - distance).clamp_min(0)
        return (kernel / kernel.sum()).to(dtype)

    def apply(self, images: Tensor) -> Tensor:
        """Blur ``(B, C, H, W)``; differentiable.

        Raises:
            FilterlensError: An image is not larger than half the kernel, so its border cannot be reflected.
        """
        blur = f"a motion of {written(self.length)} pixels"
        padded = reflected(images, self.kernel // 2, blur, "a shorter motion")
        kernel = weights_on(images.device, self, images.dtype)
        return F.conv2d(padded, kernel.view(1, 1, self.kernel, self.kernel)).view_as(images)


def _turned_axes(radius: int, angle: float) -> tuple[Tensor, Tensor]:
    """Return the coordinates along and across a direction, in degrees counter-clockwise from the right.

    Both are ``(2 radius + 1, 2 radius + 1)`` float64 in pixels, 0 at the centre.
    """
    turn = math.radians(angle)
    axis = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)  # y points down


def reflected(images: Tensor, radius: int, blur: str, remedy: str) -> Tensor:
    """Reflect the borders of ``(B, C, H, W)`` and return every channel by itself: ``(B·C, 1, H + 2r, W + 2r)``.

    Args:
        images: The images to blur.
        radius: Radius of the kernel in pixels.
        blur: The blur as the error names it.
        remedy: The blur that would fit, as the error names it.

    Raises:
        FilterlensError: An image is not larger than the radius, so its border cannot be reflected.
    """
    height, width = images.shape[-2:]
    if min(height, width) <= radius:
        raise FilterlensError(
            f"An image of {width}x{height} is too small for {blur}: use images above {radius} pixels or {remedy}."
        )
    columns = images.reshape(-1, 1, *images.shape[-2:])
    return F.pad(columns, (radius, radius, radius, radius), mode="reflect")


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def weights_on(device: torch.device, blur: Kernel, dtype: torch.dtype) -> Tensor:
    """Return a kernel on a device and keep it there: a fresh copy would make the host wait for the device."""
    return blur.weights(dtype).to(device)
