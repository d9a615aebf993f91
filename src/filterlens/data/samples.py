# SPDX-License-Identifier: Apache-2.0
"""Ground-truth images in whatever form a user holds them, one at a time, so a large folder needs little memory."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from filterlens.data.images import crop_to_multiple, image_size, list_images, read_image, to_float
from filterlens.errors import UsageError
from filterlens.files import sha256_of


@dataclass(frozen=True)
class Sample:
    """One HR image: a name, and how to get its pixels.

    Attributes:
        name: Stem of the file, key of the mapping, or the position in the sequence.
        read: Returns RGB ``(3, H, W)``, uint8 or float in [0, 1].
        path: Of the file, if there is one.
    """

    name: str
    read: Callable[[], Tensor]
    path: Path | None = None

    def truth(self, multiple: int) -> Tensor:
        """Return the image as ``(1, 3, H, W)`` in [0, 1], cut to multiples of ``multiple``.

        Raises:
            FilterlensError: The file cannot be read.
            UsageError: A tensor has another shape, or nothing remains after the cut.
        """
        image = self.read()
        image = image.squeeze(0) if image.ndim == 4 and len(image) == 1 else image
        if image.ndim != 3 or image.shape[0] != 3:
            raise UsageError(f"Image '{self.name}' has the shape {tuple(image.shape)}, not (3, height, width).")
        cut = crop_to_multiple(image, multiple)
        if not cut.numel():
            raise UsageError(
                f"Image '{self.name}' of {image.shape[2]}x{image.shape[1]} is smaller than {multiple} pixels."
            )
        return cut.unsqueeze(0) if cut.is_floating_point() else to_float(cut)

    def pixels(self) -> int:
        """Return how many pixels the image has; a file is not decoded for it."""
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


Images = Path | str | Tensor | Sequence[Path | str | Tensor | Sample] | Mapping[str, Tensor]


def as_samples(images: Images) -> list[Sample]:
    """Accept a folder, a file, paths, tensors ``(3, H, W)`` or ``(B, 3, H, W)``, samples, or name → tensor.

    Raises:
        FilterlensError: A folder is missing or empty.
        UsageError: The images come in no form that is known, or there are none.
    """
    if isinstance(images, str | Path):
        samples = [_from_file(path) for path in list_images(images)[0]]
    elif isinstance(images, Mapping):
        samples = [_from_tensor(name, image) for name, image in images.items()]
    elif isinstance(images, Tensor):
        batch = images.unsqueeze(0) if images.ndim == 3 else images
        samples = [_from_tensor(str(index), image) for index, image in enumerate(batch)]
    elif isinstance(images, Sequence):
        samples = [_from_any(index, image) for index, image in enumerate(images)]
    else:
        raise UsageError(f"Images come as a folder, paths or tensors, not as {type(images).__name__}.")
    if not samples:
        raise UsageError("There are no images.")
    return samples


def _from_any(index: int, image: Path | str | Tensor | Sample) -> Sample:
    if isinstance(image, Sample):
        return image
    return _from_tensor(str(index), image) if isinstance(image, Tensor) else _from_file(Path(image))


def _from_file(path: Path) -> Sample:
    return Sample(path.stem, lambda: read_image(path), path)


def _from_tensor(name: str, image: Tensor) -> Sample:
    return Sample(name, lambda: image)
