# SPDX-License-Identifier: Apache-2.0
"""Images with all that a user wants back: 8 or 16 bits, gray or colour, transparency, and what the file says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from filterlens.data.deep_png import is_deep_png, read_deep_png, write_deep_png
from filterlens.data.images import from_lab, has_opacity, opened, other_pixels, to_rgba
from filterlens.data.levels import Note, gray_levels, gray_values, silent
from filterlens.data.listing import shown
from filterlens.data.memory import READING
from filterlens.data.metadata import Metadata
from filterlens.data.other_tiff import write_deep_tiff
from filterlens.data.transparency import filled
from filterlens.data.upright import ORIENTATION, UPRIGHT
from filterlens.errors import FilterlensError, first_line
from filterlens.files import whole_file

Array = npt.NDArray[Any]
PNG, WEBP = ".png", ".webp"
LONGEST_WEBP = 16_383
_GRAY = ("1", "L", "LA", "I", "F")
_LUMA = (0.299, 0.587, 0.114)  # BT.601, as Pillow's
_BANDS = 1 << 18  # pixels whose values are computed at once: a large image has no second copy in float32


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as it is restored and written again.

    Attributes:
        colours: ``(1, 3, H, W)`` float32 in [0, 1]; three equal channels where gray.
        alpha: Opacity ``(1, 1, H, W)`` in [0, 1], or None where the file has none.
        bits: Per channel in the file, 8 or 16.
        gray: Whether it is written as gray.
        metadata: Profile, EXIF and so on.
        frames: More than 1 for an animation, of which this is the first frame.
    """

    colours: Tensor
    alpha: Tensor | None = None
    bits: int = 8
    gray: bool = False
    metadata: Metadata = field(default_factory=Metadata)
    frames: int = 1

    @property
    def seen(self) -> Tensor:
        """The colours as a network should see them: beneath full transparency those of the nearest visible pixel."""
        return self.colours if self.alpha is None else filled(self.colours, self.alpha)

    def restored(self, colours: Tensor) -> "Picture":
        """Return the picture with new colours ``(1, 3, H·s, W·s)``; the opacity is up-sampled by cubic splines."""
        alpha, size = self.alpha, colours.shape[-2:]
        if alpha is not None and alpha.shape[-2:] != size:
            alpha = F.interpolate(alpha, size=tuple(size), mode="bicubic").clamp(0, 1)
        return replace(self, colours=colours, alpha=alpha)

    def pixels(self, bits: int | None = None) -> Array:
        """Return ``(H, W, channels)`` as a file holds them, clipped and rounded; uint8 or uint16."""
        depth = bits or self.bits
        height, width = self.colours.shape[-2:]
        channels = (1 if self.gray else 3) + (self.alpha is not None)
        pixels: Array = np.empty((height, width, channels), np.uint8 if depth == 8 else np.uint16)
        for rows in _bands(height, width):
            for channel, plane in enumerate((self._values(rows) * (2**depth - 1)).round().numpy()):
                pixels[rows, :, channel] = plane
        return pixels

    def over_white(self) -> "Picture":
        """Return the picture without transparency, laid over white as browsers do."""
        if self.alpha is None:
            return self
        colours = self.colours.detach().float().cpu().clamp(0, 1)
        return replace(self, colours=colours * self.alpha + (1 - self.alpha), alpha=None)

    def _values(self, rows: slice) -> Tensor:
        """Return ``(channels, rows, W)`` in [0, 1] of some rows."""
        colours = self.colours[0, :, rows].detach().float().cpu().clamp(0, 1)
        if self.gray:
            colours = (colours * torch.tensor(_LUMA).view(3, 1, 1)).sum(0, keepdim=True)
        return colours if self.alpha is None else torch.cat([colours, self.alpha[0, :, rows]])


def read_picture(
    path: Path | str, note: Note = silent, *, bytes_per_pixel: float = READING, remedy: str = ""
) -> Picture:
    """Read an image upright with its depth, transparency and metadata.

    16 bits are kept of PNGs and of gray TIFFs; other deep formats become 8 bits as :mod:`filterlens.data.levels` says,
    CMYK, LAB and palettes RGB.

    Args:
        path: Of the file.
        note: Told in one line where values are clipped.
        bytes_per_pixel: What the job takes for a pixel, see :func:`filterlens.data.images.opened`.
        remedy: What else can be done where memory does not suffice.

    Raises:
        FilterlensError: As for :func:`filterlens.data.images.read_image`.
    """
    other = other_pixels(path, note, bytes_per_pixel)
    if other is not None:
        return _picture(other, Metadata(), 1)
    with opened(path, bytes_per_pixel, remedy) as image:
        orientation = image.getexif().get(ORIENTATION, 1)
        gray = image.mode in _GRAY or image.mode.startswith("I;16")
        if is_deep_png(path):
            image.load()  # also for the texts behind the pixels
            pixels: Array = UPRIGHT.get(orientation, np.asarray)(read_deep_png(path, image))
            gray = pixels.shape[2] <= 2
            ImageOps.exif_transpose(image, in_place=True)
        else:
            ImageOps.exif_transpose(image, in_place=True)
            pixels = _pixels(image, gray, path, note)
        metadata = Metadata.of(image, image, gray=gray)
        frames = getattr(image, "n_frames", 1)
    return _picture(pixels, metadata, frames)


