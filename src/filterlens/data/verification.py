# SPDX-License-Identifier: Apache-2.0
"""Verify that a folder is the standard set, by its pixels; names, formats and origin do not matter."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from filterlens.data.catalogue import DIGEST_DIGITS, ImageSet
from filterlens.data.images import image_size, read_image
from filterlens.data.listing import find_images
from filterlens.progress import SILENT, Progress


@dataclass(frozen=True)
class Verification:
    """The content of a folder, compared with the catalogue.

    Attributes:
        name: Name of the set.
        folder: The folder.
        images: Number of images in the folder.
        expected: Number of images of the set.
        digest: SHA-256 over the sorted pixel digests of all images: one number for the folder's content.
        missing: Standard names of the images that are missing; empty where no pixels are known.
        strangers: Files whose pixels are no image of the set, or a second copy of one.
        by_pixels: True where the catalogue knows the set's pixels, not only number and size of its images.
        longest: Expected longer side, where an image has another one; else None.
    """

    name: str
    folder: Path
    images: int
    expected: int
    digest: str
    missing: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    by_pixels: bool = False
    longest: int | None = None

    @property
    def passed(self) -> bool:
        """Whether the number of images, and their pixels where known, are those of the set."""
        return self.images == self.expected and not (self.missing or self.strangers or self.longest)

    def __str__(self) -> str:
        if self.passed:
            how = (
                "pixel by pixel the standard images" if self.by_pixels else "as many as it should; no pixels are known"
            )
            return f"{self.name}: {self.images} images, {how} ({self.folder})"
        facts = [f"{self.images} images, not {self.expected}"] if self.images != self.expected else []
        facts += [f"missing {_some(self.missing)}"] if self.missing else []
        facts += [f"other pixels in {_some(self.strangers)}"] if self.strangers else []
        facts += [f"the longer side is not {self.longest} pixels everywhere"] if self.longest else []
        return f"{self.name}: {'; '.join(facts)} ({self.folder})"


def pixel_digest(image: Tensor) -> str:
    """Hash an RGB image ``(3, H, W)`` uint8 by size and content: 32 hexadecimal digits of SHA-256."""
    pixels = image.permute(1, 2, 0).contiguous()
    height, width, _ = pixels.shape
    return hashlib.sha256(f"{width}x{height}:".encode() + pixels.numpy().tobytes()).hexdigest()[:DIGEST_DIGITS]


def digest_of_set(digests: Iterable[str]) -> str:
    """Join the digests of images, in whatever order, into one SHA-256."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def verify(image_set: ImageSet, folder: Path, *, progress: Progress = SILENT) -> Verification:
    """Compare a folder with the catalogue: the number of images, and every pixel where the catalogue knows them.

    Raises:
        FilterlensError: The folder is missing or empty, or an image cannot be read.
    """
    paths = find_images(folder).images
    digests = {}
    with progress.bar(f"check {image_set.name}", len(paths)) as bar:
        for path in paths:
            digests[path.name] = pixel_digest(read_image(path))
            bar.advance()
    missing, strangers = _compare(image_set, digests) if image_set.pixels else ((), ())
    sizes = {max(image_size(path)) for path in paths} if image_set.longest else set()
    return Verification(
        image_set.name,
        folder,
        len(paths),
        image_set.images,
        digest_of_set(digests.values()),
        missing,
        strangers,
        bool(image_set.pixels),
        image_set.longest if sizes - {image_set.longest} else None,
    )


def _compare(image_set: ImageSet, found: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    there = set(found.values())
    missing = tuple(name for name, digest in image_set.pixels.items() if digest not in there)
    left = Counter(image_set.pixels.values())
    strangers = []
    for name, digest in found.items():
        if left[digest]:
            left[digest] -= 1
        else:
            strangers.append(name)
    return missing, tuple(strangers)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
