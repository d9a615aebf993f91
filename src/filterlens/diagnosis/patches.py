# SPDX-License-Identifier: Apache-2.0
"""Fixed positions of the few patches on which a large image is judged."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from filterlens.errors import UsageError

PATCH = 64  # LR pixels; thresholds are calibrated on patches of this size
MOST_PATCHES = 4  # of an image: with 4 nodes 16 gradients, a quarter of what all of 256x256 pixels would take


def patch_corners(height: int, width: int, size: int = PATCH, most: int = MOST_PATCHES) -> list[tuple[int, int]]:
    """Return the upper left corners of square patches that lie evenly over an image and inside it.

    The image is divided into a grid of equal cells, as near to squares as ``most`` allows, and a patch sits in the
    middle of every cell, moved inside where it would stick out. Where ``most`` patches suffice to cover the image,
    they do.

    Args:
        height: Of the image, in pixels.
        width: Of the image.
        size: Side of a patch; an image with a smaller side is one patch, at (0, 0).
        most: How many patches there may be.

    Raises:
        UsageError: ``most`` is below 1.
    """
    if most < 1:
        raise UsageError(f"{most} patches are not legal: 1 or more.")
    if min(height, width) < size:
        return [(0, 0)]
    rows, columns = _grid(height, width, size, most)
    return [(top, left) for top in _starts(height, rows, size) for left in _starts(width, columns, size)]


def cut_patches(image: Tensor, corners: Sequence[tuple[int, int]], size: int = PATCH) -> Tensor:
    """Cut squares out of ``(1, 3, h, w)``: ``(patches, 3, size, size)``; an image with a smaller side comes whole."""
    if min(image.shape[-2:]) < size:
        return image
    return torch.cat([image[..., top : top + size, left : left + size] for top, left in corners])


def _grid(height: int, width: int, size: int, most: int) -> tuple[int, int]:
    """Choose rows and columns: as many patches as useful and allowed, then the cells nearest to squares."""
    useful_rows, useful_columns = math.ceil(height / size), math.ceil(width / size)
    grids = [(rows, min(useful_columns, most // rows)) for rows in range(1, min(useful_rows, most) + 1)]

    def quality(grid: tuple[int, int]) -> tuple[int, float]:
        rows, columns = grid
        return rows * columns, -abs(math.log((height / rows) / (width / columns)))

    return max(grids, key=quality)


def _starts(length: int, count: int, size: int) -> list[int]:
    middles = ((index + 0.5) * length / count for index in range(count))
    return [min(max(round(middle - size / 2), 0), length - size) for middle in middles]
