# SPDX-License-Identifier: Apache-2.0
"""Images with all that a user wants back: 8 or 16 bits, gray or colour, transparency, and what the file says."""

from collections.abc import Callable
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
from filterlens.data.images import opened, to_8_bits
from filterlens.data.metadata import Metadata
from filterlens.errors import FilterlensError
from filterlens.files import whole_file

Array = npt.NDArray[Any]
PNG, WEBP = ".png", ".webp"
LONGEST_WEBP = 16_383
_GRAY = ("1", "L", "LA", "I", "F")
_LUMA = (0.299, 0.587, 0.114)  # BT.601, as Pillow's
_ORIENTATION = 0x0112
_UPRIGHT: dict[int, Callable[[Array], Array]] = {  # EXIF orientation → what sets (H, W, channels) upright
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


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

    def restored(self, colours: Tensor) -> "Picture":
        """Return the picture with new colours ``(1, 3, H·s, W·s)``; the opacity is up-sampled by cubic splines."""
        alpha, size = self.alpha, colours.shape[-2:]
        if alpha is not None and alpha.shape[-2:] != size:
            alpha = F.interpolate(alpha, size=tuple(size), mode="bicubic").clamp(0, 1)
        return replace(self, colours=colours, alpha=alpha)

    def pixels(self, bits: int | None = None) -> Array:
        """Return ``(H, W, channels)`` as a file holds them, clipped and rounded; uint8 or uint16."""
        colours = self.colours.detach().float().cpu().clamp(0, 1)
        if self.gray:
            colours = (colours * torch.tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        joined = colours if self.alpha is None else torch.cat([colours, self.alpha], 1)
        depth = bits or self.bits
        values = (joined * (2**depth - 1)).round().squeeze(0).permute(1, 2, 0)
        pixels: Array = values.numpy().astype(np.uint8 if depth == 8 else np.uint16)
        return pixels


def read_picture(path: Path | str) -> Picture:
    """Read an image upright with its depth, transparency and metadata.

    16 bits are kept of PNGs and of gray TIFFs; other deep formats, CMYK and palettes become 8-bit RGB.

    Raises:
        FilterlensError: As for :func:`filterlens.data.images.read_image`.
    """
    with opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        gray = image.mode in _GRAY or image.mode.startswith("I;16")
        if is_deep_png(path):
            turned = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1), np.asarray)
            pixels, bits = turned(read_deep_png(path)), 16
            gray = pixels.shape[2] <= 2
        else:
            pixels, bits = _pixels(upright, gray)
        metadata = Metadata.of(image, upright, gray=gray)
        frames = getattr(image, "n_frames", 1)
    values = torch.from_numpy((pixels / np.float32(2**bits - 1)).astype(np.float32))
    batch = values.permute(2, 0, 1).unsqueeze(0).contiguous()
    colours, alpha = (batch[:, :1], batch[:, 1:]) if gray else (batch[:, :3], batch[:, 3:])
    return Picture(colours.expand(-1, 3, -1, -1), alpha if alpha.numel() else None, bits, gray, metadata, frames)


def _pixels(image: Image.Image, gray: bool) -> tuple[Array, int]:
    """Return ``(H, W, channels)`` and the bits per channel of what Pillow read."""
    if image.mode.startswith("I;16"):
        return np.array(image)[..., None].astype(np.uint16), 16
    if image.mode in ("I", "F"):
        return to_8_bits(image)[..., None], 8
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        pixels = np.array(image.convert("RGBA"))
        return (pixels[..., [0, 3]] if gray else pixels), 8
    return (np.array(image.convert("L"))[..., None] if gray else np.array(image.convert("RGB"))), 8


def write_picture(path: Path | str, picture: Picture) -> None:
    """Write a PNG, or a WebP without loss where the name says so (always of 8 bits); whole or not at all.

    Raises:
        FilterlensError: The file cannot be written, or is too large for a WebP.
    """
    with whole_file(path) as temporary:
        if Path(path).suffix.lower() == WEBP:
            _write_webp(path, temporary, picture)
        elif picture.bits == 16:
            write_deep_png(temporary, picture.pixels(), picture.metadata.for_png())
        else:
            _as_image(picture).save(temporary, "PNG", **picture.metadata.for_png())


def _write_webp(path: Path | str, temporary: Path, picture: Picture) -> None:
    height, width = picture.colours.shape[-2:]
    if max(height, width) > LONGEST_WEBP:
        raise FilterlensError(
            f"'{path}' would be {width}x{height}, but a WebP has at most {LONGEST_WEBP} pixels a side. "
            "Convert the input to PNG; then the output is one too."
        )
    _as_image(picture).save(temporary, "WEBP", lossless=True, exact=True, **picture.metadata.for_webp())


def _as_image(picture: Picture) -> Image.Image:
    pixels = picture.pixels(8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
