# SPDX-License-Identifier: Apache-2.0
"""Reading and writing images: whatever a user has becomes 8-bit RGB, or a clear error."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from filterlens.errors import FilterlensError, UsageError
from filterlens.files import whole_file

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})


def read_image(path: Path | str) -> Tensor:
    """Read an image as RGB ``(3, H, W)`` uint8.

    Gray becomes three equal channels, 16-bit gray is scaled to 8 bits, CMYK and palettes are converted, transparency is
    laid over white, and the EXIF orientation is applied.

    Raises:
        FilterlensError: The file is missing, truncated, no image, or suspiciously large (above twice Pillow's
            ``Image.MAX_IMAGE_PIXELS``, about 179 million pixels).
    """
    with opened(path) as image:
        pixels = np.array(_to_rgb(ImageOps.exif_transpose(image)))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


@contextlib.contextmanager
def opened(path: Path | str) -> Iterator[Image.Image]:
    """Open an image lazily; whatever goes wrong until the block ends becomes an error that names the file.

    Raises:
        FilterlensError: As for :func:`read_image`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a 100-megapixel photograph is legitimate
            with Image.open(path) as image:
                yield image
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
            "Remove it, or cut it into parts."
        ) from error
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files: struct.error, EOFError, …
        reason = str(error).rstrip(".") or type(error).__name__
        raise FilterlensError(
            f"Cannot read image '{path}': {reason}. Remove it or replace it by an intact copy."
        ) from error


@contextlib.contextmanager
def pixel_limit(pixels: float | None) -> Iterator[None]:
    """Refuse images of more pixels while the block runs, before they are decoded; None leaves Pillow's limit.

    The limit is Pillow's and so that of the whole process: one caller at a time.

    Raises:
        UsageError: The limit is no positive number.
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


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(to_8_bits(image)).convert("RGB")
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def to_8_bits(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Scale 16-bit gray, integers above 255 and floats in [0, 1] to 0 … 255; take other values as they are."""
    values = np.nan_to_num(np.array(image, dtype=np.float64))
    brightest = values.max(initial=0)
    if image.mode == "F" and brightest <= 1:
        values = values * 255
    elif image.mode.startswith("I;16") or brightest > 255:
        values = values / 257
    return values.round().clip(0, 255).astype(np.uint8)


def list_images(folder: Path | str) -> tuple[list[Path], list[Path]]:
    """List a folder's images in the order of their names, and the files beside them that are none.

    A path to one file counts as a folder with that file.

    Raises:
        FilterlensError: The folder is missing or holds no image, or two images share a stem.
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder], []
    if not folder.is_dir():
        raise FilterlensError(f"Image folder '{folder}' does not exist.")
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise FilterlensError(f"Cannot list folder '{folder}': {error.strerror or error}.") from error
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not images:
        raise FilterlensError(f"Folder '{folder}' holds no image. Known suffixes: {' '.join(sorted(SUFFIXES))}.")
    stems = [path.stem for path in images]
    twice = {stem for stem in stems if stems.count(stem) > 1}
    if twice:
        raise FilterlensError(
            f"Folder '{folder}' holds two images named '{min(twice)}' with different suffixes. Rename one."
        )
    return images, [path for path in files if path not in set(images)]


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


def read_folder(folder: Path | str) -> dict[str, Tensor]:
    """Read every image of a folder: stem → RGB ``(3, H, W)`` uint8. Errors as in :func:`read_image`."""
    return {path.stem: read_image(path) for path in list_images(folder)[0]}


def read_folders(folders: Sequence[Path | str]) -> list[Tensor]:
    """Read every image of several folders into one list, in order."""
    return [image for folder in folders for image in read_folder(folder).values()]
