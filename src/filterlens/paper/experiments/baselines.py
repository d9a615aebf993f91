# SPDX-License-Identifier: Apache-2.0
"""Ablation of the baseline: the effect of starting the path where fine-tuning started, or at unrelated networks.

Filters are found along the path from each of them, replaced by its values and by the real baseline's, and judged.
"""

from collections.abc import Iterator, Mapping, Sequence
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
from filterlens.evaluation.function_distance import FUNCTION_DISTANCE
from filterlens.evaluation.statistics import Estimate, Overlap, over_seeds
from filterlens.filters import Selection
from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network
from filterlens.pair import ModelPair
from filterlens.paper import drawing
from filterlens.paper.experiment import (
    Cell,
    Claim,
    Experiment,
    Outcome,
    Row,
    Table,
    Verdict,
    common_rows,
    images_text,
    is_above,
    is_below,
)
from filterlens.paper.images import evenly, squares
from filterlens.paper.judged import INTERVALS, Judged, View, judge
from filterlens.paper.laboratory import Laboratory, TargetModel, target_recipe
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import function_of, whole_percent
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
    judging = laboratory.judging(name, settings.judge_images)
    judged = judge(laboratory, edited, judging, donors=donors)
    view = View(name, settings.percent, degradations, judged, [trial.found for trial in trials])
    alone = {
        point: judge(laboratory, [(trial.points[point], {}) for trial in trials], judging) for point in trials[0].points
    }
    return view, alone


def replaced(point: str, donor: str, percent: float, masked: str) -> Edit:
    """Name a replacement: the filters found from ``point``, with the values of ``donor``."""
    return Edit(f"{point}/{donor}", percent, masked)


def run(laboratory: Laboratory, settings: BaselineSettings) -> Outcome:
    """Find along the path from every baseline, replace by its and by the real baseline's values, and judge."""
    tables: list[Table] = []
    claims: list[Claim] = []
    panels: list[Panel] = []
    for name in laboratory.common.pairs[: settings.pairs]:
        trials = trials_of(laboratory, settings, name)
        view, alone = judge_trials(laboratory, settings, trials)
        points = list(alone)
        for own_values in (True, False):
            tables += [_damage(view, points, masked, own_values=own_values) for masked in view.degradations]
        tables += [_overlaps(view, points), _networks(view, trials, alone)]
        panels += _panels(view, points)
        claims += claims_of(view, points)
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _text(settings), _specification(laboratory, settings))


def claims_of(view: View, points: Sequence[str]) -> list[Claim]:
    """Judge the paper's claim twice: with each baseline's own values, and with the real baseline's for all sets."""
    text = "the baseline that the target was fine-tuned from finds more discriminative filters than unrelated ones"
    ways = {
        True: f"{view.name}: {text}; found filters replaced by each baseline's own values",
        False: f"{view.name}: {text}; all found filters replaced by the real baseline's values",
    }
    return [_claim(view, points, title, own_values=way) for way, title in ways.items()]


def _claim(view: View, points: Sequence[str], title: str, *, own_values: bool) -> Claim:
    gains, words = [], []
    for masked in view.degradations:
        real = replaced(FINE_TUNED, FINE_TUNED, view.percent, masked)
        said = [_numbers(view, FINE_TUNED, real)]
        for point in points:
            if point != FINE_TUNED:
                other = replaced(point, point if own_values else FINE_TUNED, view.percent, masked)
                gains.append(view.selectivity_gain(real, other))
                shared = over_seeds([each.share for each in _against_real(view, point, masked)])
                said.append(f"{_numbers(view, point, other)}, {whole_percent(shared.mean)} of the same filters")
        words.append(f"{function_of(masked)}: {'; '.join(said)}")
    better, worse = sum(map(is_above, gains)), sum(map(is_below, gains))
    return Claim(
        title,
        "paper, ablation of the baseline",
        Verdict.of([is_above(gain) for gain in gains]),
        ". ".join(words) + f". (Selectivity, own / cross damage x 1000; by the interval of the paired difference in "
        f"selectivity the real baseline is better in {better} and worse in {worse} of {len(gains)} comparisons)",
    )


