# SPDX-License-Identifier: Apache-2.0
"""Black and white of a file: its type and tags determine them, never its brightest pixel.

| the file holds | black … white |
|---|---|
| unsigned integers of n bits (a TIFF's BitsPerSample, a PNG's depth) | 0 … 2ⁿ − 1 |
| signed integers of n bits (a TIFF's SampleFormat 2) | 0 … 2ⁿ⁻¹ − 1 |
| floating point (SampleFormat 3, PFM) | 0 … 1 |

Values outside are clipped, and a note gives their share. A file whose values must have another meaning is refused: NaN
and infinity, floats most of which lie outside 0 … 1, and 32-bit integers all darker than the first of 255 levels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from filterlens.data.listing import shown
from filterlens.errors import FilterlensError
from filterlens.progress import Note, silent

Array = npt.NDArray[Any]
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of a TIFF
SIGNED, WHITE_IS_ZERO = 2, 0
HALF_A_LEVEL = 0.5 / 255  # distance beyond 0 … 1 that rounding explains: no level of 8 bits changes
_AT_ONCE = 1 << 18  # pixels whose values are computed at once: no second copy of a large image


@dataclass(frozen=True)
class Levels:
    """How values become levels of 8 or 16 bits.

    Attributes:
        white: The value that is white; black is 0.
        bits: Depth of the levels, 8 or 16.
        inverted: True where 0 is white instead.
    """

    white: float
    bits: int
    inverted: bool = False

    def of(self, values: Array, path: Path | str, note: Note = silent) -> Array:
        """Return levels, uint8 or uint16, in the values' shape.

        Raises:
            FilterlensError: The values are not finite, or must have another meaning.
        """
        most, dtype = 2**self.bits - 1, np.uint8 if self.bits == 8 else np.uint16
        if self.white == most and values.dtype == dtype:
            return most - values if self.inverted else values
        levels = np.empty(values.shape, dtype)
        seen = _Seen()
        for rows in bands(len(values), values[:1].size):
            part = values[rows].astype(np.float64)
            seen.add(part, self.white, HALF_A_LEVEL if values.dtype.kind == "f" else 0)
            scaled = np.nan_to_num(part / self.white).clip(0, 1)
            levels[rows] = ((1 - scaled if self.inverted else scaled) * most).round()
        seen.check(values, self.white, path, note)
        return levels


def gray_levels(image: Image.Image) -> Levels | None:
    """Return how the values of a gray image become levels; None for modes that Pillow has already brought to 8 bits.

    Pillow gives 16-bit gray as ``I;16`` or ``I``, 32-bit integers as ``I``, floating point as ``F``, and 8-bit integers
    as ``L``, also where they are signed.
    """
    tags = getattr(image, "tag_v2", None) if image.format == "TIFF" else None
    inverted = tags is not None and tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    signed = tags is not None and _first(tags.get(SAMPLE_FORMAT)) == SIGNED
    if image.mode == "F":
        return Levels(1.0, 8, inverted)
    if image.mode == "L" and signed:
        return Levels(2.0**7 - 1, 8)
    if not image.mode.startswith("I"):
        return None
    depth = 16 if tags is None else int(_first(tags.get(BITS_PER_SAMPLE)) or 16)
    is_pnm = image.format == "PPM"
    return Levels(2.0 ** (depth - signed) - 1, 8 if depth > 16 or is_pnm else 16, inverted)


def gray_values(image: Image.Image) -> Array:
    """Return ``(H, W)`` of the type that the file has, where Pillow's is another."""
    values = np.array(image)
    tags = getattr(image, "tag_v2", None) if image.format == "TIFF" else None
    if tags is None:
        return values
    signed = _first(tags.get(SAMPLE_FORMAT)) == SIGNED
    if image.mode == "L" and signed:
        return values.view(np.int8)
    if image.mode == "I" and not signed and _first(tags.get(BITS_PER_SAMPLE)) == 32:
        return values.view(np.uint32)
    return values


def of_type(dtype: np.dtype[Any], inverted: bool = False) -> Levels:
    """Return the levels of values of a type, as the table above says."""
    if dtype.kind == "f":
        return Levels(1.0, 8, inverted)
    return Levels(float(np.iinfo(dtype).max), 16 if dtype.itemsize == 2 else 8, inverted)


class _Seen:
    """Counts of the values of one image that are odd."""

    def __init__(self) -> None:
        self.unreal = self.below = self.above = 0
        self.brightest = 0.0

    def add(self, values: Array, white: float, slack: float) -> None:
        finite = np.isfinite(values)
        self.unreal += values.size - int(finite.sum())
        self.below += int((values < -slack).sum())
        self.above += int((values > white + slack).sum())
        self.brightest = max(self.brightest, float(values.max(initial=0, where=finite)))

    def check(self, values: Array, white: float, path: Path | str, note: Note) -> None:
        if self.unreal:
            raise FilterlensError(
                f"Image '{path}' holds NaN or infinity in {_share(self.unreal, values)} of its values. Repair it first."
            )
        outside = self.below + self.above
        if values.dtype.kind == "f" and outside > values.size / 2:
            raise FilterlensError(
                f"Image '{path}' holds floating-point values up to {self.brightest:.4g}, and {_share(outside, values)} "
                "of them lie outside 0 … 1, which is black … white. Bring them into that range first."
            )
        if values.dtype.kind in "iu" and values.dtype.itemsize == 4 and 0 < self.brightest < white / 2**9:
            raise FilterlensError(
                f"Image '{path}' holds 32-bit integers up to {self.brightest:.0f}, where white is {white:.0f}: it "
                "would be black. Save it with 8 or 16 bits, or as floating point from 0 to 1."
            )
        if outside:
            name = shown(Path(path).name)
            note(f"'{name}': {_share(outside, values)} of its values lie outside 0 … {white:g} and are clipped")


def _share(count: int, values: Array) -> str:
    return f"{100 * count / values.size:.3g} %"


def bands(height: int, width: int) -> Iterator[slice]:
    """Cut the rows of an image into bands, so that what is computed on the way needs little memory."""
    step = max(1, _AT_ONCE // max(1, width))
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value else value