def _picture(pixels: Array, metadata: Metadata, frames: int) -> Picture:
    height, width, channels = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    values = torch.empty(1, channels, height, width)
    for channel, plane in enumerate(values[0].numpy()):
        np.divide(pixels[..., channel], np.float32(2**bits - 1), out=plane)
    colours, alpha = (values[:, :-1], values[:, -1:].clone()) if channels in (2, 4) else (values, None)
    return Picture(colours.expand(-1, 3, -1, -1), alpha, bits, channels <= 2, metadata, frames)


def _bands(height: int, width: int) -> Iterator[slice]:
    step = max(1, _BANDS // width)
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def _pixels(image: Image.Image, gray: bool, path: Path | str, note: Note) -> Array:
    """Return ``(H, W, channels)`` uint8 or uint16 of what Pillow read."""
    levels = gray_levels(image)
    if levels is not None:
        return levels.of(gray_values(image), path, note)[..., None]
    if has_opacity(image):
        pixels = np.array(to_rgba(image))
        return pixels[..., [0, 3]] if gray else pixels
    if gray:
        return np.array(image.convert("L"))[..., None]
    return np.array(from_lab(image) if image.mode == "LAB" else image.convert("RGB"))


def write_picture(path: Path | str, picture: Picture, note: Note = silent) -> None:
    """Write a picture in the format that the name says, whole or not at all.

    PNG and TIFF hold everything, WebP (without loss) all but 16 bits, BMP neither these nor transparency, and JPEG
    (quality 95, full colour resolution) changes colours a little. What a format cannot hold is told.

    Args:
        path: Ends in one of :data:`WRITTEN`; any other name gets a PNG.
        picture: What to write.
        note: Told in one line what is lost.

    Raises:
        FilterlensError: The file cannot be written, or the format has no place for so many pixels.
    """
    check_writable(path, picture)
    written = WRITTEN.get(Path(path).suffix.lower(), WRITTEN[PNG])
    held = _as_held(written, picture, path, note)
    with whole_file(path) as temporary:
        try:
            written.save(temporary, held)
        except OSError:
            raise
        except Exception as error:  # odd metadata: a profile, an EXIF block that the format refuses
            if held.metadata == Metadata():
                raise FilterlensError(f"Cannot write '{path}': {first_line(error)}.") from error
            note(f"'{shown(Path(path).name)}': its metadata cannot be written and is left out ({first_line(error)})")
            written.save(temporary, replace(held, metadata=Metadata()))


def check_writable(path: Path | str, picture: Picture) -> None:
    """Refuse a picture that is larger than the format allows.

    Raises:
        FilterlensError: It is.
    """
    height, width = picture.colours.shape[-2:]
    written = WRITTEN.get(Path(path).suffix.lower(), WRITTEN[PNG])
    if max(height, width) > written.longest:
        raise FilterlensError(
            f"'{path}' would be {width}x{height}, but a {written.name} has at most {written.longest} pixels a side. "
            "Write a PNG; for a folder, convert the input to PNG."
        )


def _as_held(written: "Written", picture: Picture, path: Path | str, note: Note) -> Picture:
    """Reduce a picture to what a format holds, and say so."""
    lost = []
    if picture.bits > written.bits:
        lost.append(f"{written.bits} of {picture.bits} bits")
        picture = replace(picture, bits=written.bits)
    if picture.alpha is not None and not written.has_opacity:
        lost.append("transparency, laid over white")
        picture = picture.over_white()
    if lost:
        note(f"'{shown(Path(path).name)}': a {written.name} cannot hold all ({'; '.join(lost)})")
    return picture


@dataclass(frozen=True)
class Written:
    """A format that is written.

    Attributes:
        name: For people.
        save: Writes a picture into a file that is replaced.
        bits: Per channel at most.
        has_opacity: Whether it holds transparency.
        longest: Pixels a side at most.
    """

    name: str
    save: Callable[[Path, Picture], None]
    bits: int = 8
    has_opacity: bool = True
    longest: int = 2**31 - 1


def _save_png(path: Path, picture: Picture) -> None:
    if picture.bits == 16:
        write_deep_png(path, picture.pixels(), picture.metadata.for_png())
    else:
        _as_image(picture).save(path, "PNG", **picture.metadata.for_png())


def _save_webp(path: Path, picture: Picture) -> None:
    _as_image(picture).save(path, "WEBP", lossless=True, exact=True, **picture.metadata.for_webp())


def _save_jpeg(path: Path, picture: Picture) -> None:
    _as_image(picture).save(path, "JPEG", quality=95, subsampling=0, **picture.metadata.for_jpeg())


def _save_bmp(path: Path, picture: Picture) -> None:
    _as_image(picture).save(path, "BMP", **picture.metadata.for_bmp())


def _save_tiff(path: Path, picture: Picture) -> None:
    if picture.bits == 16:
        write_deep_tiff(path, picture.pixels(), picture.metadata.icc, picture.metadata.dpi)
    else:
        _as_image(picture).save(path, "TIFF", compression="tiff_adobe_deflate", **picture.metadata.for_tiff())


_JPEG = Written("JPEG", _save_jpeg, has_opacity=False, longest=65_500)
_TIFF = Written("TIFF", _save_tiff, bits=16)
WRITTEN: dict[str, Written] = {
    PNG: Written("PNG", _save_png, bits=16),
    WEBP: Written("WebP", _save_webp, longest=LONGEST_WEBP),
    **dict.fromkeys((".jpg", ".jpeg"), _JPEG),
    **dict.fromkeys((".tif", ".tiff"), _TIFF),
    ".bmp": Written("BMP", _save_bmp, has_opacity=False),
}


def _as_image(picture: Picture) -> Image.Image:
    pixels = picture.pixels(8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
