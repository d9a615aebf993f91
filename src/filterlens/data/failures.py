# SPDX-License-Identifier: Apache-2.0
"""What went wrong with one image of many: the others go on."""

from pathlib import Path

from filterlens.errors import FilterlensError
from filterlens.execution.hardware import is_out_of_memory


def failure_of(error: Exception, path: Path) -> FilterlensError:
    """Return what is wrong with an image as an error for its user.

    Args:
        error: What was raised while the image was read or worked on.
        path: Of the image.

    Raises:
        Exception: The error itself, where it is a fault of the program.
    """
    if isinstance(error, FilterlensError):
        return error
    if is_out_of_memory(error):
        return FilterlensError(f"Out of memory at '{path}'. Free memory, or cut it into parts.")
    if isinstance(error, OSError):
        return FilterlensError(f"Cannot read image '{path}': {error.strerror or error}.")
    raise error
