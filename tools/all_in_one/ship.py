# SPDX-License-Identifier: Apache-2.0
"""Put the trained networks, and pairs drawn on the shipped photographs, into the package.

python -m tools.all_in_one.ship runs/all-in-one
"""

import argparse
import shutil
from pathlib import Path

import torch

from filterlens.data import all_in_one
from filterlens.data.photographs import photograph, square
from tools.all_in_one.make_pairs import write_pairs

SIDE = 128
SQUARES = {"astronaut": (60, 170), "coffee": (200, 280), "chelsea": (60, 130), "rocket": (150, 250)}  # top and left


def main() -> None:
    """Read the argument and ship."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder that tools.all_in_one.train wrote")
    arguments = parser.parse_args()
    folder = Path(all_in_one.__file__).parent / "shipped" / "all-in-one"
    images = ((name, square(photograph(name), SIDE, *place)) for name, place in SQUARES.items())
    write_pairs(images, folder, torch.Generator().manual_seed(0))
    for role in ("baseline", "target"):
        shutil.copyfile(arguments.run / f"{role}.safetensors", folder / f"{role}.safetensors")


if __name__ == "__main__":
    main()
