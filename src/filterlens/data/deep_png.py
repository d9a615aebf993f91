# SPDX-License-Identifier: Apache-2.0
"""PNGs of 16 bits per channel, which Pillow reads and writes in gray only. pypng does it, for all kinds of pixels."""

import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import png
from PIL import Image

from filterlens.errors import FilterlensError

Pixels = npt.NDArray[np.uint16]
_BITS, _SIGNATURE = 24, b"\x89PNG\r\n\x1a\n"  # where the header's bit depth lies; what a PNG begins with
_KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels → colour type: gray, gray with alpha, RGB, RGB with alpha
_UP = 2  # the filter that stores the difference to the row above


def is_deep_png(path: Path | str) -> bool:
    """Say whether a file is a PNG of 16 bits per channel, from its first bytes."""
    with Path(path).open("rb") as stream:
        head = stream.read(_BITS + 1)
    return head.startswith(_SIGNATURE) and head[_BITS:] == b"\x10"


def read_deep_png(path: Path | str) -> Pixels:
    """Read ``(H, W, channels)`` uint16: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha; a colour key becomes alpha.

    The caller has looked at the size in the header; no more than what it announces is unpacked.

    Raises:
        FilterlensError: The compressed pixels are more than the header announces.
        png.Error: The file is damaged.
    """
    content = Path(path).read_bytes()
    reader = png.Reader(bytes=content)
    reader.preamble()
    _check_unpacked_size(path, content, reader)
    reader.sbit = None  # "only 12 bits are significant" would make the library shift the values
    width, height, rows, info = reader.asDirect()
    return np.vstack([np.asarray(row, dtype=np.uint16) for row in rows]).reshape(height, width, info["planes"])


def _check_unpacked_size(path: Path | str, content: bytes, reader: Any) -> None:
    """Unpack piece by piece without keeping anything, as the library unpacks whatever a chunk holds."""
    most = reader.height * (reader.width * reader.psize + 2) + 1024  # 2: filter bytes, also of interlaced rows
    unpacker, unpacked = zlib.decompressobj(), 0
    for kind, data in png.Reader(bytes=content).chunks():
        while kind == b"IDAT" and data:
            unpacked += len(unpacker.decompress(data, 1 << 20))
            data = unpacker.unconsumed_tail
            if unpacked > most:
                raise FilterlensError(
                    f"Image '{path}' unpacks to more than its {reader.width}x{reader.height} pixels and may be a "
                    "decompression bomb. Remove it."
                )


def write_deep_png(path: Path | str, pixels: Pixels, described: Mapping[str, Any]) -> None:
    """Write ``(H, W, channels)`` uint16.

    Args:
        path: Of the file.
        pixels: As :func:`read_deep_png` gives them.
        described: Arguments with which Pillow would write what the file says besides.
    """
    height, width, channels = pixels.shape
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([16, _KINDS[channels], 0, 0, 0])
    chunks = [(b"IHDR", header), *_said(described), (b"IDAT", _packed(pixels)), (b"IEND", b"")]
    with Path(path).open("wb") as stream:
        png.write_chunks(stream, chunks)


def _packed(pixels: Pixels) -> bytes:
    rows = np.ascontiguousarray(pixels, dtype=">u2").view(np.uint8).reshape(len(pixels), -1)
    differences = rows.copy()
    differences[1:] -= rows[:-1]  # modulo 256, as the filter is defined
    return zlib.compress(np.insert(differences, 0, _UP, axis=1).tobytes(), 6)


def _said(described: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """Let Pillow write one pixel with all that is said of it, and take the chunks between header and pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG", **described)
    return [
        (kind, data)
        for kind, data in png.Reader(bytes=buffer.getvalue()).chunks()
        if kind not in (b"IHDR", b"IDAT", b"IEND")
    ]
