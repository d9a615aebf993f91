# SPDX-License-Identifier: Apache-2.0
"""Four free photographs for the demo and the examples; ``shipped/README.md`` names their sources and licences."""

from importlib.resources import as_file, files

import torch
from torch import Tensor

from filterlens.errors import FilterlensError, unknown

PHOTOGRAPHS = {"astronaut": "astronaut.png", "chelsea": "chelsea.png", "coffee": "coffee.png", "rocket": "rocket.jpg"}


def photograph(name: str) -> Tensor:
    """Return a photograph as RGB ``(3, H, W)`` uint8; no network is needed.

    Raises:
        UsageError: Unknown name.
        FilterlensError: The installation lacks the file.
    """
    from filterlens.data.images import read_image

    if name not in PHOTOGRAPHS:
        raise unknown("photograph", name, PHOTOGRAPHS)
    shipped = files("filterlens.data").joinpath("shipped", PHOTOGRAPHS[name])
    if not shipped.is_file():
        raise FilterlensError(
            f"'{shipped}' is missing. Install filterlens again (pip install --force-reinstall filterlens)."
        )
    with as_file(shipped) as path:
        return read_image(path)


def square(image: Tensor, size: int, top: int, left: int) -> Tensor:
    """Cut a square out of ``(3, H, W)``."""
    cut = image[:, top : top + size, left : left + size]
    if cut.shape[-2:] != torch.Size((size, size)):
        raise FilterlensError(f"A square of {size} at ({top}, {left}) does not lie inside the photograph.")
    return cut.contiguous()
