# SPDX-License-Identifier: Apache-2.0
"""Start points of paths to the target: the baseline it was fine-tuned from, and unrelated networks.

Filters are found along the path from each of them, replaced by its values and by the real baseline's, and judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from filterlens.attribution.quadrature import Adaptive
from filterlens.attribution.result import Attribution
from filterlens.data.samples import Sample
from filterlens.degradations.randomness import derive_seed
from filterlens.filters import Selection
from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network
from filterlens.pair import ModelPair
from filterlens.paper.images import evenly, squares
from filterlens.paper.judged import Judged, View, judge
from filterlens.paper.laboratory import Laboratory, TargetModel, target_recipe
from filterlens.run.tables import Edit
from filterlens.settings import Percent, Positive, Settings
from filterlens.training.recipe import Recipe
from filterlens.work.store import digest

FINE_TUNED, INDEPENDENT, RANDOM, ZERO = "fine-tuned-from", "independent", "random-weights", "zero-weights"
LABELS = {
    FINE_TUNED: "fine-tuned from it (paper)",
    INDEPENDENT: "independently trained",
    RANDOM: "random initialisation",
    ZERO: "zero weights",
}
CONTROL = "control"
"""Random filters: what the values of a donor do wherever they are put."""
OTHER_SEED = 1000  # added to the recipe's seed for the independent network


class BaselineSettings(Settings):
    """Settings of the ablation of the baseline.

    Attributes:
        pairs: How many of the common pairs, from the first.
        percent: Share of the filters that is replaced.
        independent: Also start from an independently trained network; it is trained where it is missing, which takes
            as long as the baseline of the pair did.
        find_images: Find on at most so many images, spread evenly over the set: paths from unrelated networks need
            many nodes.
        find_crop: Find on the central squares of that side in HR pixels; None takes the images as they are.
        most_nodes: Limit of an integral on the path.
        judge_images: Judge on at most so many images, spread evenly over the set.
    """

    pairs: Positive = 2
    percent: Percent = 1.0
    independent: bool = True
    find_images: Positive | None = 4
    find_crop: Positive | None = 192
    most_nodes: Annotated[int, Field(ge=7, le=64)] = 32
    judge_images: Positive | None = 8


@dataclass(frozen=True, eq=False)
class Trial:
    """One target model with all its baselines.

    Attributes:
        points: Name → the target with that baseline; its own comes first.
        found: Name → what was found along the path from there; under :data:`CONTROL` random filters.
    """

    points: Mapping[str, TargetModel]
    found: Mapping[str, Attribution]


def trials_of(laboratory: Laboratory, settings: BaselineSettings, name: str) -> list[Trial]:
    """Find the filters of every target model of a pair from every baseline."""
    independent = independent_network(laboratory, name) if settings.independent else None
    rule = Adaptive(laboratory.common.tolerance, most=settings.most_nodes)
    finding = finding_of(laboratory, settings)
    trials = []
    for model in laboratory.targets(name):
        points = start_points(laboratory, model, independent=independent)
        found = {
            point: laboratory.attribute(with_limit(start, settings.most_nodes), ["faig"], finding, quadrature=rule)[
                "faig"
            ]
            for point, start in points.items()
        }
        found[CONTROL] = laboratory.attribute(model, ["random"], laboratory.finding[:1])["random"]
        trials.append(Trial(points, found))
    return trials


def finding_of(laboratory: Laboratory, settings: BaselineSettings) -> list[Sample]:
    """Return the images on which filters are found."""
    chosen = evenly(laboratory.finding, settings.find_images)
    if settings.find_crop is None:
        return chosen
    return [square for sample in chosen for square in squares(sample, settings.find_crop, 1)]


def start_points(laboratory: Laboratory, model: TargetModel, *, independent: Path | None) -> dict[str, TargetModel]:
    """Return a target model with every baseline, its own first: name of :data:`LABELS` → model.

    Args:
        laboratory: Knows the seed.
        model: The target with the baseline that it was fine-tuned from.
        independent: File of the independently trained network; None leaves it out.
    """
    pair = model.pair
    networks: dict[str, nn.Module] = {}
    if independent is not None:
        networks[INDEPENDENT] = load_network(independent).network
    networks[RANDOM] = untrained(pair, derive_seed("random baseline", laboratory.common.seed, model.seed))
    networks[ZERO] = pair.network(torch.zeros_like(pair.target))
    target = pair.network(pair.target).cpu()
    points = {FINE_TUNED: model}
    for name, network in networks.items():
        other = ModelPair(network.cpu(), target, scale=pair.scale, name=f"{model.name}, {LABELS[name]}")
        points[name] = replace(model, pair=other.to(pair.device), identity=other.identity)
    return points


def untrained(pair: ModelPair, seed: int) -> nn.Module:
    """Return the pair's architecture with the random weights of its own initialisation; no global seed is touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        return build(pair.facts["architecture"], **pair.facts["options"])


