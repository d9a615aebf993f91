# SPDX-License-Identifier: Apache-2.0
"""Work in portions that fit into memory: where one does not, the rest is cut smaller. This is the only such retry.

The rule for images: those with more LR pixels than the limit are cut into tiles. When memory runs out, the limit is
halved, for this image and all later ones, down to the smallest tile that makes sense. The limit begins with what a
gradient may keep in memory (:class:`filterlens.attribution.engine.Engine` measures it), or, for pictures, with a square
that is fast enough (:mod:`filterlens.execution.tiled_network`).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from filterlens.errors import FilterlensError
from filterlens.execution.memory import is_out_of_memory, release_memory
from filterlens.execution.tiling import Tile, Tiling
from filterlens.progress import Note, silent

Portion = TypeVar("Portion")


class Portions(Generic[Portion]):
    """Portions of some work, one after the other, each as small as memory needs it to be.

    Args:
        portions: Portions to try first.
        smaller: Function that cuts the remaining portions smaller, the first of which did not fit, or raises where
            nothing smaller makes sense.
        device: Device whose memory is used.

    Attributes:
        done: Number of portions done.

    Example:
        >>> portions = Portions([range(4), range(4, 8)], lambda left: left, torch.device("cpu"))
        >>> total = 0
        >>> for portion in portions:
        ...     with portions.fitting():  # when memory runs out in here, smaller portions come
        ...         total += sum(portion)
        >>> total, portions.done
        (28, 2)
    """

    def __init__(
        self,
        portions: Sequence[Portion],
        smaller: Callable[[Sequence[Portion]], Sequence[Portion]],
        device: torch.device,
    ) -> None:
        self._left, self._smaller, self._device = list(portions), smaller, device
        self._too_large = False
        self.done = 0

    @property
    def count(self) -> int:
        """Portions in all, as far as is known by now."""
        return self.done + len(self._left)

    def __iter__(self) -> Iterator[Portion]:
        """Yield each portion; where one did not fit, the same work again in smaller ones."""
        while self._left:
            if self._too_large:  # only here the error is gone, whose frames kept their tensors alive
                release_memory(self._device)
                self._left, self._too_large = list(self._smaller(self._left)), False
            yield self._left[0]

    @contextlib.contextmanager
    def fitting(self) -> Iterator[None]:
        """Do a portion inside the block; when memory runs out, the block ends there and the portion is not done."""
        try:
            yield
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._too_large = True
        else:
            del self._left[0]
            self.done += 1


@dataclass(frozen=True)
class Fallback:
    """A way to continue with an image after memory has run out.

    Attributes:
        least: The fewest LR pixels to which the limit may fall.
        how: Description of the way; empty for smaller tiles.
    """

    least: int
    how: str = ""


def smaller_tiles(tiling: Tiling | None, pixels: int) -> Fallback | None:
    """Return the way out of most work: tiles down to the smallest that there can be."""
    return None if tiling is None else Fallback(tiling.least**2)


class TileLimit:
    """How many LR pixels of an image are computed at once.

    Args:
        most: The limit at first.
        tiling: A function that says how the network may be cut, or None where it may not. Called only when an image
            is above the limit or memory has run out, as it takes seconds.
        device: The device whose memory is used.
        fallback: A function that says what to do when memory has run out, given how the network may be cut and the
            LR pixels of the image; None for nothing.
        note: The receiver of one line whenever the limit falls.
        fixed: Whether ``most`` must not be raised to the smallest tile, since a user chose it.

    Attributes:
        most: LR pixels that may be computed at once now. An image that cannot be cut may have more.
    """

    def __init__(
        self,
        most: float,
        tiling: Callable[[], Tiling | None],
        device: torch.device,
        *,
        fallback: Callable[[Tiling | None, int], Fallback | None] = smaller_tiles,
        note: Note = silent,
        fixed: bool = False,
    ) -> None:
        self.most = most
        self._tiling, self._device, self._fallback, self._note, self._fixed = tiling, device, fallback, note, fixed

    def tiles(self, images: Tensor) -> Portions[Tile]:
        """Return LR images ``(…, h, w)`` in tiles.

        Raises:
            UsageError: The limit that a user chose is smaller than what one output sees.
        """
        height, width = images.shape[-2:]
        tiles = self._cut([Tile.whole(height, width)], height, width)
        return Portions(tiles, partial(self._smaller, height=height, width=width), self._device)

    def _cut(self, tiles: Sequence[Tile], height: int, width: int) -> list[Tile]:
        tiling = self._tiling() if any(tile.pixels > self.most for tile in tiles) else None
        if tiling is None:
            return list(tiles)
        if not self._fixed and (fallback := self._fallback(tiling, height * width)):
            self.most = max(self.most, fallback.least)
        return [part for tile in tiles for part in tiling.cut(tile, height, width, int(self.most))]

    def _smaller(self, left: Sequence[Tile], height: int, width: int) -> list[Tile]:
        """Halve the limit and cut what is left; give up where the limit cannot fall any further."""
        pixels = height * width
        fallback, largest = self._fallback(self._tiling(), pixels), int(min(self.most, pixels))
        if fallback is None or largest <= fallback.least:
            tried = "" if fallback is None else f", even {fallback.how or f'in tiles of {largest}'}"
            raise FilterlensError(
                f"Out of memory on {self._device} at {pixels} LR pixels{tried}. Use smaller images, --precision bf16, "
                "or --device cpu."
            )
        self.most = max(largest // 2, fallback.least)
        how = fallback.how or f"in tiles of {int(self.most)}"
        self._note(f"out of memory with {largest} LR pixels at once: going on {how}")
        return self._cut(left, height, width)


@dataclass(frozen=True, eq=False)
class PictureSoFar:
    """How far a picture is.

    Attributes:
        done: Tiles that are ready.
        total: Tiles in all.
        picture: HR ``(1, C, H, W)``, not clipped; None until it is whole.
    """

    done: int
    total: int
    picture: Tensor | None = None


def joined(tiles: Portions[Tile], run: Callable[[Tensor], Tensor], images: Tensor) -> Iterator[PictureSoFar]:
    """Run a network tile by tile and put the outputs together.

    Args:
        tiles: The tiles of the images; see :meth:`TileLimit.tiles`.
        run: LR ``(1, C, h, w)`` → HR ``(1, C', h·s, w·s)``.
        images: LR ``(1, C, h, w)``.

    Yields:
        How far the picture is, after every tile; its type and device are those of the images.
    """
    picture: Tensor | None = None
    for tile in tiles:
        with tiles.fitting():
            window = tile.window(images)
            output = run(window).to(images)
            if window.shape == images.shape:
                picture = output.contiguous()
            else:
                scale = output.shape[-1] // window.shape[-1]
                if picture is None:
                    picture = images.new_empty(*output.shape[:-2], *(side * scale for side in images.shape[-2:]))
                tile.place(picture, scale).copy_(tile.core(output, scale))
        yield PictureSoFar(tiles.done, tiles.count, picture if tiles.done == tiles.count else None)
