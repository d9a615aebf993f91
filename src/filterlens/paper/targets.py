# SPDX-License-Identifier: Apache-2.0
"""Further target models of a pair: fine-tuned from one baseline with other seeds, trained once and kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from filterlens.errors import FilterlensError
from filterlens.execution.hardware import resolve_precision
from filterlens.models.checkpoints import load_network
from filterlens.pair import ModelPair
from filterlens.progress import Progress
from filterlens.training.recipe import Recipe, load_recipe, validated

CARD = "card"


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
        seed: Of the fine-tuning.
        folder: Holds one folder per seed.
        training: ``card``, or the name or path of a training recipe: then the first target's baseline is trained too,
            and the others start from it.
        images: Reads the training images; asked only when something must be trained.
        device: Where to train.
        progress: Where bars and notes go.

    Raises:
        FilterlensError: The folder holds a target of another recipe or seed, or training images are missing.
    """
    from filterlens.training.loop import train

    recipe = recipe_of(shipped, training, seed)
    own = folder / f"seed-{seed}"
    files = own / "baseline.safetensors", own / "target.safetensors"
    if files[1].is_file() and not (own / "target.state.pt").exists():
        _check(files[1], recipe)
        return files
    given = None
    if training == CARD:
        from filterlens.models.pretrained import pair_files

        given = load_network(pair_files(shipped.name)[0])
    elif seed > 0:
        given = load_network(folder / "seed-0" / "baseline.safetensors")
    progress.note(f"target model {seed} of '{shipped.name}' is not in '{own}': training it by '{recipe.name}'")
    try:
        pixels = images()
    except FilterlensError as error:
        raise FilterlensError(
            f"Target model {seed} of '{shipped.name}' is not in '{own}', and it cannot be trained: {error} "
            "Or use a recipe with fewer targets."
        ) from error
    train(
        recipe,
        pixels,
        own,
        device=device,
        precision=resolve_precision("auto", device),
        baseline=given,
        data=f"{len(pixels)} images",
        progress=progress,
    )
    return files


def recipe_of(shipped: ModelPair, training: str, seed: int) -> Recipe:
    """Return the recipe of a further target."""
    if training != CARD:
        architecture = shipped.facts["architecture"]
        return load_recipe(training, architecture=architecture, scale=shipped.scale, seed=seed)
    settings: dict[str, Any] = dict(shipped.facts["target"]["card"]["recipe"])
    return validated(settings | {"seed": seed}, f"card of {shipped.name}")


def _check(path: Path, recipe: Recipe) -> None:
    """Refuse a target of another recipe or seed."""
    card = load_network(path).card.get("recipe", {})
    wanted = recipe.model_dump(mode="json")
    for name in ("seed", "architecture", "scale", "target"):
        if card.get(name) != wanted[name]:
            raise FilterlensError(
                f"'{path}' was trained with {name} = {card.get(name)!r}, but {wanted[name]!r} is wanted. "
                "Move it away, or give another --targets folder."
            )