def _numbers(view: View, point: str, edit: Edit) -> str:
    own = view.judged.distance(edit, edit.masked).mean
    cross = max(view.judged.distance(edit, kind).mean for kind in view.others(edit.masked))
    return f"{LABELS[point]} {view.selectivity(edit).mean:.2f} ({own:.3g} / {cross:.3g})"


def _against_real(view: View, point: str, masked: str) -> list[Overlap]:
    """Set what was found from a baseline against what was found from the real one, for every target model."""
    return view.overlaps(view.edit(point, masked), view.edit(FINE_TUNED, masked))


def _damage(view: View, points: Sequence[str], masked: str, *, own_values: bool) -> Table:
    """Return own and cross damage, removal, preservation and selectivity of the filters found for one degradation."""
    heads = ["filters found from"]
    for kind in view.inputs:
        share = "removal" if kind == masked else "preservation"
        heads += [f"{kind} input: distance", f"{kind} input: {share}"]
    rows = [_damage_row(view, LABELS[point], point, point if own_values else FINE_TUNED, masked) for point in points]
    if own_values:
        labels = {point: f"(random filters, values of: {LABELS[point]})" for point in points}
        rows += [_damage_row(view, label, CONTROL, point, masked) for point, label in labels.items()]
        whose, stem = "each baseline's own values", "own-values"
    else:
        rows.append(_damage_row(view, "(random filters)", CONTROL, FINE_TUNED, masked))
        whose, stem = "the real baseline's values", "real-values"
    return Table(
        f"{stem}-{view.name}-{safe_name(masked)}",
        f"{view.name}, {function_of(masked)} filters, {view.percent:g} % replaced by {whose}",
        (*heads, "selectivity"),
        rows,
        "Distance x 1000 to the target's output, true gray: own damage on the own input, cross damage elsewhere. "
        "Removal and preservation towards the real baseline. Selectivity = removal + preservation of the other "
        "degradation − 1: 1 is ideal, 0 is nothing replaced, below 0 is broken.",
    )


def _damage_row(view: View, label: str, point: str, donor: str, masked: str) -> Row:
    edit = replaced(point, donor, view.percent, masked)
    cells: list[Cell] = [label]
    for kind in view.inputs:
        cells += [view.judged.distance(edit, kind), view.judged.share(edit, kind)]
    return (*cells, view.selectivity(edit))


def _overlaps(view: View, points: Sequence[str]) -> Table:
    """Return how much of the real baseline's sets every other baseline finds, against chance."""
    heads = [f"{kind}{what}" for kind in view.degradations for what in ("", ", times chance", ", p")]
    rows = []
    for point in points:
        if point == FINE_TUNED:
            continue
        cells: list[Cell] = [LABELS[point]]
        for kind in view.degradations:
            both = _against_real(view, point, kind)
            cells += [over_seeds([each.share for each in both]), over_seeds([each.ratio for each in both])]
            cells.append(max(each.p_more for each in both) or "< 1e−300")
        rows.append(tuple(cells))
    return Table(
        f"overlap-{view.name}",
        f"{view.name}, {view.percent:g} %: overlap with the sets found from the real baseline",
        ("filters found from", *heads),
        rows,
        f"Share of one set that is in the other; random sets share {view.percent:g} %. p: probability of at least as "
        "many in common by chance (hypergeometric; the largest over target models).",
    )


