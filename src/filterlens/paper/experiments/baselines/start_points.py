# SPDX-License-Identifier: Apache-2.0
"""Where a path to the target may start: the baseline it was fine-tuned from, and networks that are none of its kin."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from filterlens.degradations.randomness import derive_seed
from filterlens.errors import FilterlensError
from filterlens.execution.hardware import resolve_precision
from filterlens.jobs.shared_runner import identity_of
from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network
from filterlens.pair import ModelPair
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.pieces import digest
from filterlens.paper.targets import recipe_of
from filterlens.training.recipe import Recipe

FINE_TUNED, INDEPENDENT, RANDOM, ZERO = "fine-tuned-from", "independent", "random-weights", "zero-weights"
LABELS = {
    FINE_TUNED: "fine-tuned from it (paper)",
    INDEPENDENT: "independently trained",
    RANDOM: "random initialisation",
    ZERO: "zero weights",
}
OTHER_SEED = 1000  # added to the recipe's seed for the independent network


@dataclass(frozen=True, eq=False)
class StartPoint:
    """A baseline of one target model.

    Attributes:
        name: A key of :data:`LABELS`.
        model: The target with this baseline in place of its own.
    """

    name: str
    model: TargetModel


def start_points(laboratory: Laboratory, model: TargetModel, *, independent: Path | None) -> list[StartPoint]:
    """Return the baselines of a target model, its own first.

    Args:
        laboratory: Knows the seed.
        model: The target with the baseline that it was fine-tuned from.
        independent: File of the independently trained network; None leaves it out.
    """
    networks: dict[str, nn.Module] = {}
    if independent is not None:
        networks[INDEPENDENT] = load_network(independent).network
    networks[RANDOM] = untrained(model.pair, derive_seed("random baseline", laboratory.common.seed, model.seed))
    networks[ZERO] = model.pair.network(torch.zeros_like(model.pair.target))
    return [StartPoint(FINE_TUNED, model), *_with(model, networks)]


def _with(model: TargetModel, networks: dict[str, nn.Module]) -> Iterator[StartPoint]:
    pair = model.pair
    target = pair.network(pair.target).cpu()
    for name, network in networks.items():
        other = ModelPair(network.cpu(), target, scale=pair.scale, name=f"{model.name}, {LABELS[name]}")
        yield StartPoint(name, TargetModel(model.name, model.seed, other.to(pair.device), identity_of(other)))


def untrained(pair: ModelPair, seed: int) -> nn.Module:
    """Return the pair's architecture with the random weights of its own initialisation; no global seed is touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        return build(pair.facts["architecture"], **pair.facts["options"])


def independent_network(laboratory: Laboratory, name: str) -> Path:
    """Return the file of a clean super-resolver of another seed, trained if it is not there; a killed training goes on.

    It is the baseline stage of the pair's own recipe. The training loop trains pairs, so a target of one step lies
    beside it, which nobody uses.

    Raises:
        FilterlensError: The folder holds the network of another recipe, or training images are missing.
    """
    from filterlens.training.loop import train

    shipped = ModelPair.pretrained(name)
    recipe = independent_recipe(shipped, laboratory.common.training)
    folder = laboratory.targets_folder / name / "independent"
    path = folder / "baseline.safetensors"
    if path.is_file() and not (folder / "baseline.state.pt").exists():
        _check(path, recipe)
        return path
    laboratory.progress.note(f"an independent network for '{name}' is not in '{folder}': training it")
    try:
        images = laboratory.training_images()
    except FilterlensError as error:
        raise FilterlensError(
            f"The independent network of '{name}' is not in '{folder}', and it cannot be trained: {error} "
            "Or set independent = false in the section 'baselines' of the recipe."
        ) from error
    precision = resolve_precision("auto", laboratory.device)
    data, progress = f"{len(images)} images", laboratory.progress
    return train(recipe, images, folder, device=laboratory.device, precision=precision, data=data, progress=progress)[
        "baseline"
    ]


def independent_recipe(shipped: ModelPair, training: str) -> Recipe:
    """Return the pair's own recipe with another seed and a target stage of a single step."""
    recipe = recipe_of(shipped, training, 0)
    once = recipe.target.model_copy(update={"iterations": 1, "warmup": 0})
    return recipe.model_copy(update={"seed": recipe.seed + OTHER_SEED, "target": once, "name": f"{recipe.name}, alone"})


def _check(path: Path, recipe: Recipe) -> None:
    """Refuse a network of another recipe or seed."""
    card, wanted = load_network(path).card.get("recipe", {}), recipe.model_dump(mode="json")
    for name in ("seed", "architecture", "scale", "baseline"):
        if card.get(name) != wanted[name]:
            raise FilterlensError(
                f"'{path}' was trained with {name} = {card.get(name)!r}, but {wanted[name]!r} is wanted. "
                "Move it away, or give another --targets folder."
            )


def with_limit(model: TargetModel, most: int) -> TargetModel:
    """Return the model under an identity of its own, so that integrals of other limits are never taken for these."""
    return TargetModel(model.name, model.seed, model.pair, digest(model.identity, "most nodes", most))
