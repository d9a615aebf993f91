# SPDX-License-Identifier: Apache-2.0
"""The images of a training: read, and left out with a reason where they are damaged."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from filterlens.data.images import read_image
from filterlens.errors import FilterlensError
from filterlens.progress import Progress


@dataclass
class ReadImages:
    """Images that could be read, and those that could not.

    Attributes:
        paths: Of the images that could be read.
        pixels: What they hold, ``(3, H, W)`` uint8 each.
        left_out: File and reason of the others.
    """

    paths: list[Path] = field(default_factory=list)
    pixels: list[Tensor] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The files' names."""
        return [path.name for path in self.paths]

    def read(self, path: Path) -> None:
        """Read an image, or leave it out."""
        try:
            self.pixels.append(read_image(path))
            self.paths.append(path)
        except FilterlensError as error:
            self.left_out.append({"file": str(path), "reason": str(error)})


def read_images(
    training: Sequence[Path], judging: Sequence[Path], progress: Progress, *, chosen: bool
) -> tuple[ReadImages, ReadImages]:
    """Read the training images and those that judge; a damaged one is left out and told.

    Args:
        training: Paths of the training images.
        judging: Paths of the others; may be none.
        progress: Where the bar and the notes go.
        chosen: Whether the user named the ones that judge.

    Returns:
        Both.

    Raises:
        FilterlensError: No training image can be read, or none of the ``chosen`` ones that judge; or one of these
            holds the same pixels as a training image.
    """
    both = ReadImages(), ReadImages()
    with progress.bar("read images", len(training) + len(judging)) as bar:
        for images, paths in zip(both, (training, judging), strict=True):
            for path in paths:
                images.read(path)
                bar.advance()
    for entry in [*both[0].left_out, *both[1].left_out]:
        progress.note(f"left out: {entry['reason']}")
    for images, paths, kind in zip(both, (training, judging), ("training", "validation"), strict=True):
        if paths and not images.pixels and (kind == "training" or chosen):
            raise FilterlensError(f"None of the {len(paths)} {kind} images can be read: {images.left_out[0]['reason']}")
    _tell_twins(*both, progress, chosen)
    return both


def said_of(training: ReadImages, judging: ReadImages) -> dict[str, Any]:
    """Return what a record says of images that were left out; nothing where none was."""
    left_out = [*training.left_out, *judging.left_out]
    return {"left_out": left_out} if left_out else {}


def _tell_twins(training: ReadImages, judging: ReadImages, progress: Progress, chosen: bool) -> None:
    """Tell an image that trains and judges under two names: its PSNR would flatter."""
    by_corner: dict[tuple[Any, ...], list[int]] = {}
    for index, image in enumerate(training.pixels):
        by_corner.setdefault(_corner(image), []).append(index)
    twins = [
        (path, training.paths[index])
        for path, image in zip(judging.paths, judging.pixels, strict=True)
        for index in by_corner.get(_corner(image), [])[:1]
        if torch.equal(image, training.pixels[index])
    ]
    if not twins:
        return
    text = f"validation image '{twins[0][0]}' and training image '{twins[0][1]}' hold the same pixels"
    if chosen:
        raise FilterlensError(f"{text[0].upper()}{text[1:]}. Take one of them away.")
    progress.note(f"{len(twins)} of the validation images flatter(s) the PSNR: {text}")


def _corner(image: Tensor) -> tuple[Any, ...]:
    return tuple(image.shape), image[:, ::16, ::16].contiguous().numpy().tobytes()
