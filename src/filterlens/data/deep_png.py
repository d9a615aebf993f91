# SPDX-License-Identifier: Apache-2.0
"""PNGs of 16 bits per channel, which Pillow reads and writes in gray only.

Pillow unpacks them all the same, and keeps one byte of two. Read once for the upper and once for the lower bytes, all
of them come, as fast as Pillow is and without more memory than the pixels take.
"""

import io
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import png
from PIL import Image

from filterlens.errors import FilterlensError

Pixels = npt.NDArray[np.uint16]
_BITS, _SIGNATURE = 24, b"\x89PNG\r\n\x1a\n"  # where the header's bit depth lies; what a PNG begins with
_CHANNELS = {0: 1, 4: 2, 2: 3, 6: 4}  # colour type → channels: gray, gray with alpha, RGB, RGB with alpha
_KINDS = {channels: kind for kind, channels in _CHANNELS.items()}
_UP = 2  # the filter that stores the difference to the row above
_AT_ONCE, _FED = 4 << 20, 1 << 16  # bytes that are packed, and unpacked, in one go


def is_deep_png(path: Path | str) -> bool:
    """Say whether a file is a PNG of 16 bits per channel, from its first bytes."""
    with Path(path).open("rb") as stream:
        head = stream.read(_BITS + 1)
    return head.startswith(_SIGNATURE) and head[_BITS:] == b"\x10"


def read_deep_png(path: Path | str, upper: Image.Image | None = None) -> Pixels:
    """Read ``(H, W, channels)`` uint16: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha; a colour key becomes alpha.

    The caller has looked at the size in the header; no more than what it announces is unpacked.

    Args:
        path: Of the file.
        upper: The same as Pillow read it, with the upper bytes of colours, which then need not be read again.

    Raises:
        FilterlensError: The compressed pixels are more than the header announces.
        png.Error, ValueError: The file is damaged.
    """
    with Path(path).open("rb") as stream:
        reader = png.Reader(file=stream)
        reader.preamble()  # reads the chunks before the pixels and checks them
        channels, size = _CHANNELS[reader.color_type], (reader.width, reader.height)
        stream.seek(0)
        packed = b"".join(data for kind, data in png.Reader(file=stream).chunks() if kind == b"IDAT")
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
        path: Of the file.
        pixels: As :func:`read_deep_png` gives them.
        described: Arguments with which Pillow would write what the file says besides.
    """
    height, width, channels = pixels.shape
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([16, _KINDS[channels], 0, 0, 0])
    said = _said(described)
    with Path(path).open("wb") as stream:
        stream.write(_SIGNATURE)
        for kind, data in ((b"IHDR", header), *said):
            png.write_chunk(stream, kind, data)
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


def _said(described: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """Let Pillow write one pixel with all that is said of it, and take the chunks between header and pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG", **described)
    return [
        (kind, data)
        for kind, data in png.Reader(bytes=buffer.getvalue()).chunks()
        if kind not in (b"IHDR", b"IDAT", b"IEND")
    ]
