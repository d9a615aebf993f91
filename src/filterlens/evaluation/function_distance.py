# SPDX-License-Identifier: Apache-2.0
"""Distances between networks' outputs: the paper's, and removal and preservation, which a broken network cannot win."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from filterlens.errors import FilterlensError
from filterlens.execution.hardware import widened
from filterlens.metrics import quantised
from filterlens.pixels import require_finite

FUNCTION_DISTANCE = "MSE x 1000 of image-gradient magnitudes, true gray (0.299 R + 0.587 G + 0.114 B), 8-bit outputs"
REFERENCE_DISTANCE = "the same on the blue channel, as the reference implementation computes it"


def gradient_magnitude(channel: Tensor) -> Tensor:
    """Return sqrt(v² + h² + 1e-6) of central differences [−1, 0, 1], zero padding: ``(B, 1, H, W)`` → the same."""
    kernel = torch.zeros(2, 1, 3, 3, device=channel.device, dtype=channel.dtype)
    kernel[0, 0, 0, 1], kernel[0, 0, 2, 1] = -1, 1
    kernel[1, 0, 1, 0], kernel[1, 0, 1, 2] = -1, 1
    return (F.conv2d(channel, kernel, padding=1).square().sum(1, keepdim=True) + 1e-6).sqrt()


def function_distance(output: Tensor, other: Tensor) -> Tensor:
    """Mean squared difference of gradient magnitudes, times 1000, on true gray (paper, section 4).

    Args:
        output: ``(B, 3, H, W)`` in [0, 1]; rounded to 8 bits here.
        other: Second output, of the same shape.

    Returns:
        ``(B,)``; larger means that more of the function is destroyed.
    """
    return _distance(gray(quantised(output)), gray(quantised(other)))


def reference_distance(output: Tensor, other: Tensor) -> Tensor:
    """:func:`function_distance` as the reference implementation computes it: its "gray" is the blue channel."""
    return _distance(quantised(output)[:, -1:], quantised(other)[:, -1:])


def gray(images: Tensor) -> Tensor:
    """Return BT.601 gray ``(B, 1, H, W)`` of RGB; of images with other channels, their mean."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _distance(first: Tensor, second: Tensor) -> Tensor:
    return 1000 * (gradient_magnitude(first) - gradient_magnitude(second)).square().mean((1, 2, 3))


def removal(edited: Tensor, baseline: Tensor, target: Tensor) -> tuple[float, float]:
    """Return ‖E − B‖² and ‖T − B‖²; R = 1 − their ratio is 1 where the function is gone and nothing else happened."""
    return _squared(edited, baseline), _squared(target, baseline)


def preservation(edited: Tensor, baseline: Tensor, target: Tensor) -> tuple[float, float]:
    """Return ‖E − T‖² and ‖B − T‖²; P = 1 − their ratio is 1 where another function is untouched."""
    return _squared(edited, target), _squared(baseline, target)


def _squared(first: Tensor, second: Tensor) -> float:
    distance = float((widened(first) - widened(second)).square().sum())
    if not math.isfinite(distance):
        for each in (first, second):
            require_finite(each, "an output")
        raise FilterlensError("Two outputs are so far apart that their squared distance is no finite number.")
    return distance
