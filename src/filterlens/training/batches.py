# SPDX-License-Identifier: Apache-2.0
"""The batch of every step: patches and their degraded versions."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from filterlens.data.pair_patches import PairBank
from filterlens.data.patches import PatchBank
from filterlens.degradations import Mixture


class Batch(NamedTuple):
    """The data of one training step.

    Attributes:
        truth: HR patches ``(B, 3, H, W)``.
        lowered: LR versions of the patches ``(B, 3, H/scale, W/scale)``.
        kernels: The blur kernel of every sample ``(B, k, k)``, a single 1 where none fell; only if asked for.
        keys: LR versions of other patches, each of the same image and degradation as the sample in its place; only if
            asked for.
    """

    truth: Tensor
    lowered: Tensor
    kernels: Tensor | None = None
    keys: Tensor | None = None

    def apart(self) -> "Batch":
        """Return a batch of the same shapes in memory of its own."""
        places = [None if each is None else torch.empty_like(each) for each in self[2:]]
        return Batch(torch.empty_like(self.truth), torch.empty_like(self.lowered), *places)


class Batches:
    """Draws the batch of any step, always the same for the same step.

    On a GPU they are made on a stream of their own, which waits for no step: while one step computes, the next batch is
    made.

    Args:
        bank: The patches.
        mixture: Degrades them.
        scale: HR size over LR size.
        size: Patches per batch.
        seed_of: The seed of a step.
        kernels: Give the blur kernels too.
        keys: Give a second patch of every image too.
        pairs: Pairs that are drawn from as well: alone where the mixture is empty, else it counts as one more of their
            degradations. They give no kernels.
    """

    def __init__(
        self,
        bank: PatchBank,
        mixture: Mixture,
        *,
        scale: int,
        size: int,
        seed_of: Callable[[int], int],
        kernels: bool = False,
        keys: bool = False,
        pairs: PairBank | None = None,
    ) -> None:
        self._pairs = pairs
        self._bank, self._mixture, self._scale, self._size, self._seed_of = bank, mixture, scale, size, seed_of
        self._kernels, self._views = kernels, 2 if keys else 1
        self._generator = torch.Generator(bank.device)
        self._stream: torch.cuda.Stream | None = None
        if bank.device.type == "cuda":
            self._stream = torch.cuda.Stream(bank.device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(bank.device))  # the bank was filled there

    @property
    def device(self) -> torch.device:
        """The device of the batches."""
        return self._bank.device

    def draw(self, step: int) -> Batch:
        """Return the batch of a step, ready for the current stream."""
        self._generator.manual_seed(self._seed_of(step))
        if self._stream is None:
            return self._make()
        with torch.cuda.stream(self._stream):
            batch = self._make()
        reader = torch.cuda.current_stream(self._bank.device)
        reader.wait_stream(self._stream)
        for tensor in batch:
            if tensor is not None:
                tensor.record_stream(reader)  # no later batch gets this memory before the step has read it
        return batch

    def _make(self) -> Batch:
        views = self._views
        if self._pairs is not None:
            return self._with_pairs(self._pairs)
        truth = self._bank.sample(views * self._size, self._generator, views=views)
        degraded = self._mixture.degrade(truth, self._scale, self._generator, views=views)
        kernels = degraded.kernels if self._kernels else None
        return Batch(
            truth[::views],
            degraded.lowered[::views],
            kernels=None if kernels is None else kernels[::views],
            keys=degraded.lowered[1::views] if views > 1 else None,
        )

    def _with_pairs(self, pairs: PairBank) -> Batch:
        """Make a batch of pairs alone, or of pairs and images."""
        views, count = self._views, self._views * self._size
        truth, lowered = pairs.sample(count, self._generator, views=views)
        if self._mixture.coins:
            chance = torch.rand(self._size, generator=self._generator, device=self._bank.device)
            of_pairs = (chance * (pairs.count + 1) >= 1).repeat_interleave(views).view(-1, 1, 1, 1)
            written = self._bank.sample(count, self._generator, views=views)
            degraded = self._mixture.degrade(written, self._scale, self._generator, views=views)
            truth, lowered = torch.where(of_pairs, truth, written), torch.where(of_pairs, lowered, degraded.lowered)
        return Batch(truth[::views], lowered[::views], keys=lowered[1::views] if views > 1 else None)
