# SPDX-License-Identifier: Apache-2.0
"""Put a trained pair into the package: 16-bit weights, and a card with its PSNR on the benchmark sets.

python tools/ship_pair.py runs/train-cpu srresnet-x2 --set Set5=DIR --set Set14=DIR --set BSDS100=DIR
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from filterlens.data.images import list_images, read_image
from filterlens.degradations import Degradation
from filterlens.evaluation.image_metrics import specification
from filterlens.models import pretrained
from filterlens.models.checkpoints import load_network, save_network
from filterlens.training.validation import psnr_per_degradation

DEGRADATIONS = {text: Degradation.parse(text) for text in ("clean", "blur:2", "noise:0.1", "blur:2+noise:0.1")}


def measure(path: Path, sets: dict[str, Path]) -> dict[str, dict[str, float]]:
    """Return set → degradation → mean PSNR of the network as it is stored."""
    loaded = load_network(path)
    table = {}
    for name, folder in sets.items():
        images = [read_image(file) for file in list_images(folder)[0]]
        values = psnr_per_degradation(loaded.network, images, DEGRADATIONS, scale=loaded.scale)
        table[name] = {degradation: round(value, 3) for degradation, value in values.items()}
        print(path.name, name, table[name], flush=True)
    return table


def ship(run: Path, name: str, sets: dict[str, Path], note: str = "") -> None:
    """Write both networks of a training folder into the package, with cards."""
    folder = Path(pretrained.__file__).parent
    for role in ("baseline", "target"):
        loaded = load_network(run / f"{role}.safetensors")
        destination = folder / f"{name}-{role}.safetensors"

        def write(card: dict[str, Any], destination: Path = destination, loaded: Any = loaded) -> None:
            save_network(destination, loaded.network, loaded.architecture, loaded.options, card, torch.float16)

        write(loaded.card)
        table = {
            "psnr": measure(destination, sets),
            "psnr_specification": f"{specification(loaded.scale)}, noise seed 0",
        }
        card = loaded.card | table | {"storage": "float16"} | ({"note": note} if note else {})
        write(card)
        destination.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Read the arguments and ship."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder that `filterlens train` wrote")
    parser.add_argument("name", help="name of the pair, for example srresnet-x2")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=DIR", help="a benchmark set; repeat it")
    parser.add_argument("--note", default="", help="anything about the training that the recipe does not say")
    arguments = parser.parse_args()
    sets = {name: Path(folder) for name, folder in (each.split("=", 1) for each in arguments.set)}
    ship(arguments.run, arguments.name, sets, arguments.note)


if __name__ == "__main__":
    main()