def independent_network(laboratory: Laboratory, name: str) -> Path:
    """Return the file of a clean super-resolver of another seed, trained if it is not there; a killed training goes on.

    It is the baseline stage of the pair's own recipe. The training loop trains pairs, so the folder also holds a
    target of one step, which nobody uses.

    Raises:
        FilterlensError: The folder holds the network of another recipe, or training images are missing.
    """
    folder = laboratory.targets_folder / name / "independent"
    laboratory.train_once(
        f"The independent network of '{name}'",
        independent_recipe(ModelPair.pretrained(name), laboratory.common.training),
        folder,
        "baseline",
        remedy="Or set independent = false in the section 'baselines' of the recipe.",
    )
    return folder / "baseline.safetensors"


def independent_recipe(shipped: ModelPair, training: str) -> Recipe:
    """Return the pair's own recipe with another seed and a target stage of a single step."""
    recipe = target_recipe(shipped, training, 0)
    once = recipe.target.model_copy(update={"iterations": 1, "warmup": 0})
    return recipe.model_copy(update={"seed": recipe.seed + OTHER_SEED, "target": once, "name": f"{recipe.name}, alone"})


def with_limit(model: TargetModel, most: int) -> TargetModel:
    """Return the model under an identity of its own, so that integrals of other limits are never taken for these."""
    return replace(model, identity=digest(model.identity, "most nodes", most))


def judge_trials(
    laboratory: Laboratory, settings: BaselineSettings, trials: Sequence[Trial]
) -> tuple[View, Mapping[str, Judged]]:
    """Replace what was found from every baseline by its values and by the real one's, random filters too, and judge.

    Returns:
        The pair with all replacements, and every baseline judged by itself.
    """
    edited: list[tuple[TargetModel, Mapping[Edit, Selection]]] = []
    donors: dict[int, Mapping[Edit, TargetModel]] = {}
    degradations = laboratory.common.degradations
    for trial in trials:
        model = trial.points[FINE_TUNED]
        edits = {
            replaced(point, donor, settings.percent, masked): (found.select(masked, settings.percent), donor)
            for masked in degradations
            for point, found in trial.found.items()
            for donor in (trial.points if point == CONTROL else dict.fromkeys((point, FINE_TUNED)))
        }
        edited.append((model, {edit: selection for edit, (selection, _) in edits.items()}))
        donors[model.seed] = {edit: trial.points[donor] for edit, (_, donor) in edits.items()}
    name = edited[0][0].name
    judging = evenly(laboratory.judging(name), settings.judge_images)
    judged = judge(laboratory, edited, judging, donors=donors)
    view = View(name, settings.percent, degradations, judged, [trial.found for trial in trials])
    alone = {
        point: judge(laboratory, [(trial.points[point], {}) for trial in trials], judging) for point in trials[0].points
    }
    return view, alone


def replaced(point: str, donor: str, percent: float, masked: str) -> Edit:
    """Name a replacement: the filters found from ``point``, with the values of ``donor``."""
    return Edit(f"{point}/{donor}", percent, masked)
