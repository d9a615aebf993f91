# SPDX-License-Identifier: Apache-2.0
"""Running a network on images of any size: whole up to a limit, above it in exact tiles, or blended ones if asked."""

import copy
import math
import time
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from filterlens.errors import FilterlensError, UsageError
from filterlens.execution.blending import blended
from filterlens.execution.hardware import autocast, is_out_of_memory, release_memory, widest_float
from filterlens.execution.near_tiling import tiling_for_pictures
from filterlens.execution.tiling import Tiling

TILE_ON_CPU = 512
TILE_ON_GPU = 1024  # larger, as a GPU says when memory runs out; a process on a CPU may just be killed
CORNER = 32


class Restorer:
    """A network that restores one image after another, of any size, and knows how long that took.

    An image of more LR pixels than a tile is run in tiles with all that their outputs see, so the result is that of the
    whole image. A network that sees too far for that gets tiles with a halo beyond which nothing changes an output
    visibly (:mod:`filterlens.execution.near_tiling`), and a network that has no such halo sees the image whole, unless
    blended seams are asked for. Where memory runs out, tiles become half as large, also for later images.

    Args:
        network: LR ``(1, 3, h, w)`` → HR ``(1, 3, h·s, w·s)``; it is copied.
        device: Where it runs.
        precision: ``fp32`` (the weights' own type) or ``bf16`` autocast.
        tile: Side in LR pixels of a square with as many pixels as the largest tile, halo included; 0 for none.
            Default: 512 on a CPU, 1024 on a GPU.
        blend: LR pixels over which tiles are cross-faded for a network that has neither halo; 0 runs it whole.
        note: Told in one line when memory ran out, and when tiles are not exact.

    Attributes:
        seconds: Network time: from LR images in memory to HR images in memory.
        megapixels: Millions of HR pixels restored in that time.

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
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        if tile is None:
            tile = TILE_ON_CPU if device.type == "cpu" else TILE_ON_GPU
        if tile < 0:
            raise UsageError(f"A tile of {tile} pixels is not legal: its side in LR pixels, or 0 for whole images.")
        if blend < 0:
            raise UsageError(f"An overlap of {blend} pixels is not legal: LR pixels of the seams, or 0 for none.")
        self.seconds = 0.0
        self.megapixels = 0.0
        self._blend, self._told = blend, False
        self._device = device
        self._dtype = next((parameter.dtype for parameter in network.parameters()), torch.float32)
        if self._dtype == torch.float64:
            self._dtype = widest_float(device)
        self._network = copy.deepcopy(network).to(dtype=self._dtype).to(device).eval()
        self._precision = precision
        self._most_pixels = tile**2 or math.inf
        self._note = note

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Restore LR ``(1, 3, h, w)`` in [0, 1] to HR ``(1, 3, h·s, w·s)`` on the CPU, not clipped.

        Raises:
            FilterlensError: Out of memory, even in the smallest tiles.
            UsageError: The tile is smaller than what one output sees.
        """
        began = time.perf_counter()
        while True:
            try:
                restored = self._restore(images)
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            self._shrink(images.shape[-2] * images.shape[-1])
        self.seconds += time.perf_counter() - began
        self.megapixels += restored.shape[-2] * restored.shape[-1] / 1e6
        return restored

    def _restore(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        images = images.to(self._device, self._dtype)
        if height * width <= self._most_pixels or (self._tiling is None and not self._blend):
            return self._run(images).to("cpu", self._dtype)
        scale = self.scale
        if self._tiling is None:
            return self._blended(images, scale)
        whole = torch.empty(1, 3, height * scale, width * scale, dtype=self._dtype)
        for tile in self._tiling.split(height, width, int(self._most_pixels)):
            tile.place(whole, scale).copy_(tile.core(self._run(tile.window(images)), scale))
        return whole

    def _blended(self, images: Tensor, scale: int) -> Tensor:
        if not self._told:
            self._note("tiles are not exact for this network: their seams are blended, the result depends on them")
            self._told = True
        most = int(self._most_pixels)
        return blended(self._run, images, scale=scale, most_pixels=most, overlap=self._blend)

    def _run(self, images: Tensor) -> Tensor:
        with autocast(self._device, self._precision):
            output: Tensor = self._network(images.contiguous(memory_format=torch.channels_last))
        return output

    @cached_property
    def scale(self) -> int:
        """HR size over LR size, tried on a corner."""
        corner = torch.zeros(1, 3, CORNER, CORNER, dtype=self._dtype, device=self._device)
        return self._run(corner).shape[-1] // CORNER

    @cached_property
    def _tiling(self) -> Tiling | None:
        found = tiling_for_pictures(self._network, self.scale)
        if found is not None and found.error:
            self._note(
                f"tiles of this network agree with the whole image to {found.error:.0e} of the range "
                f"(measured, with {found.tiling.halo} LR pixels around each); --tile 0 avoids them"
            )
        return found.tiling if found else None

    def _shrink(self, pixels: int) -> None:
        """Halve the tiles after an image of that many LR pixels was too large, or give up."""
        release_memory(self._device)
        failed = f"Out of memory on {self._device}"
        if self._most_pixels == math.inf:
            raise FilterlensError(f"{failed} at {pixels} LR pixels, without tiles. Try --tile {TILE_ON_CPU}.")
        if self._tiling is None and not self._blend:
            raise FilterlensError(
                f"{failed} at {pixels} LR pixels, and tiles are not exact for this network. "
                "Use smaller images, --precision bf16, --device cpu, or blended seams (--blend 16)."
            )
        largest = int(min(self._most_pixels, pixels))
        least = 2 * self._blend if self._tiling is None else self._tiling.least
        if largest // 2 < least**2:
            raise FilterlensError(
                f"{failed} even in the smallest tiles ({largest} LR pixels). Use --precision bf16, or --device cpu."
            )
        self._most_pixels = largest // 2
        self._note(f"out of memory with {largest} LR pixels at once: going on in tiles of {largest // 2}")
