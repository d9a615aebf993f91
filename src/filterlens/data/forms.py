# SPDX-License-Identifier: Apache-2.0
"""Images in memory, in the forms of PyTorch, NumPy and Pillow, as tensors ``(C, H, W)``: checked, never guessed."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from filterlens.data.channels import USUAL, WITH_OPACITY
from filterlens.data.images import of_pillow
from filterlens.errors import UsageError, quoted
from filterlens.pixels import require_unit_range
from filterlens.progress import Note, silent

FORMS = "a path, a tensor, a NumPy array or a PIL image"
IMAGE_KEYS = ("gt", "hq", "hr", "image", "img", "pixel_values")
WHITE_16, DARKEST_16 = 65535, 4096  # white of 16 bits; a maximum below says that white was meant to be another


def is_in_memory(value: object) -> bool:
    """Whether a value is a tensor, an array or a PIL image."""
    return isinstance(value, Tensor | Image.Image) or hasattr(value, "__array__")


def is_image_like(value: object) -> bool:
    """Whether a value next to an image could be an image too, and no label."""
    if isinstance(value, Image.Image):
        return True
    return is_in_memory(value) and len(getattr(value, "shape", ())) >= 3


def images_of(
    name: str, value: Any, note: Note = silent, *, channels: int | None = None, start: int | None = None
) -> list[tuple[str, Tensor]]:
    """Return names and images ``(C, H, W)`` of a tensor, an array or a PIL image; several where it is a batch.

    Args:
        name: Name of the image.
        value: Tensor ``(C, H, W)``, ``(B, C, H, W)`` or gray ``(H, W)``; array in one of these shapes or with its
            channels last; or PIL image.
        note: Receiver of one line when values a little outside [0, 1] were clipped.
        channels: Number of channels of the network, which tells the side of an array's channels.
        start: Number of the first image of a batch, as names; None for ``name-0``, ``name-1``, …

    Raises:
        UsageError: It is no image; see :func:`checked`.
    """
    if isinstance(value, Image.Image):
        return [(name, of_pillow(value, name, note, opacity=channels == WITH_OPACITY))]
    tensor = value.detach() if isinstance(value, Tensor) else _of_array(name, np.asarray(value), channels)
    if tensor.ndim < 4 or (tensor.ndim == 4 and len(tensor) == 1):
        return [(name, checked(name, tensor, note))]
    names = [f"{name}-{index}" if start is None else str(start + index) for index in range(len(tensor))]
    return [(each, checked(each, image, note)) for each, image in zip(names, tensor, strict=True)]


def checked(name: str, image: Tensor, note: Note = silent) -> Tensor:
    """Return an image ``(C, H, W)``, uint8, or float32 or float64 within [0, 1].

    16-bit integers become float32, 65535 being white.

    Args:
        name: Name of the image in errors.
        image: ``(C, H, W)``, ``(1, C, H, W)`` or gray ``(H, W)``.
        note: Receiver of one line when values a little outside [0, 1] were clipped.

    Raises:
        UsageError: It has another shape or type, is empty, holds NaN or infinity, or its values are of another range.
    """
    image = image.detach()
    image = image.squeeze(0) if image.ndim == 4 and len(image) == 1 else image
    image = image.unsqueeze(0) if image.ndim == 2 else image
    if image.ndim != 3:
        raise UsageError(f"Image '{name}' has the shape {tuple(image.shape)}, not (channels, height, width).")
    if not image.numel():
        raise UsageError(f"Image '{name}' of the shape {tuple(image.shape)} is empty. Leave it out.")
    if image.dtype == torch.uint8:
        return image
    if image.dtype == torch.uint16:
        return _of_16_bits(name, image)
    if not image.is_floating_point():
        raise UsageError(
            f"Image '{name}' is of type {image.dtype}: give uint8 from 0 to 255, or floats in [0, 1] (integers "
            "divided by the largest that their kind of image has)."
        )
    return _within_range(name, image if image.dtype == torch.float64 else image.float(), note)


def image_of_item(name: str, item: Any) -> tuple[Any, tuple[str, ...]]:
    """Return the image, or the batch, of what a dataset gives, with the names that its files have, if it says so.

    Args:
        name: Name of the item in errors.
        item: The image, a tuple or list that begins with it (a label may follow), or a mapping that has it as ``gt``,
            ``hq``, ``hr``, ``image``, ``img`` or ``pixel_values``.

    Raises:
        UsageError: There is no image, or more than one.
    """
    if isinstance(item, Mapping):
        key = next((each for each in IMAGE_KEYS if each in item), None)
        if key is None:
            keys = ", ".join(f"'{quoted(each, 30)}'" for each in list(item)[:8]) or "nothing"
            raise UsageError(f"Image '{name}' is a mapping of {keys}. It needs one of {_listed(IMAGE_KEYS)}.")
        return item[key], paths_said(item, key)
    if isinstance(item, tuple | list):
        if not item:
            raise UsageError(f"Image '{name}' is an empty {type(item).__name__}. Give {FORMS}.")
        if any(is_image_like(each) for each in item[1:]):
            raise UsageError(
                f"Image '{name}' is a {type(item).__name__} of several images. Give one image at a time, or pairs of "
                "LQ and GT with pairs=."
            )
        return item[0], ()
    return item, ()


def paths_said(item: Mapping[Any, Any], key: str) -> tuple[str, ...]:
    """Return the paths that a dataset gives with an image, as BasicSR's do: ``gt_path`` for ``gt``."""
    said = item.get(f"{key}_path", ())
    paths = said if isinstance(said, list | tuple) else [said]
    return tuple(map(str, paths)) if all(isinstance(path, str | Path) for path in paths) else ()


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _of_array(name: str, array: npt.NDArray[Any], channels: int | None) -> Tensor:
    """Return an array as ``(H, W)``, ``(C, H, W)`` or ``(B, C, H, W)``: its channels may come first or last."""
    if array.dtype.kind in "OUS" and array.ndim == 1:
        raise UsageError(
            f"Image '{name}' is an array of type {array.dtype}. Of paths in an array give a list: .tolist()."
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing here writes
            tensor = torch.from_numpy(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))
    except (TypeError, ValueError):
        raise UsageError(
            f"Image '{name}' is an array of type {array.dtype}: give uint8 from 0 to 255, or floats in [0, 1]."
        ) from None
    if array.ndim not in (3, 4) or not array.size:
        return tensor
    usual = USUAL if channels is None else USUAL | {channels}
    first, last = array.shape[-3] in usual, array.shape[-1] in usual
    if first and last:
        raise UsageError(
            f"Image '{name}' is an array of the shape {array.shape}, of which the first or the last side may be "
            "channels. Make it a tensor (channels, height, width), or a PIL image."
        )
    return tensor.movedim(-1, -3) if last else tensor


def _of_16_bits(name: str, image: Tensor) -> Tensor:
    wide = image.to(torch.int32)
    brightest = int(wide.max())
    if 0 < brightest < DARKEST_16:
        raise UsageError(
            f"Image '{name}' is of type {image.dtype} with values up to {brightest}, where white is {WHITE_16}: it "
            "would be black. Give floats in [0, 1]: divide by the value that is white."
        )
    return wide.float() / WHITE_16


def _within_range(name: str, image: Tensor, note: Note) -> Tensor:
    low, high = require_unit_range(image, f"image '{name}'")
    if low >= 0 and high <= 1:
        return image
    note(f"image '{name}' has values from {low:.4g} to {high:.4g}: clipped to [0, 1]")
    return image.clamp(0, 1)
