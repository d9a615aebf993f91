# SPDX-License-Identifier: Apache-2.0
"""What every process of the distributed test runs: ``torchrun two_processes.py FOLDER``."""

import sys
from pathlib import Path

import torch

from filterlens.errors import UsageError
from filterlens.training.recipe import Recipe, validated
from filterlens.training.trainer import train


def make_images() -> list[torch.Tensor]:
    """Two images of random pixels."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, 24, 24), generator=generator, dtype=torch.uint8) for _ in range(2)]


def make_recipe(batch: int) -> Recipe:
    """One step of each stage."""
    stage = {"iterations": 1, "learning_rate": 1e-3}
    return validated({"name": "two", "patch": 16, "batch": batch, "baseline": stage, "target": stage}, "two")


def main(folder: Path) -> None:
    """Train, after trying a batch that two processes cannot share."""
    torch.set_num_threads(1)
    images, cpu = make_images(), torch.device("cpu")
    try:
        train(make_recipe(3), images, folder, device=cpu)
    except UsageError as error:
        sys.stdout.write(f"{error}\n")
    train(make_recipe(2), images, folder, validation=images, device=cpu)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
