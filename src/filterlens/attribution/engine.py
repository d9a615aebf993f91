# SPDX-License-Identifier: Apache-2.0
"""The engine: outputs, losses and gradients of a pair's networks on images of any size, in bounded memory.

Losses are sums over output pixels, so a large image is computed in exact tiles and the parts are added. Where tiles
cannot be exact (attention over the whole image), activations are computed again in the backward pass instead of kept.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from filterlens.errors import FilterlensError
from filterlens.execution.hardware import (
    is_out_of_memory,
    memory_for_activations,
    release_memory,
    widened,
    widest_float,
)
from filterlens.execution.rematerialise import rematerialised
from filterlens.execution.tiling import Tile, Tiling
from filterlens.pair import ModelPair

Loss = Callable[[Tensor, Tensor], Tensor]
Result = TypeVar("Result")

PROBE = 32
OVERHEAD = 1.5  # of the kept activations: gradients in flight and the buffers of the convolutions
LEAST_PIXELS = 32 * 32


class Engine:
    """Runs the networks of a pair at any point of parameter space.

    Args:
        pair: The networks.
        precision: ``fp32`` or ``bf16``.
        memory: Bytes that activations may take; None takes what the device can spare.
        note: Told in one line when something had to change (an image was too large after all).
    """

    def __init__(
        self,
        pair: ModelPair,
        precision: str,
        *,
        memory: float | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.pair = pair
        self.precision = precision
        self._note = note
        self._memory = memory_for_activations(pair.device) if memory is None else memory
        self._most_pixels: int | None = None

    def output(self, vector: Tensor, inputs: Tensor) -> Tensor:
        """Return F(vector, inputs): LR ``(1, 3, h, w)`` → HR ``(1, 3, h·s, w·s)``."""
        scale = self.pair.scale
        height, width = inputs.shape[-2:]
        whole = inputs.new_empty((*inputs.shape[:-2], height * scale, width * scale))

        def fill(tiles: Sequence[Tile], keep: bool) -> Tensor:
            for tile in tiles:
                part = self.pair.run(vector, tile.window(inputs), self.precision)
                tile.place(whole, scale).copy_(tile.core(part, scale))
            return whole

        with torch.no_grad():
            return self._within_memory(inputs, fill)

    def loss(self, vector: Tensor, inputs: Tensor, reference: Tensor, loss: Loss) -> Tensor:
        """Return the loss of F(vector, inputs), a float64 scalar on the device; no gradient."""
        return widened(loss(self.output(vector, inputs), reference))

    def loss_and_gradient(self, vector: Tensor, inputs: Tensor, reference: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient with respect to all parameters.

        Args:
            vector: Flat parameters.
            inputs: LR ``(1, 3, h, w)``.
            reference: What the loss compares with, HR ``(1, 3, h·s, w·s)``.
            loss: (output, reference) → scalar, **a sum over pixels**: ``loss`` of an image must be the sum of ``loss``
                of its parts.

        Returns:
            A float64 scalar and ``(parameters,)`` in the weights' type, both on the device; nothing waits for them.
        """
        pair, scale = self.pair, self.pair.scale

        def add_up(tiles: Sequence[Tile], keep: bool) -> tuple[Tensor, Tensor]:
            value, total = torch.zeros((), dtype=widest_float(pair.device), device=pair.device), None
            with rematerialised(pair.blocks, enabled=not keep):
                for tile in tiles:
                    target = tile.place(reference, scale)

                    def of_core(output: Tensor, tile: Tile = tile, target: Tensor = target) -> Tensor:
                        return loss(tile.core(output, scale), target)

                    part, gradient = pair.differentiate(vector, tile.window(inputs), of_core, self.precision)
                    value += part
                    total = gradient if total is None else total.add_(gradient)
            assert total is not None
            return value, total

        return self._within_memory(inputs, add_up)

    def _within_memory(self, inputs: Tensor, compute: Callable[[Sequence[Tile], bool], Result]) -> Result:
        """Compute on tiles that fit; after an out-of-memory error, on tiles of half the size."""
        height, width = inputs.shape[-2:]
        pixels = height * width
        while True:
            most = self._pixels_that_fit(inputs)
            tiles, keep = self._whole(height, width), True
            if pixels > most:
                tiling = self.pair.tiling
                if tiling is not None:
                    tiles = tiling.split(height, width, max(most, self._least(tiling)))
                else:
                    keep = False
            try:
                return compute(tiles, keep)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                largest = max(tile.pixels for tile in tiles)
            self._shrink(largest, keep)

    def _shrink(self, largest: int, kept: bool) -> None:
        """Halve the largest tile, or give up."""
        release_memory(self.pair.device)
        tiling = self.pair.tiling
        if (tiling is None and not kept) or (tiling is not None and largest <= self._least(tiling)):
            raise FilterlensError(
                f"Out of memory on {self.pair.device}, even in the smallest parts ({largest} LR pixels). "
                "Use smaller images, --precision bf16, or --device cpu."
            )
        self._most_pixels = largest // 2
        how = "in tiles of half the size" if tiling is not None else "computing activations twice instead of keeping"
        self._note(f"out of memory at {largest} LR pixels: going on {how}")

    def _pixels_that_fit(self, inputs: Tensor) -> int:
        if self._most_pixels is None:
            self._most_pixels = int(self._memory / OVERHEAD / self.bytes_per_pixel(inputs))
        return self._most_pixels

    def bytes_per_pixel(self, inputs: Tensor) -> float:
        """Measure how much a backward pass keeps per LR pixel, by counting it on two small pieces of the input."""
        height, width = inputs.shape[-2:]
        kept = []
        try:
            for columns in (PROBE, 2 * PROBE):
                piece = inputs[:1].repeat(1, 1, -(-PROBE // height), -(-columns // width))[..., :PROBE, :columns]
                kept.append(self._bytes_kept(piece))
        except FilterlensError:  # a network that takes no such piece is measured on the input itself
            return max(self._bytes_kept(inputs[:1]) / (height * width), 1.0)
        return max((kept[1] - kept[0]) / PROBE**2, 1.0)

    def _bytes_kept(self, piece: Tensor) -> int:
        storages: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        vector = self.pair.target.detach().requires_grad_(True)
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            output = self.pair.run(vector, piece, self.precision).square().sum()
        del output
        return sum(storages.values())

    @staticmethod
    def _least(tiling: Tiling) -> int:
        """LR pixels of the smallest tile that is worth its halo."""
        return max(LEAST_PIXELS, (tiling.least + tiling.margin) ** 2)

    @staticmethod
    def _whole(height: int, width: int) -> list[Tile]:
        return Tiling(0).split(height, width, height * width)
