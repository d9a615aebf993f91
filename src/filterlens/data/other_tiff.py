# SPDX-License-Identifier: Apache-2.0
"""TIFFs that Pillow does not read or write: colours in floating point, of 16 bits, in planes, or of other depths."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from filterlens.data.levels import Levels, Note, of_type, silent
from filterlens.data.memory import READING, check_memory
from filterlens.data.upright import ORIENTATION, UPRIGHT
from filterlens.errors import FilterlensError

Array = npt.NDArray[Any]
_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LAYOUTS: dict[str, Callable[[Array], Array]] = {  # axes of tifffile → (H, W, channels)
    "YX": lambda a: a[..., None],
    "YXS": lambda a: a,
    "SYX": lambda a: np.moveaxis(a, 0, -1),
}
_GRAY_OR_RGB = {0: 1, 1: 1, 2: 3}  # photometric interpretation → channels of colour
_PREMULTIPLIED, _OPACITY = 1, 2


def is_tiff(path: Path | str) -> bool:
    """Say whether a file begins like a TIFF."""
    with Path(path).open("rb") as stream:
        return stream.read(4) in _SIGNATURES


def read_other_tiff(
    path: Path | str, note: Note = silent, bytes_per_pixel: float = READING, most_pixels: float | None = None
) -> Array:
    """Read the first page as ``(H, W, channels)`` uint8 or uint16, upright: gray or RGB, with opacity or without.

    Raises:
        FilterlensError: It cannot be read here, is too large, or holds values that are no image's.
    """
    import tifffile

    with _quiet(), tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        colours = _GRAY_OR_RGB.get(int(page.photometric))
        extra = tuple(map(int, page.extrasamples))[:1]
        if page.dtype is None or page.dtype.kind not in "uif" or colours is None or page.axes not in _LAYOUTS:
            raise FilterlensError(
                f"'{path}' is a TIFF of a kind that is not read ({page.dtype}, {page.photometric!s}). "
                "Convert it to PNG."
            )
        if most_pixels and page.imagewidth * page.imagelength > most_pixels:
            raise FilterlensError(
                f"Image '{path}' of {page.imagewidth}x{page.imagelength} pixels is suspiciously large. "
                "Remove it, or cut it into parts."
            )
        check_memory(path, (page.imagewidth, page.imagelength), bytes_per_pixel)
        parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        is_whole = parts and all(count and start + count <= Path(path).stat().st_size for start, count in parts)
        values = _LAYOUTS[page.axes](page.asarray()) if is_whole else np.empty(0)
        if values.shape[:2] != (page.imagelength, page.imagewidth) or values.shape[2] < colours or not values.size:
            raise FilterlensError(f"Image '{path}' is damaged. Remove it or replace it by an intact copy.")
        turned = UPRIGHT.get(page.tags[ORIENTATION].value if ORIENTATION in page.tags else 1, np.asarray)
        levels = of_type(page.dtype, int(page.photometric) == 0)
    has_opacity = extra in ((_PREMULTIPLIED,), (_OPACITY,)) and values.shape[2] > colours
    upright: Array = turned(_levels(values, colours, has_opacity, extra, levels, path, note))
    return upright


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from logging what is wrong with a file: the error says it."""
    log = logging.getLogger("tifffile")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _levels(
    values: Array, colours: int, has_opacity: bool, extra: tuple[int, ...], levels: Levels, path: Path | str, note: Note
) -> Array:
    shown = values[..., :colours]
    if not has_opacity:
        return levels.of(shown, path, note)
    opacity = values[..., colours : colours + 1]
    if extra == (_PREMULTIPLIED,):
        share = np.clip(opacity.astype(np.float64) / levels.white, 0, 1)
        straight = np.divide(shown, share, out=np.zeros(shown.shape), where=share > 0)
        shown = straight if values.dtype.kind == "f" else straight.clip(0, levels.white).round().astype(values.dtype)
    plain = Levels(levels.white, levels.bits)
    return np.concatenate([levels.of(shown, path, note), plain.of(opacity, path, note)], -1)


def write_deep_tiff(path: Path, pixels: Array, icc: bytes | None, dpi: tuple[float, float] | None) -> None:
    """Write ``(H, W, channels)`` uint16, packed without loss: gray or RGB, with opacity or without."""
    import tifffile

    channels = pixels.shape[2]
    tifffile.imwrite(
        path,
        pixels if channels > 1 else pixels[..., 0],
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=("unassalpha",) if channels in (2, 4) else None,
        compression="zlib",
        iccprofile=icc,
        resolution=dpi,
        resolutionunit="inch" if dpi else None,
        metadata=None,
    )
