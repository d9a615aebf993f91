# SPDX-License-Identifier: Apache-2.0
"""Ground-truth images from files or tensors, read one at a time, so that a large folder needs little memory."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from filterlens.data.images import crop_to_multiple, image_size, read_image, to_float
from filterlens.data.listing import find_images
from filterlens.errors import UsageError
from filterlens.files import sha256_of
from filterlens.pixels import require_unit_range
from filterlens.progress import Note, silent


@dataclass(frozen=True)
class Sample:
    """One HR image: a name, and a function that reads its pixels.

    Attributes:
        name: Stem of the file, key of the mapping, or the position in the sequence.
        read: Function that returns RGB ``(3, H, W)``, uint8 or float in [0, 1].
        path: The file, if there is one.
    """

    name: str
    read: Callable[[], Tensor]
    path: Path | None = None

    def truth(self, multiple: int) -> Tensor:
        """Return the image as ``(1, 3, H, W)`` in [0, 1], cut to multiples of ``multiple``.

        Raises:
            FilterlensError: The file cannot be read.
            UsageError: A tensor is not an RGB image in [0, 1], or nothing remains after the cut.
        """
        image = _as_image(self.name, self.read())
        cut = crop_to_multiple(image, multiple)
        if not cut.numel():
            raise UsageError(
                f"Image '{self.name}' of {image.shape[2]}x{image.shape[1]} is smaller than {multiple} pixels."
            )
        return cut.unsqueeze(0) if cut.is_floating_point() else to_float(cut)

    def pixels(self) -> int:
        """Return the number of pixels; a file is not decoded for it."""
        if self.path is not None:
            width, height = image_size(self.path)
            return width * height
        return self.read()[..., 0, :, :].numel()

    def fingerprint(self) -> str:
        """Return a hash of the content: of the file, or of the pixels."""
        if self.path is not None:
            return sha256_of(self.path)
        image = self.read().detach().cpu().contiguous()
        return hashlib.sha256(f"{image.dtype}{tuple(image.shape)}".encode() + image.numpy().tobytes()).hexdigest()

    def provenance(self) -> dict[str, Any]:
        """Return name, path, hash and size of the image, for the record."""
        image = self.read()
        height, width = image.shape[-2:]
        origin = {} if self.path is None else {"path": str(self.path), "sha256": sha256_of(self.path)}
        return {"name": self.name, **origin, "width": width, "height": height}


Image = Path | str | Tensor | Sample
Images = Image | Iterable[Image] | Mapping[str, Image]


def as_samples(images: Images, note: Note = silent) -> list[Sample]:
    """Accept a folder, a file, paths, tensors ``(3, H, W)`` or ``(B, 3, H, W)``, samples, or name → any of them.

    Args:
        images: One image, or any iterable of several; tensors are checked at once: RGB, uint8 or floats in [0, 1].
        note: Receiver of one line when values that a resampler left a little outside [0, 1] were clipped.

    Raises:
        FilterlensError: A folder is missing or empty.
        UsageError: The images come in an unknown form, a tensor is not an RGB image, or there are no images.
    """
    if isinstance(images, str | Path):
        samples = [_from_file(path) for path in find_images(images).images]
    elif isinstance(images, Sample):
        samples = [images]
    elif isinstance(images, Mapping):
        samples = [_from_any(str(name), image, note) for name, image in images.items()]
    elif isinstance(images, Tensor):
        batch = images.unsqueeze(0) if images.ndim == 3 else images
        samples = [_from_tensor(str(index), image, note) for index, image in enumerate(batch)]
    elif isinstance(images, Iterable) and not hasattr(images, "__array__"):
        samples = [_from_any(str(index), image, note) for index, image in enumerate(images)]
    else:
        raise UsageError(f"Images come as a folder, paths or tensors, not as {type(images).__name__}. {_REMEDY}")
    if not samples:
        raise UsageError("There are no images.")
    return samples


_REMEDY = "Of an array make a tensor: torch.from_numpy(array).permute(2, 0, 1)."


def _from_any(name: str, image: object, note: Note) -> Sample:
    if isinstance(image, Sample):
        return image
    if isinstance(image, Tensor):
        return _from_tensor(name, image, note)
    if not isinstance(image, str | Path):
        raise UsageError(f"Image '{name}' is {type(image).__name__}, neither a path nor a tensor. {_REMEDY}")
    return _from_file(Path(image))


def _from_file(path: Path) -> Sample:
    return Sample(path.stem, lambda: read_image(path), path)


def _from_tensor(name: str, image: Tensor, note: Note) -> Sample:
    checked = _as_image(name, image, note)
    return Sample(name, lambda: checked)


def _as_image(name: str, image: Tensor, note: Note = silent) -> Tensor:
    """Return an image ``(3, H, W)``, uint8, or float32 or float64 within [0, 1].

    Raises:
        UsageError: It has another shape or type, holds NaN or infinity, or its values are of another range.
    """
    image = image.detach()
    image = image.squeeze(0) if image.ndim == 4 and len(image) == 1 else image
    if image.ndim != 3 or image.shape[0] != 3:
        last = image.ndim == 3 and image.shape[-1] == 3
        remedy = " Its channels come last: image.permute(2, 0, 1)." if last else ""
        raise UsageError(f"Image '{name}' has the shape {tuple(image.shape)}, not (3, height, width).{remedy}")
    if image.dtype == torch.uint8:
        return image
    if not image.is_floating_point():
        raise UsageError(
            f"Image '{name}' is of type {image.dtype}: give uint8 from 0 to 255, or floats in [0, 1] (integers "
            "divided by the largest that their kind of image has)."
        )
    return _within_range(name, image if image.dtype == torch.float64 else image.float(), note)


def _within_range(name: str, image: Tensor, note: Note) -> Tensor:
    low, high = require_unit_range(image, f"image '{name}'")
    if low >= 0 and high <= 1:
        return image
    note(f"image '{name}' has values from {low:.4g} to {high:.4g}: clipped to [0, 1]")
    return image.clamp(0, 1)
