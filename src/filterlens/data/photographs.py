# SPDX-License-Identifier: Apache-2.0
"""The free photographs that come with scikit-image, for the demo and the examples."""

from pathlib import Path

import torch
from torch import Tensor

from filterlens.errors import FilterlensError, unknown

# astronaut and rocket: public domain (NASA); chelsea and coffee: CC0. All four are files of scikit-image's wheel.
PHOTOGRAPHS = {"astronaut": "astronaut.png", "chelsea": "chelsea.png", "coffee": "coffee.png", "rocket": "rocket.jpg"}


def photograph(name: str) -> Tensor:
    """Return a photograph as RGB ``(3, H, W)`` uint8; no network is needed.

    Raises:
        UsageError: Unknown name.
        FilterlensError: scikit-image is not installed with its data.
    """
    from filterlens.data.images import read_image

    if name not in PHOTOGRAPHS:
        raise unknown("photograph", name, PHOTOGRAPHS)
    path = photograph_folder() / PHOTOGRAPHS[name]
    if not path.is_file():
        raise FilterlensError(
            f"'{path}' is missing. Install scikit-image again (pip install --force-reinstall scikit-image)."
        )
    return read_image(path)


def photograph_folder() -> Path:
    """Return the folder of scikit-image's own images, without importing the library's submodules."""
    import importlib.util

    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise FilterlensError("scikit-image is not installed; its photographs serve the demo. pip install scikit-image")
    return Path(found.origin).parent / "data"


def square(image: Tensor, size: int, top: int, left: int) -> Tensor:
    """Cut a square out of ``(3, H, W)``."""
    cut = image[:, top : top + size, left : left + size]
    if cut.shape[-2:] != torch.Size((size, size)):
        raise FilterlensError(f"A square of {size} at ({top}, {left}) does not lie inside the photograph.")
    return cut.contiguous()