def _networks(view: View, trials: Sequence[Trial], alone: Mapping[str, Judged]) -> Table:
    """Return how good the baselines are, how far from the target, and how exact the integrals from there."""
    rows = []
    for name, judged in alone.items():
        pairs = [trial.points[name].pair for trial in trials]
        away = [float(pair.change.norm() / pair.target.norm()) for pair in pairs]
        entries = [entry for trial in trials for entry in trial.found[name].completeness]
        gaps = sorted(entry.gap for entry in entries)
        cells: list[Cell] = [
            LABELS[name],
            *(judged.quality("baseline", kind) for kind in view.inputs),
            over_seeds(away),
        ]
        cells += [sum(entry.nodes for entry in entries) / len(entries), gaps[len(gaps) // 2], gaps[-1]]
        rows.append((*cells, str(trials[0].found[name].settings["precision"])))
    heads = [f"PSNR, {kind} (dB)" for kind in view.inputs]
    return Table(
        f"baselines-{view.name}",
        f"{view.name}: the baselines themselves, and how exact the integrals from there are",
        ("baseline", *heads, "‖θ − θ̄‖ / ‖θ‖", "nodes", "gap, median", "gap, largest", "precision"),
        rows,
        "Completeness gap: by which part of the loss's change the attributions of all parameters miss it.",
    )


def _panels(view: View, points: Sequence[str]) -> Iterator[Panel]:
    """Draw the selectivity of every baseline's filters, with its own values and with the real baseline's."""
    for masked in view.degradations:
        bars = {}
        for point in points:
            for donor in dict.fromkeys((point, FINE_TUNED)):
                whose = "real values" if donor == FINE_TUNED else "own values"
                label = LABELS[point] if point == FINE_TUNED else f"{LABELS[point]}, {whose}"
                bars[label] = _cut(view.selectivity(replaced(point, donor, view.percent, masked)))
        title = f"{view.name}: selectivity of the {function_of(masked)} filters (cut at −1)"
        yield drawing.bars(f"{view.name}-{safe_name(masked)}", title, bars, "removal + preservation − 1")


def _cut(value: Estimate) -> Estimate:
    """Cut at −1: how badly a network is broken would hide everything else."""
    low, high = (None if end is None else max(-1.0, end) for end in (value.low, value.high))
    return Estimate(max(-1.0, value.mean), low, high, value.sd, value.n)


def _specification(laboratory: Laboratory, settings: BaselineSettings) -> dict[str, str]:
    common = laboratory.common
    found = f"{len(finding_of(laboratory, settings))} images: {images_text(common.find)}"
    if settings.find_crop is not None:
        found += f", of these the central squares of {settings.find_crop} pixels"
    thinned = "" if settings.judge_images is None else f" (at most {settings.judge_images} of these)"
    return common_rows(common, common.pairs[: settings.pairs], of_each=thinned) | {
        "found on": found,
        "distance": FUNCTION_DISTANCE,
        "intervals": INTERVALS,
        "path": f"adaptive quadrature, tolerance {common.tolerance:g}, at most {settings.most_nodes} nodes",
        "random initialisation": f"the architecture's own, keyed by seed {common.seed} and the target model",
    }


def _text(settings: BaselineSettings) -> tuple[str, ...]:
    independent = (
        "The independent network is a clean super-resolver of the same recipe and another seed."
        if settings.independent
        else "The independently trained network is left out here: set independent = true in the section 'baselines' of "
        "the recipe (the recipes cpu and full do), and it is trained with the images of the common setting 'train'."
    )
    return (
        "FAIG follows the straight path from a baseline to the target. Here the same target gets other baselines: "
        "FAIG along each path, the found filters replaced, and the damage measured. Whoever gives the values, removal "
        "and preservation are measured towards the baseline that the target was fine-tuned from.",
        "Damage mixes two things: *which* filters are replaced and *what* replaces them. Values of an unrelated "
        "network do not take a function back to the baseline; in filters that serve several functions they break the "
        "network. The controls, random filters with the same values, show what the values do by themselves. A second "
        "set of tables puts the real baseline's values into all found sets: there only the choice of the filters "
        "differs.",
        independent,
    )


EXPERIMENT = Experiment(
    "baselines",
    "Ablation of the baseline",
    "the path from the baseline the target was fine-tuned from, against paths from unrelated networks",
    BaselineSettings,
    run,
)
