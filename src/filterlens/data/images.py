# SPDX-License-Identifier: Apache-2.0
"""Read images of every kind as pixels, mostly as 8-bit RGB, or raise a clear error; and write them."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from filterlens.data.beyond_pillow import is_tiff, read_other_tiff
from filterlens.data.levels import BITS_PER_SAMPLE, gray_levels, gray_values
from filterlens.errors import FilterlensError, UsageError, first_line
from filterlens.execution.memory import memory_available
from filterlens.files import whole_file
from filterlens.progress import Note, silent

Array = npt.NDArray[Any]
PLANES, IN_PLANES = 284, 2  # a tag of TIFFs, and its value where each colour is stored separately
READING = 24.0  # bytes a pixel: as Pillow unpacks it, as an array, and as float32 colours
_ALWAYS = 256 << 20  # bytes that are always allowed, without asking the system
_RESERVE = 0.9  # share of the free memory that an image may take
_GRAY = ("1", "L", "LA", "I", "F")


def read_image(path: Path | str, note: Note = silent, *, opacity: bool = False) -> Tensor:
    """Read an image as RGB ``(3, H, W)`` uint8.

    Gray becomes three equal channels, deeper values become 8 bits as :mod:`filterlens.data.levels` says, CMYK, LAB and
    palettes are converted, transparency is laid over white, and the EXIF orientation is applied.

    Args:
        path: File to read.
        note: Receiver of one line where values outside the range of the file's type are clipped.
        opacity: Give the opacity of a file that has one as a fourth channel, ``(4, H, W)``, instead.

    Raises:
        FilterlensError: The file is missing, truncated, no image, larger than memory, or suspiciously large (above
            twice Pillow's ``Image.MAX_IMAGE_PIXELS``, about 179 million pixels), or holds NaN.
    """
    with refusals(path):
        pixels = other_pixels(path, note)
        if pixels is None:
            with opened(path) as image:
                ImageOps.exif_transpose(image, in_place=True)
                pixels = pillow_pixels(image, path, note, bits=8)
        return _as_tensor(pixels, opacity)


def of_pillow(image: Image.Image, name: str, note: Note = silent, *, opacity: bool = False) -> Tensor:
    """Return the pixels of a Pillow image as :func:`read_image` returns those of a file.

    Raises:
        FilterlensError: It cannot be decoded, or holds NaN.
    """
    with refusals(name):
        return _as_tensor(pillow_pixels(ImageOps.exif_transpose(image), name, note, bits=8), opacity)


@contextlib.contextmanager
def opened(path: Path | str, bytes_per_pixel: float = READING, remedy: str = "") -> Iterator[Image.Image]:
    """Open an image lazily; every failure until the block ends becomes an error that names the file.

    Args:
        path: The file.
        bytes_per_pixel: Memory that the job needs for a pixel; an image that is too large for it is refused at once.
        remedy: Further advice for that error.

    Raises:
        FilterlensError: As for :func:`read_image`.
    """
    with refusals(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a 100-megapixel photograph is legitimate
        with Image.open(path) as image:
            check_memory(path, *image.size, bytes_per_pixel, remedy)
            yield image


def check_memory(path: Path | str, width: int, height: int, bytes_per_pixel: float, remedy: str = "") -> None:
    """Refuse an image that would take more memory than is free, before a byte of it is unpacked.

    Args:
        path: The file, for the error.
        width: Width in pixels, from the header.
        height: Height in pixels.
        bytes_per_pixel: Memory that the job needs for a pixel, at its peak.
        remedy: Further advice, in addition to freeing memory and cutting the image.

    Raises:
        FilterlensError: It does not fit.
    """
    needed = float(width) * height * bytes_per_pixel
    if needed <= _ALWAYS:
        return
    free = _RESERVE * memory_available()
    if needed > free:
        raise FilterlensError(
            f"Image '{path}' of {width}x{height} pixels would take about {needed / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} GiB can be had. Free memory, cut it into parts{remedy}."
        )


@contextlib.contextmanager
def refusals(path: Path | str) -> Iterator[None]:
    """Turn every failure while a file is read into an error that names it.

    Raises:
        FilterlensError: As for :func:`read_image`.
    """
    try:
        yield
    except FilterlensError:
        raise
    except FileNotFoundError:
        raise FilterlensError(f"Image '{path}' does not exist.") from None
    except UnidentifiedImageError:
        raise FilterlensError(
            f"'{path}' is not an image that Pillow can read. Remove it or convert it to PNG."
        ) from None
    except Image.DecompressionBombError as error:
        raise FilterlensError(
            f"Image '{path}' is suspiciously large and may be a decompression bomb ({error}) "
            "Remove it, cut it into parts, or raise the limit where the command has --max-megapixels."
        ) from error
    except MemoryError:
        raise FilterlensError(f"Image '{path}' does not fit into memory. Free memory, or cut it into parts.") from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files: struct.error, EOFError, …
        reason = first_line(error).rstrip(".") or type(error).__name__
        raise FilterlensError(
            f"Cannot read image '{path}': {reason}. Remove it or replace it by an intact copy."
        ) from error


@contextlib.contextmanager
def pixel_limit(pixels: float | None) -> Iterator[None]:
    """Refuse images of more pixels while the block runs, before they are decoded; None leaves Pillow's limit.

    The limit is Pillow's and so that of the whole process: one caller at a time.

    Raises:
        UsageError: The limit is not a positive number.
    """
    if pixels is None:
        yield
        return
    if not pixels > 0:
        raise UsageError(f"A limit of {pixels:g} pixels is not legal: a positive number.")
    before: int | None = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = pixels / 2  # type: ignore[assignment]  # Pillow refuses what is above twice its limit
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def image_size(path: Path | str) -> tuple[int, int]:
    """Return width and height as the file's header says, before any EXIF rotation.

    Raises:
        FilterlensError: As for :func:`read_image`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                return image.size
        except Exception:
            height, width = read_image(path).shape[-2:]  # says what is wrong with the file
            return width, height


def is_gray(image: Image.Image) -> bool:
    """Whether an opened image is gray, with or without opacity."""
    return image.mode in _GRAY or image.mode.startswith("I;16")


def pillow_pixels(image: Image.Image, path: Path | str, note: Note, bits: int = 16) -> Array:
    """Return ``(H, W, channels)`` uint8 or uint16 of what Pillow opened: gray or RGB, with opacity or without.

    Args:
        image: The opened image, upright.
        path: The file, for notes and errors.
        note: Receiver of one line where values are clipped.
        bits: 8, or 16 to keep the depth of gray images.
    """
    levels = gray_levels(image)
    if levels is not None:
        levels = replace(levels, bits=min(bits, levels.bits))
        return levels.of(gray_values(image), path, note)[..., None]
    gray = is_gray(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        straight = image.convert("LA") if image.mode == "La" else image  # not premultiplied
        pixels = np.array(straight.convert("RGBA"))
        return pixels[..., [0, 3]] if gray else pixels
    if gray:
        return np.array(image.convert("L"))[..., None]
    return np.array(_from_lab(image) if image.mode == "LAB" else image.convert("RGB"))


def _from_lab(image: Image.Image) -> Image.Image:
    """Return the sRGB colours of a CIELAB image, which Pillow alone does not convert."""
    from PIL import ImageCms

    lab, rgb = (ImageCms.createProfile(name) for name in ("LAB", "sRGB"))
    converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
    assert converted is not None
    return converted


def other_pixels(path: Path | str, note: Note = silent, bytes_per_pixel: float = READING) -> Array | None:
    """Read a TIFF that Pillow refuses (:func:`filterlens.data.beyond_pillow.read_other_tiff`); None for other files."""
    with refusals(path):
        if not is_tiff(path) or _pillow_reads(path):
            return None

        def check_size(width: int, height: int) -> None:
            if Image.MAX_IMAGE_PIXELS and width * height > 2 * Image.MAX_IMAGE_PIXELS:  # as for Pillow's own images
                raise FilterlensError(
                    f"Image '{path}' of {width}x{height} pixels is suspiciously large. Remove it, or cut it into parts."
                )
            check_memory(path, width, height, bytes_per_pixel)

        return read_other_tiff(path, check_size, note)


def _pillow_reads(path: Path | str) -> bool:
    """Whether Pillow reads a TIFF, and correctly: it mixes up 16-bit colours in planes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                tags = getattr(image, "tag_v2", {})
                return not (tags.get(PLANES) == IN_PLANES and max(tags.get(BITS_PER_SAMPLE, (8,))) > 8)
    except UnidentifiedImageError:
        return False


def _as_tensor(pixels: Array, opacity: bool) -> Tensor:
    """Return pixels ``(H, W, channels)`` as 8-bit ``(3, H, W)``, or ``(4, H, W)`` with the opacity that they have."""
    shallow = pixels if pixels.dtype == np.uint8 else (pixels / 257).round().astype(np.uint8)
    if opacity and shallow.shape[2] in (2, 4):
        chosen = shallow[..., [0, 0, 0, 1]] if shallow.shape[2] == 2 else shallow
    else:
        chosen = np.array(_as_rgb(shallow))
    return torch.from_numpy(chosen).permute(2, 0, 1).contiguous()


def _as_rgb(shallow: Array) -> Image.Image:
    """Return the RGB image of 8-bit pixels ``(H, W, channels)``; transparency is laid over white."""
    image = Image.fromarray(shallow[..., 0] if shallow.shape[2] == 1 else shallow)
    if shallow.shape[2] in (2, 4):
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def crop_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Cut the right and lower border of ``(…, H, W)`` so that both sides are multiples of ``multiple``."""
    height, width = image.shape[-2:]
    return image[..., : height - height % multiple, : width - width % multiple]


def to_float(image: Tensor) -> Tensor:
    """Turn one uint8 image ``(3, H, W)`` into a batch ``(1, 3, H, W)`` of float32 in [0, 1]."""
    return image.unsqueeze(0).float() / 255


def to_uint8(image: Tensor) -> Tensor:
    """Turn ``(3, H, W)`` or ``(1, 3, H, W)`` in [0, 1] into uint8 ``(3, H, W)``, clipped and rounded."""
    flat = image.detach().squeeze(0) if image.ndim == 4 else image.detach()
    return (flat.float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)


def write_image(path: Path | str, image: Tensor) -> None:
    """Write ``(3, H, W)`` uint8 as PNG, whole or not at all."""
    with whole_file(path) as temporary:
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(temporary, "PNG")


def center_crop(image: Tensor, size: int) -> Tensor:
    """Cut the central square of at most ``size`` pixels out of ``(…, H, W)``."""
    height, width = image.shape[-2:]
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    return image[..., top : top + size, left : left + size]
