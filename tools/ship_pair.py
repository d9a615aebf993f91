# SPDX-License-Identifier: Apache-2.0
"""Put a trained pair into the package: 16-bit weights, and a card with its PSNR on the benchmark sets.

python tools/ship_pair.py runs/train-cpu srresnet-x2 --set Set5=DIR --set Set14=DIR --set BSDS100=DIR
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from filterlens.data.images import read_image
from filterlens.data.listing import find_images
from filterlens.metrics import specification
from filterlens.models import pretrained
from filterlens.models.checkpoints import load_network, save_network
from filterlens.training.recipe import Recipe
from filterlens.training.validation import psnr_per_degradation, validation_degradations


def measure(path: Path, sets: dict[str, Path], recipe: Recipe) -> dict[str, dict[str, float]]:
    """Return set → degradation of the recipe → mean PSNR of the network as it is stored."""
    loaded, degradations = load_network(path), validation_degradations(recipe)
    table = {}
    for name, folder in sets.items():
        images = [read_image(file) for file in find_images(folder).images]
        values = psnr_per_degradation(loaded.network, images, degradations, scale=loaded.scale)
        table[name] = {degradation: round(value, 3) for degradation, value in values.items()}
        print(path.name, name, table[name], flush=True)
    return table


def ship(run: Path, name: str, sets: dict[str, Path], note: str = "") -> None:
    """Write both networks of a training folder into the package, with cards."""
    folder = Path(pretrained.__file__).parent
    for role in ("target",) if name in pretrained.SHARED_BASELINES else ("baseline", "target"):
        loaded = load_network(run / f"{role}.safetensors")
        destination = folder / f"{name}-{role}.safetensors"

        def write(card: dict[str, Any], destination: Path = destination, loaded: Any = loaded) -> None:
            save_network(destination, loaded.network, loaded.architecture, loaded.options, card, torch.float16)

        write(loaded.card)
        recipe = Recipe.model_validate_json(json.dumps(loaded.card["recipe"]))
        table: dict[str, Any] = {
            "psnr": measure(destination, sets, recipe),
            "psnr_specification": f"{specification(loaded.scale)}, noise seed 0",
        }
        if name in pretrained.SHARED_BASELINES:  # whose own card knows nothing of this target's degradations
            table["baseline_psnr"] = measure(pretrained.pair_files(name)[0], sets, recipe)
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
