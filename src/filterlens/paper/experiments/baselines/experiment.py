# SPDX-License-Identifier: Apache-2.0
"""Ablation of the baseline: what it is worth to start the path where the target's fine-tuning started."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from filterlens.attribution.adaptive import Adaptive
from filterlens.attribution.result import Attribution
from filterlens.data.samples import Sample
from filterlens.evaluation.damage import Edit
from filterlens.evaluation.function_distance import FUNCTION_DISTANCE
from filterlens.filters import Selection
from filterlens.paper.experiment import (
    Claim,
    Experiment,
    Outcome,
    Table,
    Verdict,
    images_text,
    is_above,
    is_below,
    targets_text,
)
from filterlens.paper.experiments.baselines import tables
from filterlens.paper.experiments.baselines.replacing import Patient, Replacement, judge_replaced
from filterlens.paper.experiments.baselines.start_points import (
    FINE_TUNED,
    LABELS,
    independent_network,
    start_points,
    with_limit,
)
from filterlens.paper.images import evenly, squares
from filterlens.paper.judged import INTERVALS, Judged, others_of
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.settings import Percent, Positive, Settings
from filterlens.report.figures import Panel
from filterlens.report.labels import function_of, whole_percent

Found = Mapping[str, Attribution]


class BaselineSettings(Settings):
    """Settings of the ablation of the baseline.

    Attributes:
        pairs: Of the common pairs, how many, the first ones.
        percent: Share of the filters that is replaced.
        independent: Also start from an independently trained network; it is trained where it is missing, which takes
            as long as the baseline of the pair did.
        find_images: Find on at most so many images, spread evenly over the set: paths from unrelated networks need
            many nodes.
        find_crop: Find on the central squares of that side in HR pixels; None takes the images as they are.
        most_nodes: Of an integral on the path.
        judge_images: Judge on at most so many images, spread evenly over the set.
    """

    pairs: Positive = 2
    percent: Percent = 1.0
    independent: bool = True
    find_images: Positive | None = 4
    find_crop: Positive | None = 192
    most_nodes: Annotated[int, Field(ge=7, le=64)] = 32
    judge_images: Positive | None = 8


def run(laboratory: Laboratory, settings: BaselineSettings) -> Outcome:
    """Find along the path from every baseline, replace by its and by the real baseline's values, and judge."""
    shown: list[Table] = []
    claims: list[Claim] = []
    panels: list[Panel] = []
    for name in laboratory.common.pairs[: settings.pairs]:
        trials = trials_of(laboratory, settings, name)
        judged = judge_replaced(laboratory, [_patient(laboratory, settings, each) for each in trials],
                                evenly(laboratory.judging(name), settings.judge_images))  # fmt: skip
        view = tables.View(name, settings.percent, laboratory.common.degradations, list(laboratory.inputs), judged)
        points, found = list(trials[0].points), [trial.found for trial in trials]
        shown += [
            *(
                tables.damage(view, points, masked, own_values=way)
                for way in (True, False)
                for masked in view.degradations
            ),
            tables.overlaps(view, points, found),
            tables.networks(view, [trial.points for trial in trials], found),
        ]
        panels += tables.panels(view, points)
        claims += claims_of(view, points, found)
    return Outcome(tuple(claims), tuple(shown), tuple(panels), _text(settings), _specification(laboratory, settings))


@dataclass(frozen=True, eq=False)
class Trial:
    """One target model with all its baselines.

    Attributes:
        points: Name → the target with that baseline; its own comes first.
        found: Name → what was found along the path from there.
    """

    points: Mapping[str, TargetModel]
    found: Found


def trials_of(laboratory: Laboratory, settings: BaselineSettings, name: str) -> list[Trial]:
    """Find the filters of every target model of a pair from every baseline."""
    independent = independent_network(laboratory, name) if settings.independent else None
    rule = Adaptive(laboratory.common.tolerance, most=settings.most_nodes)
    finding = _finding(laboratory, settings)
    trials = []
    for model in laboratory.targets(name):
        points = {each.name: each.model for each in start_points(laboratory, model, independent=independent)}
        found = {
            point: laboratory.attribute(
                with_limit(start, settings.most_nodes), ["faig"], finding, path_settings={"quadrature": rule}
            )["faig"]
            for point, start in points.items()
        }
        trials.append(Trial(points, found))
    return trials


