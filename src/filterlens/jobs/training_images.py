# SPDX-License-Identifier: Apache-2.0
"""The images of a training: some held out for validation, damaged ones left out with a reason."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from filterlens.data.images import read_image
from filterlens.data.listing import find_images
from filterlens.errors import FilterlensError
from filterlens.progress import Progress

HELD_OUT_EVERY = 20


@dataclass(frozen=True, eq=False)
class HeldOut:
    """HR images to train on, and others that judge.

    Attributes:
        training: Paths of the training images.
        judging: Paths of the others; may be none.
    """

    training: list[Path]
    judging: list[Path]

    @classmethod
    def of(
        cls, images: Sequence[Path], validation: Path | None, *, at_least: int = 2, most: int | None = None
    ) -> "HeldOut":
        """List the images; without a validation folder every 20th training image, from the first, is held out.

        Args:
            images: Folders of training images.
            validation: Folder of images that judge; None holds out.
            at_least: The number of training images from which some are held out.
            most: About so many of the validation folder's images judge; None takes all.

        Raises:
            FilterlensError: A folder is missing or empty, or an image is in both.
        """
        training = [path for folder in images for path in find_images(folder).images]
        if validation is not None:
            every = list(find_images(validation).images)
            judging = every if most is None else every[:: max(1, len(every) // most)]
        else:
            judging = training[::HELD_OUT_EVERY] if len(training) >= at_least else []
            training = [path for path in training if path not in set(judging)]
        shared = {path.resolve() for path in training} & {path.resolve() for path in judging}
        if shared:
            raise FilterlensError(f"'{min(shared)}' is both a training and a validation image.")
        return cls(training, judging)

    def without(self, held_out: Collection[Path]) -> "HeldOut":
        """Return the images without those to train on that judge elsewhere."""
        return HeldOut([path for path in self.training if path.resolve() not in held_out], self.judging)


@dataclass
class ReadImages:
    """Images that could be read, and those that could not.

    Attributes:
        paths: The files that could be read.
        pixels: Their pixels, ``(3, H, W)`` uint8 each.
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


def read_images(paths: HeldOut, progress: Progress, *, chosen: bool) -> tuple[ReadImages, ReadImages]:
    """Read the training images and those that judge; a damaged one is left out and told.

    Args:
        paths: The images.
        progress: Receiver of the bar and notes.
        chosen: Whether the user named the ones that judge.

    Returns:
        Both.

    Raises:
        FilterlensError: No training image can be read, or none of the ``chosen`` ones that judge; or one of these
            holds the same pixels as a training image.
    """
    both = ReadImages(), ReadImages()
    with progress.bar("read images", len(paths.training) + len(paths.judging)) as bar:
        for images, files in zip(both, (paths.training, paths.judging), strict=True):
            for path in files:
                images.read(path)
                bar.advance()
    for entry in [*both[0].left_out, *both[1].left_out]:
        progress.note(f"left out: {entry['reason']}")
    for images, files, use in zip(both, (paths.training, paths.judging), ("training", "validation"), strict=True):
        if files and not images.pixels and (use == "training" or chosen):
            raise FilterlensError(f"None of the {len(files)} {use} images can be read: {images.left_out[0]['reason']}")
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
