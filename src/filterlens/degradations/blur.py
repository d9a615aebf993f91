# SPDX-License-Identifier: Apache-2.0
"""Gaussian blur, isotropic or anisotropic."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from filterlens.arguments import is_finite, is_whole
from filterlens.degradations.kernels import reflected, turned_axes, weights_on
from filterlens.degradations.written import written
from filterlens.errors import UsageError


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
        if not is_whole(self.kernel) or self.kernel < 3 or self.kernel % 2 == 0 or self.kernel > 401:
            raise UsageError(f"Blur kernel = {self.kernel} is not legal: an odd width from 3 to 401 pixels.")
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
        along, across = turned_axes(self.kernel // 2, self.angle)
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
