# SPDX-License-Identifier: Apache-2.0
"""Files that Pillow cannot read or write without loss: 16-bit colour PNGs, and TIFFs of many kinds.

Pillow reads and writes 16 bits in gray only. It unpacks 16-bit colour too, but keeps one byte of two: reading once for
the upper and once for the lower bytes gives all of them, as fast as Pillow and without more memory than the pixels
take. TIFFs in floating point, of 16 bits, in planes or of other depths are read with tifffile.
"""

import contextlib
import io
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import png
from PIL import Image

from filterlens.data.levels import Levels, of_type
from filterlens.errors import FilterlensError
from filterlens.progress import Note, silent

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint16]
_BITS, _SIGNATURE = 24, b"\x89PNG\r\n\x1a\n"  # where the header's bit depth lies; what a PNG begins with
_CHANNELS = {0: 1, 4: 2, 2: 3, 6: 4}  # colour type → channels: gray, gray with alpha, RGB, RGB with alpha
_COLOUR_TYPES = {channels: colour_type for colour_type, channels in _CHANNELS.items()}
_UP = 2  # the filter that stores the difference to the row above
_AT_ONCE, _FED = 4 << 20, 1 << 16  # bytes that are packed, and unpacked, in one go
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LAYOUTS: dict[str, Callable[[Array], Array]] = {  # axes of tifffile → (H, W, channels)
    "YX": lambda a: a[..., None],
    "YXS": lambda a: a,
    "SYX": lambda a: np.moveaxis(a, 0, -1),
}
_GRAY_OR_RGB = {0: 1, 1: 1, 2: 3}  # photometric interpretation → channels of colour
_PREMULTIPLIED, _OPACITY = 1, 2
ORIENTATION = 0x0112
UPRIGHT: dict[int, Callable[[Array], Array]] = {  # EXIF orientation → the view of (H, W, channels) that is upright
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def is_deep_png(path: Path | str) -> bool:
    """Say whether a file is a PNG of 16 bits per channel, from its first bytes."""
    with Path(path).open("rb") as stream:
        head = stream.read(_BITS + 1)
    return head.startswith(_SIGNATURE) and head[_BITS:] == b"\x10"


def read_deep_png(path: Path | str, upper: Image.Image | None = None) -> Pixels:
    """Read ``(H, W, channels)`` uint16: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha; a colour key becomes alpha.

    The caller has looked at the size in the header; no more than what it announces is unpacked.

    Args:
        path: The file.
        upper: The image as Pillow read it, with the upper bytes of colours; they are then not read again.

    Raises:
        FilterlensError: The compressed pixels are more than the header announces.
        png.Error, ValueError: The file is damaged.
    """
    with Path(path).open("rb") as stream:
        reader = png.Reader(file=stream)
        reader.preamble()  # reads the chunks before the pixels and checks them
        channels, size = _CHANNELS[reader.color_type], (reader.width, reader.height)
        stream.seek(0)
        packed = b"".join(data for name, data in png.Reader(file=stream).chunks() if name == b"IDAT")
    _check_unpacked_size(path, packed, reader)
    pixels = _unpacked(packed, size, channels, int(reader.interlace), upper)
    return pixels if reader.trns is None else _with_opacity(pixels, np.frombuffer(reader.trns, ">u2"))


def _check_unpacked_size(path: Path | str, packed: bytes, reader: Any) -> None:
    """Unpack piece by piece without keeping anything, to see where it ends."""
    most = reader.height * (reader.width * reader.psize + 2) + 1024  # 2: filter bytes, also of interlaced rows
    unpacker, unpacked = zlib.decompressobj(), 0
    for start in range(0, len(packed), _FED):
        data = packed[start : start + _FED]
        while data:
            unpacked += len(unpacker.decompress(data, 1 << 20))
            data = unpacker.unconsumed_tail
            if unpacked > most:
                raise FilterlensError(
                    f"Image '{path}' unpacks to more than its {reader.width}x{reader.height} pixels and may be a "
                    "decompression bomb. Remove it."
                )


def _unpacked(
    packed: bytes, size: tuple[int, int], channels: int, interlaced: int, upper: Image.Image | None
) -> Pixels:
    width, height = size
    if channels == 1:
        return np.array(Image.frombytes("I;16", size, packed, "zip", "I;16B", interlaced))[..., None]
    if channels == 2:  # four bytes a pixel, as those of a shallow RGBA
        every = np.array(Image.frombytes("RGBA", size, packed, "zip", "RGBA", interlaced))
        return every.view(">u2").astype(np.uint16)
    mode = "RGB" if channels == 3 else "RGBA"
    pixels = np.empty((height, width, channels), np.uint16)
    if upper is None or upper.mode != mode or upper.size != size:
        upper = Image.frombytes(mode, size, packed, "zip", f"{mode};16B", interlaced)
    pixels[:] = np.asarray(upper)
    pixels <<= 8
    pixels |= np.asarray(Image.frombytes(mode, size, packed, "zip", f"{mode};16L", interlaced))
    return pixels


def _with_opacity(pixels: Pixels, key: npt.NDArray[Any]) -> Pixels:
    shown = (pixels != key).any(-1, keepdims=True)
    return np.concatenate([pixels, shown * np.uint16(65535)], -1)


def write_deep_png(path: Path | str, pixels: Pixels, described: Mapping[str, Any]) -> None:
    """Write ``(H, W, channels)`` uint16.

    Args:
        path: The file.
        pixels: Array as :func:`read_deep_png` returns it.
        described: Arguments with which Pillow would write the metadata.
    """
    height, width, channels = pixels.shape
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([16, _COLOUR_TYPES[channels], 0, 0, 0])
    with Path(path).open("wb") as stream:
        stream.write(_SIGNATURE)
        for name, data in ((b"IHDR", header), *_metadata_chunks(described)):
            png.write_chunk(stream, name, data)
        for piece in _packed(pixels):
            png.write_chunk(stream, b"IDAT", piece)
        png.write_chunk(stream, b"IEND", b"")


def _packed(pixels: Pixels) -> Iterator[bytes]:
    """Yield the compressed rows in pieces: a whole image of differences would be as large as the image."""
    packer = zlib.compressobj(6)
    above = np.zeros(pixels[0].size * 2, np.uint8)
    step = max(1, _AT_ONCE // above.size)
    for start in range(0, len(pixels), step):
        rows = np.ascontiguousarray(pixels[start : start + step], dtype=">u2").view(np.uint8).reshape(-1, above.size)
        differences = rows.copy()
        differences[0] -= above
        differences[1:] -= rows[:-1]  # modulo 256, as the filter is defined
        above = rows[-1]
        if piece := packer.compress(np.insert(differences, 0, _UP, axis=1).tobytes()):
            yield piece
    yield packer.flush()


def _metadata_chunks(described: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """Let Pillow write one pixel with the metadata, and take the chunks between header and pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG", **described)
    return [
        (name, data)
        for name, data in png.Reader(bytes=buffer.getvalue()).chunks()
        if name not in (b"IHDR", b"IDAT", b"IEND")
    ]


def is_tiff(path: Path | str) -> bool:
    """Say whether a file begins like a TIFF."""
    with Path(path).open("rb") as stream:
        return stream.read(4) in _TIFF_SIGNATURES


def read_other_tiff(path: Path | str, check_size: Callable[[int, int], None], note: Note = silent) -> Array:
    """Read the first page as ``(H, W, channels)`` uint8 or uint16, upright: gray or RGB, with opacity or without.

    Args:
        path: The file.
        check_size: Refuses the width and height of a page, before its pixels are read.
        note: Receives one line where values are clipped.

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
        check_size(page.imagewidth, page.imagelength)
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
    """Keep tifffile from logging the fault of a file: the error says it."""
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
