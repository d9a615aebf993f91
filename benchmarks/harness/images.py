# SPDX-License-Identifier: Apache-2.0
"""Which images are measured on: the photographs that ship, or a folder of the user's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from filterlens.data.images import center_crop, read_image, write_image
from filterlens.data.listing import find_images
from filterlens.data.photographs import PHOTOGRAPHS, photograph


@dataclass(frozen=True)
class ImageChoice:
    """A choice of HR images that another process can make again.

    Attributes:
        folder: Where they are; None means the photographs that ship.
        count: Only the first so many, in the order of their names.
        side: Only the central square of so many HR pixels.
    """

    folder: Path | None = None
    count: int | None = None
    side: int | None = None

    def load(self) -> dict[str, Tensor]:
        """Read them: name → RGB ``(3, H, W)`` uint8."""
        if self.folder is None:
            images = {name: photograph(name) for name in list(PHOTOGRAPHS)[: self.count]}
        else:
            images = {path.stem: read_image(path) for path in find_images(self.folder).images[: self.count]}
        return images if self.side is None else {name: center_crop(each, self.side) for name, each in images.items()}

    def __str__(self) -> str:
        names = ", ".join(f"{name} {each.shape[-1]}x{each.shape[-2]}" for name, each in self.load().items())
        origin = "shipped photographs" if self.folder is None else f"images of {self.folder.resolve().name}"
        return f"{origin}: {names}" if self.side is None else f"central squares of {origin}: {names}"


def write_folder(images: Mapping[str, Tensor], folder: Path) -> Path:
    """Write images as PNG into a new folder and return it."""
    for name, image in images.items():
        write_image(folder / f"{name}.png", image)
    return folder


def mirrored(image: Tensor, height: int, width: int) -> Tensor:
    """Continue ``(3, h, w)`` by mirroring at its borders until it is ``(3, height, width)``; larger ones are cut."""
    rows, columns = (_there_and_back(have, want) for have, want in zip(image.shape[-2:], (height, width), strict=True))
    return image[:, rows][:, :, columns].contiguous()


def _there_and_back(have: int, want: int) -> Tensor:
    position = torch.arange(want) % (2 * have)
    return torch.where(position < have, position, 2 * have - 1 - position)
