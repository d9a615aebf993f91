# SPDX-License-Identifier: Apache-2.0
"""Whether an image fits into memory, judged from its header: before a byte of it is unpacked."""

from pathlib import Path

from filterlens.errors import FilterlensError
from filterlens.execution.memory import memory_available

READING = 24.0  # bytes a pixel: as Pillow unpacks it, as an array, and as float32 colours
_ALWAYS = 256 << 20  # bytes for which nobody asks the system
_RESERVE = 0.9  # share of the free memory that an image may take


def check_memory(path: Path | str, size: tuple[int, int], bytes_per_pixel: float, remedy: str = "") -> None:
    """Refuse an image that would take more memory than is free.

    Args:
        path: For the error.
        size: Width and height.
        bytes_per_pixel: What the job takes for one, at its peak.
        remedy: What else the user can do, besides freeing memory and cutting the image.

    Raises:
        FilterlensError: It does not fit.
    """
    width, height = size
    needed = float(width) * height * bytes_per_pixel
    if needed <= _ALWAYS:
        return
    free = _RESERVE * memory_available()
    if needed > free:
        raise FilterlensError(
            f"Image '{path}' of {width}x{height} pixels would take about {needed / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} GiB can be had. Free memory, cut it into parts{remedy}."
        )
