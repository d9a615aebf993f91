# SPDX-License-Identifier: Apache-2.0
"""Inexact tiles, for pictures of networks whose exact tiles would be too large to help.

A deep network's outputs see hundreds of pixels to each side, but most of it so weakly that no picture shows it. *Near*
tiles have a halo beyond which nothing can be seen; how weakly is measured on the network itself. *Blended* tiles, only
on request, fade into each other; they serve networks whose outputs depend on the whole image. Attribution uses
neither: it needs exact sums.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor, nn

from filterlens.errors import UsageError
from filterlens.execution.tiling import Tiling, strip_along, tiling_of, tried

TOLERANCE = 1e-4  # of the range: a fortieth of a level of 8 bits
HALOS = (16, 32, 48, 64, 96, 128)  # LR pixels
GRID = 16  # tiles begin at multiples: windows of attention and levels that reduce lie as they do in the whole image
_CORE = 32


@dataclass(frozen=True)
class NearTiling:
    """A tiling, and how well its tiles agree with the whole image.

    Attributes:
        tiling: Tiling to cut by.
        error: Largest change of an output, as a fraction of the range, that anything beyond the halo made on trial.
    """

    tiling: Tiling
    error: float


@torch.no_grad()
def near_tiling_of(
    network: nn.Module, scale: int, tolerance: float = TOLERANCE, *, channels: int = 3
) -> NearTiling | None:
    """Find out from which halo on the rest of the image changes outputs by less than the tolerance.

    Strips of random pixels are cut beyond the halo, and filled with black and with white there: what depends on the
    whole image, such as channel attention with its global means, changes however far that is. The halo is one step
    wider than the first that suffices, as other images may reach farther.

    Args:
        network: LR ``(1, C, h, w)`` in [0, 1] → HR ``(1, C', h·scale, w·scale)``, in evaluation mode; run where it is.
        scale: HR size over LR size.
        tolerance: Largest legal change of an output, as a fraction of the range.
        channels: Channels C of the input.

    Returns:
        None where no halo up to 96 LR pixels suffices, or the network refuses such strips.
    """
    found = []
    for axis in (-1, -2):
        along = _along(_Trial(axis, network, scale, channels), tolerance)
        if along is None:
            return None
        found.append(along)
    return NearTiling(Tiling(max(each.tiling.halo for each in found), GRID), max(each.error for each in found))


def tiling_for_pictures(network: nn.Module, scale: int, channels: int = 3) -> NearTiling | None:
    """Return exact tiles (with an error of 0) where a network has them, else near ones, else None."""
    exact = tiling_of(network, scale, channels)
    return near_tiling_of(network, scale, channels=channels) if exact is None else NearTiling(exact, 0.0)


def _along(trial: "_Trial", tolerance: float) -> NearTiling | None:
    for halo, wider in pairwise(HALOS):
        error = trial.error(halo, tolerance)
        if error is not None:
            return NearTiling(Tiling(wider, GRID), error)
    return None


class _Trial:
    """A strip along one axis and its outputs; the core is in its middle."""

    def __init__(self, axis: int, network: nn.Module, scale: int, channels: int) -> None:
        self._axis, self._network, self._scale = axis, network, scale
        self._start = HALOS[-2] + 2 * GRID
        length = 2 * self._start + _CORE
        weight = next(network.parameters(), torch.empty(0))
        self._strip = strip_along(axis, length, channels, torch.float32).to(weight.device, weight.dtype)
        self._whole = self._run(self._strip)

    def error(self, halo: int, most: float) -> float | None:
        """Return by how much the core changes at most, or None where that is too much."""
        largest = 0.0
        for error in self._errors(halo):
            if not error <= most:
                return None
            largest = max(largest, error)
        return largest

    def _errors(self, halo: int) -> Iterator[float]:
        """Yield by how much the core changes when all beyond the halo is cut off, is black, or is white.

        The window begins at an odd multiple of ``GRID`` pixels, so a coarser grid is noticed.
        """
        steps = (self._start - halo - 1) // GRID
        first = (steps if steps % 2 else steps - 1) * GRID
        length = _CORE + 2 * (self._start - first)
        yield self._difference(self._run(self._strip.narrow(self._axis, first, length)), self._start - first)
        for value in (0.0, 1.0):
            filled = torch.full_like(self._strip, value)
            kept = self._start - halo, _CORE + 2 * halo
            filled.narrow(self._axis, *kept).copy_(self._strip.narrow(self._axis, *kept))
            yield self._difference(self._run(filled), self._start)

    def _difference(self, output: Tensor | None, start: int) -> float:
        if output is None or self._whole is None:
            return math.inf
        core, whole = (
            each.narrow(self._axis, place * self._scale, _CORE * self._scale)
            for each, place in ((output, start), (self._whole, self._start))
        )
        return float((core - whole).abs().max())

    def _run(self, images: Tensor) -> Tensor | None:
        return tried(self._network, images.contiguous(memory_format=torch.channels_last), self._scale)


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
        run: LR ``(1, C, h, w)`` → HR ``(1, C', h·scale, w·scale)``.
        images: LR ``(1, C, h, w)``.
        scale: HR size over LR size.
        most_pixels: The most LR pixels of a tile.
        overlap: The fewest LR pixels that neighbours share.

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
    total: Tensor | None = None
    for rows, columns in product(down, across):
        output = run(images[..., rows.start : rows.stop, columns.start : columns.stop]).to("cpu", images.dtype)
        if total is None:
            total = output.new_zeros(*output.shape[:2], *(length * scale for length in images.shape[-2:]))
        weights = rows.weights(scale).unsqueeze(1) * columns.weights(scale)
        total[..., rows.place(scale), columns.place(scale)] += output * weights.to(images.dtype)
    assert total is not None
    return total / (_sums(down, scale).unsqueeze(1) * _sums(across, scale)).to(images.dtype)


def _sums(parts: list[Window], scale: int) -> Tensor:
    """Add the weights along one axis: 1 where at most two tiles meet, more where short tiles meet in threes."""
    sums = torch.zeros(parts[-1].stop * scale)
    for part in parts:
        sums[part.place(scale)] += part.weights(scale)
    return sums
