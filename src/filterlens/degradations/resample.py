# SPDX-License-Identifier: Apache-2.0
"""Down-sampling by a whole factor: antialiased bicubic as MATLAB's ``imresize``, or bilinear as the reference."""

from functools import cache, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from filterlens.arguments import whole_number
from filterlens.errors import UsageError, unknown

RESAMPLERS = ("bicubic", "bilinear")


def downsample(images: Tensor, scale: int, resampler: str = "bicubic") -> Tensor:
    """Reduce images by a whole factor; differentiable.

    Args:
        images: ``(B, C, H, W)``, H and W multiples of ``scale``.
        scale: 1 (nothing happens), 2, 3, 4 …
        resampler: ``bicubic`` is MATLAB's ``imresize(x, 1/scale)``: cubic convolution with a = -0.5, the kernel
            stretched by ``scale`` (antialiasing), samples mirrored at the border. ``bilinear`` is what
            ``cv2.resize(..., INTER_LINEAR)`` does: no antialiasing; at x2 the mean of 2x2 pixels.

    Returns:
        ``(B, C, H / scale, W / scale)``, not clipped and not rounded.

    Raises:
        UsageError: Unknown resampler, or a size that ``scale`` does not divide.
    """
    if resampler not in RESAMPLERS:
        raise unknown("resampler", resampler, RESAMPLERS)
    height, width = images.shape[-2:]
    if whole_number(scale, "scale") < 1 or height % scale or width % scale:
        raise UsageError(
            f"Images of {width}x{height} cannot be reduced by {scale}: crop them to a multiple of it first."
        )
    if scale == 1:
        return images
    if resampler == "bilinear":
        size = (height // scale, width // scale)
        return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=False)
    return _reduce_rows(_reduce_rows(images, scale).transpose(-1, -2), scale).transpose(-1, -2)


def cubic_kernel(distance: Tensor) -> Tensor:
    """Cubic convolution kernel with a = -0.5 (Keys 1981); zero beyond a distance of 2."""
    x = distance.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


@cache
def _taps(scale: int) -> tuple[int, tuple[float, ...]]:
    """First input index (for output 0) and weights of the stretched kernel; the same for every output pixel."""
    centre = (scale - 1) / 2
    first = int(torch.floor(torch.tensor(centre - 2 * scale)).item()) + 1
    index = torch.arange(first, first + 4 * scale, dtype=torch.float64)
    weights = cubic_kernel((index - centre) / scale)
    return first, tuple((weights / weights.sum()).tolist())


def _reduce_rows(images: Tensor, scale: int) -> Tensor:
    """Filter and decimate along the height."""
    batch, channels, height, width = images.shape
    index, kernel = _rows_on(images.device, height, scale, images.dtype)
    columns = images.index_select(2, index).reshape(batch * channels, 1, -1, width)
    return F.conv2d(columns, kernel, stride=(scale, 1)).view(batch, channels, height // scale, width)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _rows_on(device: torch.device, height: int, scale: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the rows to filter and the kernel, kept on a device: to copy them anew, the host would wait for it."""
    first, weights = _taps(scale)
    last = first + len(weights) - 1 + (height // scale - 1) * scale
    index = torch.arange(first, last + 1) % (2 * height)
    index = torch.where(index < height, index, 2 * height - 1 - index)  # symmetric: the border pixel is repeated
    return index.to(device), torch.tensor(weights, dtype=dtype).view(1, 1, -1, 1).to(device)
