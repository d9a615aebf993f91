# SPDX-License-Identifier: Apache-2.0
"""A small all-in-one network and pairs of images for the examples; ``shipped/all-in-one/README.md`` describes them."""

from importlib.resources import files
from pathlib import Path

from filterlens.errors import FilterlensError


def all_in_one() -> Path:
    """Return the folder with the networks and the pairs.

    It holds ``baseline.safetensors`` and ``target.safetensors``, and the folders ``noise``, ``rain``, ``dark`` and
    ``gt`` of four images ``(3, 128, 128)`` each, whose files have the same names.

    Raises:
        FilterlensError: The installation lacks it.
    """
    folder = Path(str(files("filterlens.data").joinpath("shipped", "all-in-one")))
    if not folder.is_dir():
        raise FilterlensError(
            f"'{folder}' is missing. Install filterlens again (pip install --force-reinstall filterlens)."
        )
    return folder
