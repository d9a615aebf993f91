# SPDX-License-Identifier: Apache-2.0
"""Restoring one picture step by step, so that a face can show how far it is, or stop in between."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from filterlens.errors import FilterlensError
from filterlens.execution.memory import is_out_of_memory
from filterlens.execution.tiling import Tile, Tiling
from filterlens.pair import ModelPair

TILE = 384  # LR pixels; about a second on two cores, so that a run is given up soon when nobody wants it any more


@dataclass(frozen=True, eq=False)
class Step:
    """How far a picture is.

    Attributes:
        done: Tiles that are ready.
        total: Tiles in all.
        picture: HR ``(1, 3, H, W)``, not clipped; None until the last step.
    """

    done: int
    total: int
    picture: Tensor | None = None


def restoring(
    pair: ModelPair,
    vector: Tensor,
    image: Tensor,
    tiling: Callable[[], Tiling | None],
    *,
    precision: str = "fp32",
    tile: int = TILE,
) -> Iterator[Step]:
    """Restore an image in tiles, one step each; the result is that of the whole image.

    Args:
        pair: Whose network is run.
        vector: Its parameters, flat.
        image: LR ``(1, 3, h, w)`` in [0, 1].
        tiling: Says how the network may be tiled, in seconds; asked only for images that are larger than a tile. Where
            it says None, the network sees the image whole.
        precision: ``fp32`` or ``bf16``.
        tile: Side in LR pixels of a square with as many pixels as the largest tile, halo included.

    Yields:
        A step after every tile; the last one has the picture.

    Raises:
        FilterlensError: Out of memory.
        UsageError: The tile is smaller than what one output sees.
    """
    height, width = image.shape[-2:]
    small = height * width <= tile**2
    tiles = _tiles(None if small else tiling(), height, width, tile)
    picture = torch.empty(1, 3, height * pair.scale, width * pair.scale, dtype=pair.dtype)
    for done, each in enumerate(tiles, 1):
        each.place(picture, pair.scale).copy_(each.core(_run(pair, vector, each.window(image), precision), pair.scale))
        yield Step(done, len(tiles), picture if done == len(tiles) else None)


def _tiles(tiling: Tiling | None, height: int, width: int, tile: int) -> list[Tile]:
    if tiling is None:
        return Tiling(0).split(height, width, height * width)
    return tiling.split(height, width, max(tile**2, tiling.least**2))


def _run(pair: ModelPair, vector: Tensor, image: Tensor, precision: str) -> Tensor:
    try:
        with torch.inference_mode():
            return pair.run(vector, image, precision).cpu()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    raise FilterlensError(f"Out of memory on {pair.device} at {image.shape[-1]}×{image.shape[-2]} LR pixels.")


def check_finite(name: str, picture: Tensor) -> None:
    """Refuse a picture that is partly no picture.

    Args:
        name: Of the image.
        picture: What the network made of it, ``(1, 3, H, W)``.

    Raises:
        FilterlensError: It holds NaN or infinity; says in what share of the pixels.
    """
    share = 1 - picture.isfinite().all(1).double().mean().item()
    if share:
        raise FilterlensError(
            f"The network gives NaN or infinity for '{name}', in {100 * share:.3g} % of the pixels. Move the strengths "
            "towards 1, start the app with --precision fp32, or check the network's weights."
        )