def _finding(laboratory: Laboratory, settings: BaselineSettings) -> list[Sample]:
    chosen = evenly(laboratory.finding, settings.find_images)
    if settings.find_crop is None:
        return chosen
    return [square for sample in chosen for square in squares(sample, settings.find_crop, 1)]


def _patient(laboratory: Laboratory, settings: BaselineSettings, trial: Trial) -> Patient:
    """Return all replacements: each found set by its own baseline's values and by the real one's, and the controls."""
    edits: dict[Edit, Replacement] = {}
    for masked in laboratory.common.degradations:
        for point, found in trial.found.items():
            selection = found.select(masked, settings.percent)
            for donor in dict.fromkeys((point, FINE_TUNED)):
                edits[tables.edit(point, donor, settings.percent, masked)] = Replacement(selection, donor)
        random = _random(laboratory, trial.points[FINE_TUNED], settings.percent, masked)
        for donor in trial.points:
            edits[tables.edit(tables.CONTROL, donor, settings.percent, masked)] = Replacement(random, donor)
    return Patient(trial.points[FINE_TUNED], trial.points, edits)


def _random(laboratory: Laboratory, model: TargetModel, percent: float, masked: str) -> Selection:
    return laboratory.attribute(model, ["random"], laboratory.finding[:1])["random"].select(masked, percent)


def claims_of(view: tables.View, points: Sequence[str], found: Sequence[Found]) -> list[Claim]:
    """Judge the paper's claim twice: with each baseline's own values, and with the real baseline's for all sets."""
    text = "the baseline that the target was fine-tuned from finds more discriminative filters than unrelated ones"
    ways = {
        True: f"{view.name}: {text}; found filters replaced by each baseline's own values",
        False: f"{view.name}: {text}; all found filters replaced by the real baseline's values",
    }
    return [_claim(view, points, found, title, own_values=way) for way, title in ways.items()]


def _claim(view: tables.View, points: Sequence[str], found: Sequence[Found], title: str, *, own_values: bool) -> Claim:
    gains, words = [], []
    for masked in view.degradations:
        others = others_of(masked, view.degradations)
        real = tables.edit(FINE_TUNED, FINE_TUNED, view.percent, masked)
        said = [_numbers(view.judged, FINE_TUNED, real, others)]
        for point in points:
            if point != FINE_TUNED:
                other = tables.edit(point, point if own_values else FINE_TUNED, view.percent, masked)
                gains.append(view.judged.selectivity_gain(real, other, others))
                shared = tables.shared(view, found, point, masked)
                said.append(
                    f"{_numbers(view.judged, point, other, others)}, {whole_percent(shared.mean)} of the same filters"
                )
        words.append(f"{function_of(masked)}: {'; '.join(said)}")
    better, worse = sum(map(is_above, gains)), sum(map(is_below, gains))
    return Claim(
        title,
        "paper, ablation of the baseline",
        Verdict.of([is_above(gain) for gain in gains]),
        ". ".join(words) + f". (Selectivity, own / cross damage x 1000; by the interval of the paired difference in "
        f"selectivity the real baseline is better in {better} and worse in {worse} of {len(gains)} comparisons)",
    )


def _numbers(judged: Judged, point: str, edit: Edit, others: Sequence[str]) -> str:
    own, cross = judged.distance(edit, edit.masked).mean, max(judged.distance(edit, kind).mean for kind in others)
    return f"{LABELS[point]} {judged.selectivity(edit, others).mean:.2f} ({own:.3g} / {cross:.3g})"


def _specification(laboratory: Laboratory, settings: BaselineSettings) -> dict[str, str]:
    common = laboratory.common
    found = f"{len(_finding(laboratory, settings))} images: {images_text(common.find)}"
    if settings.find_crop is not None:
        found += f", of these the central squares of {settings.find_crop} pixels"
    thinned = "" if settings.judge_images is None else f" (at most {settings.judge_images} of these)"
    return {
        "target models": targets_text(laboratory.common),
        "found on": found,
        "judged on": "; ".join(
            f"{name}: {images_text(common.judged_on(name))}{thinned}" for name in common.pairs[: settings.pairs]
        ),
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
