# SPDX-License-Identifier: Apache-2.0
"""The engine: outputs, losses and gradients of a pair's networks on images of any size, in bounded memory.

Most losses are sums over output pixels: a large image is computed in exact tiles, and the parts are added. Where tiles
cannot be exact (attention over the whole image, a loss that is no sum), activations are computed again in the backward
pass instead of kept.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from filterlens.attribution.objectives import Objective, refuse_if_not_additive
from filterlens.errors import FilterlensError
from filterlens.execution.bounded import Fallback, Portions, TileLimit, joined
from filterlens.execution.hardware import widened, widest_float
from filterlens.execution.memory import memory_for_activations
from filterlens.execution.rematerialise import rematerialised
from filterlens.execution.tiling import Tile, Tiling
from filterlens.pair import ModelPair
from filterlens.progress import Note, silent

Loss = Callable[[Tensor, Tensor], Tensor]

PROBE = 32
OVERHEAD = 1.5  # of the kept activations: gradients in flight and the buffers of the convolutions
LEAST_PIXELS = 32 * 32


class Engine:
    """Runs the networks of a pair at any point of parameter space.

    Args:
        pair: The networks.
        precision: ``fp32`` or ``bf16``.
        memory: Bytes that activations may take; None takes what the device can spare.
        note: The receiver of one line when something had to change (an image was too large after all).
    """

    def __init__(
        self,
        pair: ModelPair,
        precision: str,
        *,
        memory: float | None = None,
        note: Note = silent,
    ) -> None:
        self.pair = pair
        self.precision = precision
        self._memory = memory_for_activations(pair.device) if memory is None else memory
        self._note, self._told, self._compared = note, False, False
        self._limit = TileLimit(math.nan, lambda: pair.tiling, pair.device, fallback=_fallback, note=note)
        self._whole = TileLimit(math.nan, lambda: None, pair.device, fallback=_fallback, note=note)

    def output(self, vector: Tensor, inputs: Tensor) -> Tensor:
        """Return F(vector, inputs): LR ``(1, channels_in, h, w)`` → HR ``(1, channels_out, h·s, w·s)``."""
        tiles = self._tiles(inputs)
        with torch.no_grad():
            *_, last = joined(tiles, lambda window: self.pair.run(vector, window, self.precision), inputs)
        assert last.picture is not None
        return last.picture

    def loss(self, vector: Tensor, inputs: Tensor, reference: Tensor, loss: Loss) -> Tensor:
        """Return the loss of F(vector, inputs), a float64 scalar on the device; no gradient.

        Raises:
            UsageError: An objective of the user's own is said to be a sum over pixels and is not.
        """
        output = self.output(vector, inputs)
        with torch.no_grad():
            refuse_if_not_additive(loss, lambda: output, reference)
            return widened(loss(output, reference))

    def loss_and_gradient(self, vector: Tensor, inputs: Tensor, reference: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient with respect to all parameters.

        Args:
            vector: Flat parameters.
            inputs: LR ``(1, channels_in, h, w)``.
            reference: The image that the loss compares with, HR ``(1, channels_out, h·s, w·s)``.
            loss: (output, reference) → scalar, **a sum over pixels**: ``loss`` of an image must be the sum of ``loss``
                of its parts. An :class:`~filterlens.attribution.objectives.Objective` that is not additive is computed
                on whole images.

        Returns:
            A float64 scalar and ``(parameters,)`` in the weights' type, both on the device; nothing waits for them.
        """
        pair, whole = self.pair, isinstance(loss, Objective) and not loss.additive
        tiles = self._tiles(inputs, whole=whole)
        if whole and not self._told and inputs.shape[-2] * inputs.shape[-1] > self._limit.most:
            self._told = True
            self._note(
                f"the objective '{loss}' is no sum over pixels, so images are not cut into tiles: computing "
                "activations twice instead of keeping them"
            )
        if tiles.count > 1 and not self._compared:
            self._compared = True
            refuse_if_not_additive(loss, lambda: self.output(vector, inputs), reference)
        value = torch.zeros((), dtype=widest_float(pair.device), device=pair.device)
        gradient: Tensor | None = None
        for tile in tiles:
            too_large = tile.pixels > (self._whole if whole else self._limit).most
            of_tile = partial(_loss_of_core, loss, tile, reference, pair.scale)
            with tiles.fitting(), rematerialised(pair.blocks, enabled=too_large):
                part, more = pair.differentiate(vector, tile.window(inputs), of_tile, self.precision)
                gradient = more if gradient is None else gradient.add_(more)
                value += part
        assert gradient is not None
        return value, gradient

    def _tiles(self, inputs: Tensor, *, whole: bool = False) -> Portions[Tile]:
        if math.isnan(self._limit.most):  # not known before the first input
            self._limit.most = self._whole.most = int(self._memory / OVERHEAD / self.bytes_per_pixel(inputs))
        return (self._whole if whole else self._limit).tiles(inputs)

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


def _loss_of_core(loss: Loss, tile: Tile, reference: Tensor, scale: int, output: Tensor) -> Tensor:
    return loss(tile.core(output, scale), tile.place(reference, scale))


def _fallback(tiling: Tiling | None, pixels: int) -> Fallback:
    if tiling is None:
        return Fallback(pixels - 1, "computing activations twice instead of keeping them")
    return Fallback(max(LEAST_PIXELS, (tiling.least + tiling.margin) ** 2))  # smaller ones are not worth their halo
