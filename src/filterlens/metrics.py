# SPDX-License-Identifier: Apache-2.0
"""PSNR and SSIM in the conventions of super-resolution, and a description of how they were measured."""

import torch
from torch import Tensor

from filterlens.arguments import whole_number
from filterlens.errors import UsageError, unknown
from filterlens.execution.hardware import widened
from filterlens.execution.torchvision_stand_in import import_beside_torchvision
from filterlens.pixels import luma, require_finite, require_unit_range

CHANNELS = ("rgb", "y")
WINDOW_RADIUS = 5
_METRICS = "torchmetrics.functional.image"


def quantised(images: Tensor) -> Tensor:
    """Clip to [0, 1] and round to 8 bits, as an image file would hold them; float32.

    Raises:
        FilterlensError: A pixel is NaN or infinite, which no file holds.
    """
    require_finite(images, "the image")
    return (images.detach().float().clamp(0, 1) * 255).round() / 255


def psnr(images: Tensor, truth: Tensor, *, crop: int, channel: str = "rgb") -> Tensor:
    """Peak signal-to-noise ratio in dB per image, on 8-bit values.

    Args:
        images: ``(B, 3, H, W)`` in [0, 1]; quantised here.
        truth: Ground truth, of the same shape.
        crop: Border pixels that do not count (the field: the scale).
        channel: ``rgb`` or ``y``.

    Returns:
        ``(B,)`` in dB; infinite where the images are equal.

    Raises:
        UsageError: Unknown channel, different shapes, a truth that is not in [0, 1], or nothing is left inside the
            border.
        FilterlensError: A pixel is NaN or infinite.
    """
    peak_signal_noise_ratio = import_beside_torchvision(_METRICS).peak_signal_noise_ratio
    first, second = _prepared(images, truth, crop, channel)
    return torch.stack(
        [peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in zip(widened(first), widened(second), strict=True)]
    )


def ssim(images: Tensor, truth: Tensor, *, crop: int, channel: str = "rgb") -> Tensor:
    """Structural similarity per image, on 8-bit values; arguments as :func:`psnr`.

    Gaussian window of 11x11 pixels, σ = 1.5; as in the original and in MATLAB, only windows wholly inside
    the image count (torchmetrics' own mean includes windows over a mirrored border, about 0.01 away).

    Raises:
        UsageError: As in :func:`psnr`, or no window fits.
    """
    structural_similarity = import_beside_torchvision(_METRICS).structural_similarity_index_measure
    first, second = _prepared(images, truth, crop, channel)
    if min(first.shape[-2:]) <= 2 * WINDOW_RADIUS:
        shape = f"{tuple(images.shape)} with {crop} border pixels cropped"
        raise UsageError(f"SSIM needs images of at least 11x11 pixels, not {shape}.")
    _, full = structural_similarity(first, second, data_range=1.0, return_full_image=True)
    whole: Tensor = full[..., WINDOW_RADIUS:-WINDOW_RADIUS, WINDOW_RADIUS:-WINDOW_RADIUS]
    return whole.mean((1, 2, 3))


def specification(crop: int, channel: str = "rgb") -> str:
    """Say in words how :func:`psnr` and :func:`ssim` measured."""
    return f"{channel.upper()}, 8-bit rounding, {crop} border pixels cropped"


def _prepared(images: Tensor, truth: Tensor, crop: int, channel: str) -> tuple[Tensor, Tensor]:
    if channel not in CHANNELS:
        raise unknown("channel", channel, CHANNELS)
    crop = whole_number(crop, "cropped border pixels", 0)
    if images.shape != truth.shape or min(images.shape[-2:]) <= 2 * crop:
        shapes = f"{tuple(images.shape)} and {tuple(truth.shape)}"
        raise UsageError(f"Images of the shapes {shapes} cannot be compared with {crop} border pixels cropped.")
    require_unit_range(truth, "the truth")
    pair = [quantised(images), quantised(truth)]
    if channel == "y" and images.shape[1] != 1:  # one channel is Y already
        pair = [luma(each) for each in pair]
    if crop:
        pair = [each[..., crop:-crop, crop:-crop] for each in pair]
    return pair[0], pair[1]
