# SPDX-License-Identifier: Apache-2.0
"""Training patches of pairs, LQ and GT alike, kept on the device as :mod:`filterlens.data.patches` keeps images."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from filterlens.data.patches import as_rows, draw_squares
from filterlens.errors import FilterlensError
from filterlens.execution.hardware import widest_float


@dataclass(frozen=True, eq=False)
class PairPixels:
    """The pixels of one pair; pairs of one scene share the tensor of their truth.

    Attributes:
        name: Name of the pair, for errors.
        truth: GT ``(C, scale · h, scale · w)`` uint8.
        lowered: LQ ``(c, h, w)`` uint8.
    """

    name: str
    truth: Tensor
    lowered: Tensor


PairSets = Mapping[str, Sequence[PairPixels]]
"""Name of a degradation → its pairs."""


class PairPatches(NamedTuple):
    """Patches of one batch: GT ``(B, C, H, W)`` and LQ ``(B, c, H/scale, W/scale)``, float32 in [0, 1]."""

    truth: Tensor
    lowered: Tensor


class PairBank:
    """All training pairs as uint8 arrays on the device, from which batches of random patches are gathered.

    Every degradation is equally likely, however many pairs it has; within one, a pair is drawn in proportion to its
    area.

    Args:
        sets: The pairs.
        patch: Side of the square GT patches in pixels, a multiple of ``scale``.
        scale: HR size over LR size.
        device: Device of the pixels.

    Raises:
        FilterlensError: A degradation has no pairs, or a pair is smaller than a patch.
    """

    def __init__(self, sets: PairSets, patch: int, scale: int, device: torch.device) -> None:
        pairs = [pair for each in sets.values() for pair in each]
        for name, each in sets.items():
            _check(name, each, patch, scale)
        truths = list({id(pair.truth): pair.truth for pair in pairs}.values())
        number = {id(truth): index for index, truth in enumerate(truths)}
        sizes = torch.tensor([pair.lowered.shape[-2:] for pair in pairs], dtype=torch.int64)
        areas = sizes.prod(1)
        first = torch.tensor([truth.shape[-2] * truth.shape[-1] for truth in truths]).cumsum(0)
        first = torch.cat([first.new_zeros(1), first[:-1]])
        starts = torch.stack([first[number[id(pair.truth)]] for pair in pairs])
        widths = torch.tensor([pair.truth.shape[-1] for pair in pairs])
        side = patch // scale
        shares = [areas.new_zeros(0).double()]
        for part in torch.split(areas, [len(each) for each in sets.values()]):
            shares.append(part / part.sum().double() / len(sets))
        self.count = len(sets)
        self.device = device
        self._scale = scale
        self._truth, self._lowered = (
            as_rows(images).to(device) for images in (truths, [pair.lowered for pair in pairs])
        )
        self._likelihood = torch.cat(shares).cumsum(0).to(device, widest_float(device))
        # per pair: the first pixel and width of both sides, and how many LQ rows and columns a patch can begin at
        columns = [(areas.cumsum(0) - areas)[:, None], sizes[:, 1:], starts[:, None], widths[:, None], sizes - side + 1]
        self._places = torch.cat(columns, 1).to(device)
        self._lines = torch.arange(side, device=device), torch.arange(patch, device=device)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._places)

    def sample(self, batch: int, generator: torch.Generator, *, views: int = 1) -> PairPatches:
        """Gather random patches; both sides of one are flipped and turned alike (8 orientations).

        Args:
            batch: Number of patches, a multiple of ``views``.
            generator: A generator on the bank's device; the same state gives the same patches.
            views: Number of consecutive patches of one pair.
        """
        draw = torch.rand(6, batch, generator=generator, device=self.device, dtype=widest_float(self.device))
        chance = draw[0, ::views].repeat_interleave(views) if views > 1 else draw[0]
        place = self._places[torch.searchsorted(self._likelihood, chance).clamp_(max=len(self) - 1)]
        top, left = (draw[1:3] * place[:, 4:].T).long()
        return PairPatches(
            draw_squares(self._truth, place[:, 2:4], top * self._scale, left * self._scale, self._lines[1], draw[3:]),
            draw_squares(self._lowered, place[:, :2], top, left, self._lines[0], draw[3:]),
        )


def digest_of(sets: PairSets) -> str:
    """Hash names, sizes and pixels of all pairs, in their order."""
    digest = hashlib.sha256()
    for name, pairs in sets.items():
        digest.update(f"{name} {len(pairs)}".encode())
        for pair in pairs:
            for image in (pair.lowered, pair.truth):
                digest.update(str(tuple(image.shape)).encode() + image.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _check(name: str, pairs: Sequence[PairPixels], patch: int, scale: int) -> None:
    if not pairs:
        raise FilterlensError(f"There are no pairs for '{name}' to train on.")
    for pair in pairs:
        height, width = pair.lowered.shape[-2:]
        if min(height, width) * scale < patch:
            raise FilterlensError(
                f"Pair '{pair.name}' for '{name}' is {width * scale}x{height * scale}, smaller than a patch of "
                f"{patch}. Remove it or train with a smaller patch."
            )
