# SPDX-License-Identifier: Apache-2.0
"""What all blurs share: turned axes, reflected borders, kernels that stay on the device."""

import math
from collections.abc import Hashable
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from filterlens.errors import FilterlensError


class Kernel(Hashable, Protocol):
    """A blur that can write down its kernel."""

    def weights(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the kernel ``(kernel, kernel)``; it sums to 1."""
        ...


def turned_axes(radius: int, angle: float) -> tuple[Tensor, Tensor]:
    """Return the coordinates along and across a direction, in degrees counter-clockwise from the right.

    Both are ``(2 radius + 1, 2 radius + 1)`` float64 in pixels, 0 at the centre.
    """
    turn = math.radians(angle)
    axis = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)  # y points down


def reflected(images: Tensor, radius: int, blur: str, remedy: str) -> Tensor:
    """Reflect the borders of ``(B, C, H, W)`` and return every channel alone: ``(B·C, 1, H + 2r, W + 2r)``.

    Args:
        images: What is to be blurred.
        radius: Of the kernel.
        blur: What the error says of the blur.
        remedy: What the error says would fit.

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
    """Return a kernel on a device and keep it there: to copy it anew, the host would wait for the device."""
    return blur.weights(dtype).to(device)
