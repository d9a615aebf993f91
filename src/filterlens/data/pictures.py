# SPDX-License-Identifier: Apache-2.0
"""Pictures with everything that restoration must keep: 8 or 16 bits, gray or colour, transparency, and metadata."""

import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo, iTXt
from torch import Tensor

from filterlens.data.beyond_pillow import (
    ORIENTATION,
    UPRIGHT,
    is_deep_png,
    read_deep_png,
    write_deep_png,
    write_deep_tiff,
)
from filterlens.data.images import READING, is_gray, opened, other_pixels, pillow_pixels
from filterlens.data.levels import bands
from filterlens.data.listing import shown
from filterlens.errors import FilterlensError, first_line
from filterlens.files import whole_file
from filterlens.progress import Note, silent

Array = npt.NDArray[Any]
PNG, WEBP = ".png", ".webp"
LONGEST_WEBP = 16_383
_LUMA = (0.299, 0.587, 0.114)  # BT.601, as Pillow's
INVISIBLE = 0.5 / 255  # opacity below which 8 bits say 0
_XMP_IN_PNG = "XML:com.adobe.xmp"
_COLOUR_SPACES = {False: b"RGB ", True: b"GRAY"}  # gray or not → bytes 16 to 20 of a fitting ICC profile


@dataclass(frozen=True)
class Metadata:
    """Metadata of a file, with the orientation already applied to the pixels and taken out.

    Attributes:
        icc: Colour profile; None where it is missing or fits another colour space than that of the pixels.
        exif: EXIF block.
        xmp: XMP packet.
        texts: Key → text of a PNG's text chunks.
        colours: Names of a PNG's colour chunks (gAMA, cHRM, sRGB) → content.
        dpi: Resolution, across and down.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    colours: Mapping[bytes, bytes] = field(default_factory=dict)
    dpi: tuple[float, float] | None = None

    @classmethod
    def of(cls, image: Image.Image, *, gray: bool) -> "Metadata":
        """Take the metadata of an image.

        Args:
            image: The loaded image (a PNG's texts behind the pixels are known then) after ``ImageOps.exif_transpose``.
            gray: True where the pixels stay gray; a profile must fit that.
        """
        info = image.info
        texts = {key: text for key, text in getattr(image, "text", {}).items() if key != _XMP_IN_PNG}
        return cls(
            icc=_fitting(info.get("icc_profile"), gray),
            exif=info.get("exif"),
            xmp=_as_bytes(info.get("xmp") or info.get(_XMP_IN_PNG)),
            texts=texts,
            colours=_colour_chunks(info) if image.format == "PNG" else {},
            dpi=info.get("dpi"),
        )

    def arguments(self, places: Collection[str]) -> dict[str, Any]:
        """Return the arguments with which Pillow writes it.

        Args:
            places: The places that a format has for metadata: names of Pillow's arguments; ``pnginfo`` holds texts,
                colour chunks and XMP.
        """
        every = {"icc_profile": self.icc, "exif": self.exif, "xmp": self.xmp, "dpi": self.dpi}
        given = {name: every[name] for name in places if every.get(name)}
        return {"pnginfo": self._chunks(), **given} if "pnginfo" in places else given

    def _chunks(self) -> PngInfo:
        chunks = PngInfo()
        for name, content in self.colours.items():
            chunks.add(name, content)
        for key, text in self.texts.items():
            if isinstance(text, iTXt):
                chunks.add_itxt(key, text, text.lang or "", text.tkey or "")
            else:
                chunks.add_text(key, text)
        if self.xmp:
            chunks.add_itxt(_XMP_IN_PNG, self.xmp.decode("utf-8", "replace"))
        return chunks


def _fitting(profile: bytes | None, gray: bool) -> bytes | None:
    """Drop a profile of another colour space: a CMYK profile says nothing of RGB pixels."""
    return profile if profile and profile[16:20] == _COLOUR_SPACES[gray] else None


def _as_bytes(packet: str | bytes | None) -> bytes | None:
    return packet.encode() if isinstance(packet, str) else packet


def _colour_chunks(info: Mapping[str | tuple[int, int], Any]) -> dict[bytes, bytes]:
    chunks = {}
    if "gamma" in info:
        chunks[b"gAMA"] = struct.pack(">I", round(info["gamma"] * 100_000))
    if "chromaticity" in info:
        chunks[b"cHRM"] = struct.pack(">8I", *(round(value * 100_000) for value in info["chromaticity"]))
    if "srgb" in info:
        chunks[b"sRGB"] = bytes([info["srgb"]])
    return chunks


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as it is restored and written again.

    Attributes:
        colours: ``(1, 3, H, W)`` float32 in [0, 1]; three equal channels where gray.
        alpha: Opacity ``(1, 1, H, W)`` in [0, 1], or None where the file has none.
        bits: Per channel in the file, 8 or 16.
        gray: True where it is written as gray.
        metadata: Profile, EXIF and so on.
        frames: Number of frames; this is the first one.
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
        for rows in bands(height, width):
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
        path: The file.
        note: Receives one line where values are clipped.
        bytes_per_pixel: Memory that the job needs for a pixel, see :func:`filterlens.data.images.opened`.
        remedy: Further advice where memory does not suffice.

    Raises:
        FilterlensError: As for :func:`filterlens.data.images.read_image`.
    """
    other = other_pixels(path, note, bytes_per_pixel)
    if other is not None:
        return _picture(other, Metadata(), 1)
    with opened(path, bytes_per_pixel, remedy) as image:
        orientation = image.getexif().get(ORIENTATION, 1)
        gray = is_gray(image)
        if is_deep_png(path):
            image.load()  # also for the texts behind the pixels
            pixels: Array = UPRIGHT.get(orientation, np.asarray)(read_deep_png(path, image))
            gray = pixels.shape[2] <= 2
            ImageOps.exif_transpose(image, in_place=True)
        else:
            ImageOps.exif_transpose(image, in_place=True)
            pixels = pillow_pixels(image, path, note)
        metadata = Metadata.of(image, gray=gray)
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


def filled(colours: Tensor, alpha: Tensor) -> Tensor:
    """Give invisible pixels the colour of the nearest visible one; the others stay as they are.

    The colours beneath full transparency mean nothing; often they are black, and a network would draw them into the
    visible edge.

    Args:
        colours: ``(1, 3, H, W)``.
        alpha: Opacity ``(1, 1, H, W)`` in [0, 1].

    Returns:
        The same tensor where all or none can be seen, else a filled copy.
    """
    hidden = alpha[0, 0] < INVISIBLE
    if not hidden.any() or hidden.all():
        return colours
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(hidden.numpy(), return_distances=False, return_indices=True)
    rows, columns = (torch.from_numpy(each)[hidden].long() for each in nearest)
    changed = colours.clone(memory_format=torch.contiguous_format)
    changed[..., hidden] = colours[..., rows, columns]
    return changed


def write_picture(path: Path | str, picture: Picture, note: Note = silent) -> None:
    """Write a picture in the format that the name says, whole or not at all.

    PNG and TIFF hold everything, WebP (without loss) all but 16 bits, BMP neither these nor transparency, and JPEG
    (quality 95, full colour resolution) changes colours a little. A note names what a format cannot hold.

    Args:
        path: Ends in one of :data:`WRITTEN`; any other name gets a PNG.
        picture: The picture.
        note: Receives one line on what is lost.

    Raises:
        FilterlensError: The file cannot be written, or the format has no place for so many pixels.
    """
    check_writable(path, picture)
    chosen = WRITTEN.get(Path(path).suffix.lower(), WRITTEN[PNG])
    held = _as_held(chosen, picture, path, note)
    with whole_file(path) as temporary:
        try:
            chosen.save(temporary, held)
        except OSError:
            raise
        except Exception as error:  # odd metadata: a profile, an EXIF block that the format refuses
            if held.metadata == Metadata():
                raise FilterlensError(f"Cannot write '{path}': {first_line(error)}.") from error
            note(f"'{shown(Path(path).name)}': its metadata cannot be written and is left out ({first_line(error)})")
            chosen.save(temporary, replace(held, metadata=Metadata()))


def check_writable(path: Path | str, picture: Picture) -> None:
    """Refuse a picture that is larger than the format allows.

    Raises:
        FilterlensError: It is larger.
    """
    height, width = picture.colours.shape[-2:]
    chosen = WRITTEN.get(Path(path).suffix.lower(), WRITTEN[PNG])
    if max(height, width) > chosen.longest:
        raise FilterlensError(
            f"'{path}' would be {width}x{height}, but a {chosen.name} has at most {chosen.longest} pixels a side. "
            "Write a PNG; for a folder, convert the input to PNG."
        )


def _as_held(chosen: "Format", picture: Picture, path: Path | str, note: Note) -> Picture:
    """Reduce a picture to the capabilities of a format, with a note."""
    lost = []
    if picture.bits > chosen.bits:
        lost.append(f"{chosen.bits} of {picture.bits} bits")
        picture = replace(picture, bits=chosen.bits)
    if picture.alpha is not None and not chosen.has_opacity:
        lost.append("transparency, laid over white")
        picture = picture.over_white()
    if lost:
        note(f"'{shown(Path(path).name)}': a {chosen.name} cannot hold all ({'; '.join(lost)})")
    return picture


@dataclass(frozen=True)
class Format:
    """A file format for pictures.

    Attributes:
        name: Name in messages; in capitals Pillow's.
        metadata: Places for metadata, as in :meth:`Metadata.arguments`.
        options: Further arguments with which Pillow writes it.
        write_deep: Function that writes 16 bits per channel; None where the format holds 8.
        has_opacity: True where it holds transparency.
        longest: Greatest number of pixels of a side.
    """

    name: str
    metadata: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    write_deep: Callable[[Path, Array, Metadata], None] | None = None
    has_opacity: bool = True
    longest: int = 2**31 - 1

    @property
    def bits(self) -> int:
        """Greatest depth of a channel."""
        return 8 if self.write_deep is None else 16

    def save(self, path: Path, picture: Picture) -> None:
        """Write a picture of a depth that the format holds."""
        if self.write_deep is not None and picture.bits == 16:
            self.write_deep(path, picture.pixels(), picture.metadata)
            return
        pixels = picture.pixels(8)
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        image.save(path, self.name.upper(), **self.options, **picture.metadata.arguments(self.metadata))


def _deep_png(path: Path, pixels: Array, metadata: Metadata) -> None:
    write_deep_png(path, pixels, metadata.arguments(_IN_PNG))


def _deep_tiff(path: Path, pixels: Array, metadata: Metadata) -> None:
    write_deep_tiff(path, pixels, metadata.icc, metadata.dpi)


_IN_PNG = ("pnginfo", "icc_profile", "exif", "dpi")
_JPEG = Format(
    "JPEG",
    ("icc_profile", "exif", "xmp", "dpi"),
    {"quality": 95, "subsampling": 0},
    has_opacity=False,
    longest=65_500,
)
_TIFF = Format("TIFF", ("icc_profile", "dpi"), {"compression": "tiff_adobe_deflate"}, _deep_tiff)
WRITTEN: dict[str, Format] = {
    PNG: Format("PNG", _IN_PNG, write_deep=_deep_png),
    WEBP: Format("WebP", ("icc_profile", "exif", "xmp"), {"lossless": True, "exact": True}, longest=LONGEST_WEBP),
    **dict.fromkeys((".jpg", ".jpeg"), _JPEG),
    **dict.fromkeys((".tif", ".tiff"), _TIFF),
    ".bmp": Format("BMP", ("dpi",), has_opacity=False),
}
