# SPDX-License-Identifier: Apache-2.0
"""Tiles with blended seams, for networks whose outputs depend on the whole image. Not exact: only where asked for."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor

from filterlens.errors import UsageError


@dataclass(frozen=True)
class Window:
    """One tile along one axis in LR pixels, and over how many of them it fades in and out."""

    start: int
    stop: int
    fade_in: int
    fade_out: int

    def place(self, scale: int) -> slice:
        """Return where its outputs lie."""
        return slice(self.start * scale, self.stop * scale)

    def weights(self, scale: int) -> Tensor:
        """Return the weight of each of its outputs ``(length·scale,)``, above 0."""
        steps = torch.arange((self.stop - self.start) * scale) + 0.5
        rising = (steps / (self.fade_in * scale)).clamp(max=1)  # over 0 pixels: infinite, so 1
        falling = (steps.flip(0) / (self.fade_out * scale)).clamp(max=1)
        return rising * falling


def windows(length: int, side: int, overlap: int) -> list[Window]:
    """Cover an axis with tiles of at most ``side`` pixels that share at least ``overlap`` with their neighbours."""
    if length <= side:
        return [Window(0, length, 0, 0)]
    count = math.ceil((length - overlap) / (side - overlap))
    starts = [round(index * (length - side) / (count - 1)) for index in range(count)]
    shared = [first + side - second for first, second in pairwise(starts)]
    return [
        Window(start, start + side, fade_in, fade_out)
        for start, fade_in, fade_out in zip(starts, [0, *shared], [*shared, 0], strict=True)
    ]


def blended(run: Callable[[Tensor], Tensor], images: Tensor, *, scale: int, most_pixels: int, overlap: int) -> Tensor:
    """Run a network on overlapping square tiles and cross-fade their outputs linearly.

    Args:
        run: LR ``(1, 3, h, w)`` → HR ``(1, 3, h·scale, w·scale)``.
        images: LR.
        scale: HR size over LR size.
        most_pixels: Of a tile, in LR pixels.
        overlap: LR pixels that neighbours share at least.

    Returns:
        HR on the CPU, in the type of the images.

    Raises:
        UsageError: The overlap is not positive, or takes more than half of a tile.
    """
    side = math.isqrt(most_pixels)
    if not 1 <= overlap <= side // 2:
        raise UsageError(
            f"An overlap of {overlap} LR pixels does not suit tiles of {side}: from 1 to {side // 2} it is legal. "
            "Change --blend or --tile."
        )
    down, across = (windows(length, side, overlap) for length in images.shape[-2:])
    total = torch.zeros(1, 3, *(length * scale for length in images.shape[-2:]), dtype=images.dtype)
    for rows, columns in product(down, across):
        output = run(images[..., rows.start : rows.stop, columns.start : columns.stop]).to("cpu", images.dtype)
        weights = rows.weights(scale).unsqueeze(1) * columns.weights(scale)
        total[..., rows.place(scale), columns.place(scale)] += output * weights.to(images.dtype)
    return total / (_sums(down, scale).unsqueeze(1) * _sums(across, scale)).to(images.dtype)


def _sums(parts: list[Window], scale: int) -> Tensor:
    """Add the weights along one axis: 1 where at most two tiles meet, more where short tiles meet in threes."""
    sums = torch.zeros(parts[-1].stop * scale)
    for part in parts:
        sums[part.place(scale)] += part.weights(scale)
    return sums
