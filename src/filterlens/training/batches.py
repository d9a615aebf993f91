# SPDX-License-Identifier: Apache-2.0
"""The batch of every step: patches, and what the degradations make of them."""

from collections.abc import Callable

import torch
from torch import Tensor

from filterlens.data.patches import PatchBank
from filterlens.degradations import Mixture


class Batches:
    """Draws the batch of any step, always the same for the same step.

    On a GPU they are made on a stream of their own, which waits for no step: while one step computes, the next batch is
    made beside it.

    Args:
        bank: The patches.
        mixture: Degrades them.
        scale: Of the network.
        size: Patches per batch.
        seed_of: The seed of a step.
    """

    def __init__(
        self, bank: PatchBank, mixture: Mixture, *, scale: int, size: int, seed_of: Callable[[int], int]
    ) -> None:
        self._bank, self._mixture, self._scale, self._size, self._seed_of = bank, mixture, scale, size, seed_of
        self._generator = torch.Generator(bank.device)
        self._stream: torch.cuda.Stream | None = None
        if bank.device.type == "cuda":
            self._stream = torch.cuda.Stream(bank.device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(bank.device))  # the bank was filled there

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Return HR patches ``(size, 3, H, W)`` and their LR versions, ready for the current stream."""
        self._generator.manual_seed(self._seed_of(step))
        if self._stream is None:
            return self._make()
        with torch.cuda.stream(self._stream):
            batch = self._make()
        reader = torch.cuda.current_stream(self._bank.device)
        reader.wait_stream(self._stream)
        for tensor in batch:
            tensor.record_stream(reader)  # no later batch gets this memory before the step has read it
        return batch

    def _make(self) -> tuple[Tensor, Tensor]:
        truth = self._bank.sample(self._size, self._generator)
        return truth, self._mixture.apply(truth, self._scale, self._generator)
