# SPDX-License-Identifier: Apache-2.0
"""Training patches kept on the device: no decoding and no copying during training."""

from collections.abc import Sequence

import torch
from torch import Tensor

from filterlens.errors import FilterlensError
from filterlens.execution.hardware import widest_float


class PatchBank:
    """All training images as one uint8 array on the device, from which batches of random patches are gathered.

    Args:
        images: RGB images ``(3, H, W)`` uint8, of any sizes.
        patch: Side of the square patches in pixels.
        device: Device of the pixels; the whole set needs 3 bytes a pixel there.
        names: Names of the images, for errors.

    Raises:
        FilterlensError: No image is given, or one is smaller than a patch.
    """

    def __init__(self, images: Sequence[Tensor], patch: int, device: torch.device, names: Sequence[str] = ()) -> None:
        if not images:
            raise FilterlensError("There are no training images.")
        for index, image in enumerate(images):
            if min(image.shape[-2:]) < patch:
                height, width = image.shape[-2:]
                name = f" ('{names[index]}')" if names else ""
                raise FilterlensError(
                    f"Training image {index + 1} of {len(images)} is {width}x{height}, smaller than a patch of "
                    f"{patch}{name}. Remove it or train with a smaller patch."
                )
        sizes = torch.tensor([image.shape[-2:] for image in images], dtype=torch.int64)
        areas = sizes.prod(1)
        self.patch = patch
        self.device = device
        self._pixels = as_rows(images).to(device)
        self._likelihood = (areas / areas.sum()).cumsum(0).to(device, widest_float(device))
        starts = areas.cumsum(0) - areas
        # per image: its first pixel, its width, and how many rows and columns a patch can begin at
        self._places = torch.cat([starts[:, None], sizes[:, 1:], sizes - patch + 1], 1).to(device)
        self._line = torch.arange(patch, device=device)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._places)

    def sample(self, batch: int, generator: torch.Generator, *, views: int = 1) -> Tensor:
        """Gather random patches, each flipped and turned at random (8 orientations).

        Args:
            batch: Number of patches, a multiple of ``views``. An image is drawn in proportion to its area.
            generator: A generator on the bank's device; the same state gives the same patches.
            views: Number of consecutive patches of one image.

        Returns:
            ``(batch, 3, patch, patch)`` float32 in [0, 1], channels last in memory.
        """
        draw = torch.rand(6, batch, generator=generator, device=self.device, dtype=widest_float(self.device))
        chance = draw[0, ::views].repeat_interleave(views) if views > 1 else draw[0]
        image = torch.searchsorted(self._likelihood, chance).clamp_(max=len(self) - 1)
        place = self._places[image]
        top, left = (draw[1:3] * place[:, 2:].T).long()
        return draw_squares(self._pixels, place[:, :2], top, left, self._line, draw[3:])


def as_rows(images: Sequence[Tensor]) -> Tensor:
    """Return the pixels of images ``(C, H, W)`` one after the other, ``(pixels, C)``."""
    return torch.cat([image.permute(1, 2, 0).reshape(-1, len(image)) for image in images])


def draw_squares(pixels: Tensor, place: Tensor, top: Tensor, left: Tensor, line: Tensor, draw: Tensor) -> Tensor:
    """Gather squares, each flipped and turned as its draw says.

    Args:
        pixels: Pixels of all images, as :func:`as_rows` returns them, uint8.
        place: First pixel and width of the image of each square ``(B, 2)``.
        top: First row of each square ``(B,)``.
        left: First column ``(B,)``.
        line: The numbers from 0 to the side of a square.
        draw: Numbers in [0, 1) that choose one of 8 orientations ``(3, B)``.

    Returns:
        ``(B, C, side, side)`` float32 in [0, 1], channels last in memory.
    """
    start, width = place[:, 0], place[:, 1]
    mirrored = line.flip(0)
    upright, unmirrored, turned = (draw[:, :, None] < 0.5).unbind()
    rows = torch.where(upright, line, mirrored)[:, :, None]
    columns = torch.where(unmirrored, line, mirrored)[:, None, :]
    y = torch.where(turned[:, :, None], columns, rows)  # (batch, side, side)
    x = torch.where(turned[:, :, None], rows, columns)
    corner = start + top * width + left
    index = y * width[:, None, None] + x + corner[:, None, None]
    return pixels[index].permute(0, 3, 1, 2).float() / 255
