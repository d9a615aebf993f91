# SPDX-License-Identifier: Apache-2.0
"""Pixels of images that are seen only once: in one temporary file without a name, which vanishes with its readers."""

import tempfile
import threading
import weakref
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from filterlens.errors import FilterlensError


class Spool:
    """Keeps images of a stream on disk as NumPy arrays, so that a long stream needs little memory.

    The file lies in the system's folder for temporary files (``TMPDIR``). It has no name where the system allows that,
    and is gone when the spool and all functions that read from it are, also after a kill.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+b")  # noqa: SIM115  # it lives as long as the spool
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    def keep(self, image: Tensor) -> Callable[[], Tensor]:
        """Write an image at the end and return the function that reads it again.

        Raises:
            FilterlensError: The disk is full.
        """
        try:
            with self._lock:
                place = self._file.seek(0, 2)
                np.save(self._file, image.detach().cpu().contiguous().numpy(), allow_pickle=False)
        except OSError as error:
            raise FilterlensError(
                f"Cannot keep images in '{tempfile.gettempdir()}': {error.strerror or error}. Give fewer images, or "
                "let TMPDIR name a folder with more room."
            ) from error
        return lambda: self._at(place)

    def _at(self, place: int) -> Tensor:
        with self._lock:
            self._file.seek(place)
            return torch.from_numpy(np.load(self._file, allow_pickle=False))
