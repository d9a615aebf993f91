# SPDX-License-Identifier: Apache-2.0
"""A network on images of any size: whole up to a limit, above it in exact tiles, or blended ones if asked."""

import copy
import math
import time
from functools import cached_property, reduce

import torch
from torch import Tensor, nn

from filterlens.errors import FilterlensError, UsageError
from filterlens.execution.bounded import Fallback, TileLimit, joined, smaller_tiles
from filterlens.execution.hardware import autocast, widest_float
from filterlens.execution.inexact_tiles import blended, tiling_for_pictures
from filterlens.execution.tiling import Tiling
from filterlens.progress import Note, silent

TILE_ON_CPU = 512
TILE_ON_GPU = 1024  # larger, as a GPU says when memory runs out; a process on a CPU may just be killed
TILE_LIVE = 384  # about a second on two cores, so that an unwanted run is abandoned soon
CORNER = 32


class TiledNetwork:
    """A network that makes pictures of one image after another, of any size, and knows how long that took.

    An image of more LR pixels than a tile is run in tiles with all that their outputs see, so the result is that of the
    whole image. A network that sees too far for that gets tiles with a halo beyond which nothing changes an output
    visibly (:mod:`filterlens.execution.inexact_tiles`). A network that has no such halo sees the image whole, unless
    blended seams are asked for. Where memory runs out, tiles become half as large, also for later images.

    Args:
        network: LR ``(1, C, h, w)`` → HR ``(1, C', h·s, w·s)``; it is copied.
        device: The device it runs on.
        precision: ``fp32`` (the weights' own type) or ``bf16`` autocast.
        tile: Side in LR pixels of a square with as many pixels as the largest tile, halo included; 0 for none.
            Default: 512 on a CPU, 1024 on a GPU.
        blend: LR pixels over which tiles are cross-faded for a network that has neither halo; 0 runs it whole.
        channels: Channels C of its input.
        note: The receiver of one line when memory ran out, and when tiles are not exact.

    Attributes:
        seconds: Network time: from LR images in memory to HR images in memory.
        megapixels: Millions of HR pixels made in that time.

    Raises:
        UsageError: The tile or the overlap is negative.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        *,
        precision: str = "fp32",
        tile: int | None = None,
        blend: int = 0,
        channels: int = 3,
        note: Note = silent,
    ) -> None:
        side = tile if tile is not None else TILE_ON_CPU if device.type == "cpu" else TILE_ON_GPU
        if side < 0:
            raise UsageError(f"A tile of {side} pixels is not legal: its side in LR pixels, or 0 for whole images.")
        if blend < 0:
            raise UsageError(f"An overlap of {blend} pixels is not legal: LR pixels of the seams, or 0 for none.")
        self.seconds = 0.0
        self.megapixels = 0.0
        self._blend, self._channels, self._told = blend, channels, False
        self._device = device
        self._dtype = _widest(network)
        if self._dtype == torch.float64:
            self._dtype = widest_float(device)
        self._network = copy.deepcopy(network).to(dtype=self._dtype).to(device).eval()
        self._precision = precision
        self._note = note
        self._whole = side == 0
        self._limit = TileLimit(
            side**2 or math.inf,
            lambda: self._tiling,
            device,
            fallback=self._fallback,
            note=note,
            fixed=tile is not None,
        )

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Turn LR ``(1, C, h, w)`` in [0, 1] into HR ``(1, C', h·s, w·s)`` on the CPU, not clipped.

        Raises:
            FilterlensError: Out of memory, even in the smallest tiles.
            UsageError: The tile is smaller than what one output sees.
        """
        began = time.perf_counter()
        images = images.to("cpu", self._dtype)
        *_, last = joined(self._limit.tiles(images), self._run_tile, images)
        assert last.picture is not None
        self.seconds += time.perf_counter() - began
        self.megapixels += last.picture.shape[-2] * last.picture.shape[-1] / 1e6
        return last.picture

    def _run_tile(self, images: Tensor) -> Tensor:
        """Run a tile; one that is still too large, as the network cannot be cut, with blended seams if asked."""
        if not self._blend or images.shape[-2] * images.shape[-1] <= self._limit.most:
            return self._run(images)
        if not self._told:
            self._note("tiles are not exact for this network: their seams are blended, the result depends on them")
            self._told = True
        most = int(self._limit.most)
        return blended(self._run, images, scale=self.scale, most_pixels=most, overlap=self._blend)

    def _run(self, images: Tensor) -> Tensor:
        images = images.to(self._device, self._dtype)
        with autocast(self._device, self._precision):
            output: Tensor = self._network(images.contiguous(memory_format=torch.channels_last))
        return output

    @cached_property
    def scale(self) -> int:
        """HR size over LR size, tried on a corner."""
        return self._run(torch.zeros(1, self._channels, CORNER, CORNER)).shape[-1] // CORNER

    @cached_property
    def _tiling(self) -> Tiling | None:
        if self._whole:
            return None
        found = tiling_for_pictures(self._network, self.scale, self._channels)
        if found is not None and found.error:
            self._note(
                f"tiles of this network agree with the whole image to {found.error:.0e} of the range "
                f"(measured, with {found.tiling.halo} LR pixels around each); --tile 0 avoids them"
            )
        return found.tiling if found else None

    def _fallback(self, tiling: Tiling | None, pixels: int) -> Fallback | None:
        failed = f"Out of memory on {self._device} at {pixels} LR pixels"
        if self._whole:
            raise FilterlensError(f"{failed}, without tiles. Try --tile {TILE_ON_CPU}.")
        if tiling is None and self._blend:
            return Fallback((2 * self._blend) ** 2)
        if tiling is None:
            raise FilterlensError(
                f"{failed}, and tiles are not exact for this network. Use smaller images, --precision bf16, "
                "--device cpu, or blended seams (--blend 16)."
            )
        return smaller_tiles(tiling, pixels)


def _widest(network: nn.Module) -> torch.dtype:
    """Return the type of the weights; the widest of several."""
    kinds = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    return reduce(torch.promote_types, kinds) if kinds else torch.float32
