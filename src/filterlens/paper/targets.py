# SPDX-License-Identifier: Apache-2.0
"""Networks that experiments train once and keep: further target models of a pair, and an unrelated baseline."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from filterlens.errors import FilterlensError
from filterlens.execution.hardware import resolve_precision
from filterlens.models.checkpoints import LoadedNetwork, load_network
from filterlens.pair import ModelPair
from filterlens.progress import Progress
from filterlens.training.recipe import Recipe, load_recipe, validated

CARD = "card"
REMEDY = "Move it away, or give another --targets folder."


def target_files(
    shipped: ModelPair,
    seed: int,
    folder: Path,
    *,
    training: str = CARD,
    images: Callable[[], list[Tensor]],
    device: torch.device,
    progress: Progress,
) -> tuple[Path, Path]:
    """Return the files of baseline and target, trained if they are not there yet; a killed training goes on.

    Args:
        shipped: A pair that ships; gives the architecture and, with ``card``, the baseline and the recipe.
        seed: Seed of the fine-tuning.
        folder: Holds one folder per seed.
        training: ``card``, or the name or path of a training recipe: then the first target's baseline is trained too,
            and the others start from it.
        images: Reads the training images; asked only when something must be trained.
        device: Device to train on.
        progress: Receiver of bars and notes.

    Raises:
        FilterlensError: The folder holds a target of another recipe or seed, or training images are missing.
    """

    def baseline() -> LoadedNetwork | None:
        if training == CARD:
            from filterlens.models.pretrained import pair_files

            return load_network(pair_files(shipped.name)[0])
        return load_network(folder / "seed-0" / "baseline.safetensors") if seed > 0 else None

    own = folder / f"seed-{seed}"
    train_once(
        f"Target model {seed} of '{shipped.name}'",
        target_recipe(shipped, training, seed),
        own,
        "target",
        baseline=baseline,
        images=images,
        device=device,
        progress=progress,
        remedy="Or use a recipe with fewer targets.",
    )
    return own / "baseline.safetensors", own / "target.safetensors"


def target_recipe(shipped: ModelPair, training: str, seed: int) -> Recipe:
    """Return the recipe of a further target."""
    if training != CARD:
        architecture = shipped.facts["architecture"]
        return load_recipe(training, architecture=architecture, scale=shipped.scale, seed=seed)
    settings: dict[str, Any] = dict(shipped.facts["target"]["card"]["recipe"])
    return validated(settings | {"seed": seed}, f"card of {shipped.name}")


def train_once(
    what: str,
    recipe: Recipe,
    folder: Path,
    role: str,
    *,
    baseline: Callable[[], LoadedNetwork | None] = lambda: None,
    images: Callable[[], list[Tensor]],
    device: torch.device,
    progress: Progress,
    remedy: str,
) -> None:
    """Train into a folder unless the wanted network is there; a killed training goes on.

    Args:
        what: Name of the network in notes and errors.
        recipe: The training.
        folder: Folder of the networks.
        role: The network that is wanted: ``baseline`` or ``target``.
        baseline: Reads the network to start from; asked only when something must be trained.
        images: Reads the training images; asked only when something must be trained.
        device: Device to train on.
        progress: Receiver of bars and notes.
        remedy: Remedy for missing images, other than getting them.

    Raises:
        FilterlensError: The folder holds a network of another recipe or seed, or training images are missing.
    """
    from filterlens.training.trainer import train

    path = folder / f"{role}.safetensors"
    if path.is_file() and not (folder / f"{role}.state.pt").exists():
        check_recipe(path, recipe, ("seed", "architecture", "scale", role))
        return
    given = baseline()
    progress.note(f"{what} is not in '{folder}': training it by '{recipe.name}'")
    try:
        pixels = images()
    except FilterlensError as error:
        raise FilterlensError(f"{what} is not in '{folder}', and it cannot be trained: {error} {remedy}") from error
    train(
        recipe,
        pixels,
        folder,
        device=device,
        precision=resolve_precision("auto", device),
        baseline=given,
        data=f"{len(pixels)} images",
        progress=progress,
    )


def check_recipe(path: Path, recipe: Recipe, names: Sequence[str]) -> dict[str, Any]:
    """Return the card of a network, unless it was trained with other settings.

    Raises:
        FilterlensError: One of the named settings differs, or the file cannot be read.
    """
    card, wanted = load_network(path).card, recipe.model_dump(mode="json")
    found = card.get("recipe", {})
    for name in names:
        if found.get(name) != wanted[name]:
            raise FilterlensError(
                f"'{path}' was trained with {name} = {found.get(name)!r}, but {wanted[name]!r} is wanted. {REMEDY}"
            )
    return card
