# SPDX-License-Identifier: Apache-2.0
"""What an image file says besides its pixels: colour profile, EXIF, XMP, texts, resolution; kept from file to file."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo, iTXt

_XMP_IN_PNG = "XML:com.adobe.xmp"
_COLOUR_SPACES = {False: b"RGB ", True: b"GRAY"}  # gray or not → bytes 16 to 20 of a fitting ICC profile


@dataclass(frozen=True)
class Metadata:
    """What is kept of a file, with the orientation already applied to the pixels and taken out.

    Attributes:
        icc: Colour profile; None also where it is of another colour space than the pixels now are.
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
    def of(cls, image: Image.Image, upright: Image.Image, *, gray: bool) -> "Metadata":
        """Take what a loaded image says.

        Args:
            image: As the file was opened; a PNG's texts behind the pixels are known once it is loaded.
            upright: The same after ``ImageOps.exif_transpose``.
            gray: Whether the pixels stay gray; decides which profile fits.
        """
        info = upright.info
        texts = {key: text for key, text in getattr(image, "text", {}).items() if key != _XMP_IN_PNG}
        return cls(
            icc=_fitting(info.get("icc_profile"), gray),
            exif=info.get("exif"),
            xmp=_as_bytes(info.get("xmp") or info.get(_XMP_IN_PNG)),
            texts=texts,
            colours=_colour_chunks(info) if image.format == "PNG" else {},
            dpi=info.get("dpi"),
        )

    def for_png(self) -> dict[str, Any]:
        """Return the arguments with which Pillow writes it into a PNG."""
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
        return {"pnginfo": chunks} | self._given("icc_profile", "exif", "dpi")

    def for_webp(self) -> dict[str, Any]:
        """Return the arguments with which Pillow writes it into a WebP, which has no place for texts."""
        return self._given("icc_profile", "exif", "xmp")

    def for_jpeg(self) -> dict[str, Any]:
        """Return the arguments with which Pillow writes it into a JPEG."""
        return self._given("icc_profile", "exif", "xmp", "dpi")

    def for_tiff(self) -> dict[str, Any]:
        """Return the arguments with which Pillow writes it into a TIFF."""
        return self._given("icc_profile", "dpi")

    def for_bmp(self) -> dict[str, Any]:
        """Return the arguments with which Pillow writes it into a BMP, which knows no more."""
        return self._given("dpi")

    def _given(self, *names: str) -> dict[str, Any]:
        every = {"icc_profile": self.icc, "exif": self.exif, "xmp": self.xmp, "dpi": self.dpi}
        return {name: every[name] for name in names if every[name]}


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
