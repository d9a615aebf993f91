# SPDX-License-Identifier: Apache-2.0
"""Motion blur: the camera moves along a straight line while the shutter is open."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from filterlens.arguments import is_finite
from filterlens.degradations.kernels import reflected, turned_axes, weights_on
from filterlens.degradations.written import written
from filterlens.errors import UsageError

LONGEST = 401  # HR pixels, as wide as the widest kernel of the Gaussian blur


@dataclass(frozen=True)
class MotionBlur:
    """Convolve with a straight, anti-aliased line; borders are reflected (the border pixel not repeated).

    A pixel of the kernel weighs 1 − its distance to the line from the first to the last pixel centre, and nothing
    beyond a distance of 1 (as MATLAB's ``fspecial('motion', length, angle)``); the sum is 1. At 0 and 90 degrees an
    odd length is a box filter, a length of 1 changes nothing at any angle.

    Attributes:
        length: Of the line in HR pixels, 1 or more; need not be whole.
        angle: In degrees, counter-clockwise as seen on the screen; kept in [0, 180), since a line has no direction.
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
        along, across = turned_axes(self.kernel // 2, self.angle)
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
