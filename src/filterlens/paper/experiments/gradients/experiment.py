# SPDX-License-Identifier: Apache-2.0
"""Ablation of the gradient: what path, change and elimination are worth, each taken away alone."""

from collections.abc import Sequence

from filterlens.attribution.taylor import EndpointGradient, Taylor
from filterlens.data.samples import Sample
from filterlens.evaluation.damage import Edit
from filterlens.evaluation.function_distance import FUNCTION_DISTANCE
from filterlens.evaluation.statistics import over_seeds
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
from filterlens.paper.experiments.gradients import tables
from filterlens.paper.experiments.gradients.tables import LABELS, Found, View, sets_overlap
from filterlens.paper.images import evenly
from filterlens.paper.judged import INTERVALS, Judged, judge, others_of, selections_of
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.settings import Percent, Positive, Settings
from filterlens.report.figures import Panel
from filterlens.report.labels import function_of, listed, whole_percent


class GradientSettings(Settings):
    """Settings of the ablation of the gradient.

    Attributes:
        pairs: Of the common pairs, how many, the first ones.
        percent: Share of the filters that is replaced.
        judge_images: Judge on at most so many images, spread evenly over the set.
    """

    pairs: Positive = 2
    percent: Percent = 1.0
    judge_images: Positive | None = 8


def run(laboratory: Laboratory, settings: GradientSettings) -> Outcome:
    """Rank with every part of the score taken away, replace, and judge."""
    shown: list[Table] = []
    claims: list[Claim] = []
    panels: list[Panel] = []
    for name in laboratory.common.pairs[: settings.pairs]:
        models = laboratory.targets(name)
        found = [rankings(laboratory, model) for model in models]
        judged = _judged(laboratory, settings, name, models, found)
        view = View(name, settings.percent, laboratory.common.degradations, list(laboratory.inputs), judged, found)
        shown += [*tables.damage_tables(view), tables.overlaps(view)]
        panels += tables.panels(view)
        claims += claims_of(view)
    return Outcome(tuple(claims), tuple(shown), tuple(panels), _TEXT, _specification(laboratory, settings))


def rankings(laboratory: Laboratory, model: TargetModel) -> Found:
    """Return the rankings of one target model: name of :data:`LABELS` → attribution, in that order."""
    common, degradations = laboratory.common, laboratory.common.degradations
    named = [name for name in LABELS if name.split("-")[0] in ("random", "change", "faig")]
    found = laboratory.attribute(model, named, laboratory.finding)
    for method in (EndpointGradient, Taylor):
        scored = method(model.pair, seed=common.seed, precision=common.precision).attribute_both(
            laboratory.finding, degradations, progress=laboratory.progress, runner=laboratory.runner(model)
        )
        found |= {each.method: each for each in scored}
    return {name: found[name] for name in LABELS}


def _judged(
    laboratory: Laboratory,
    settings: GradientSettings,
    name: str,
    models: Sequence[TargetModel],
    found: Sequence[Found],
) -> Judged:
    percents, degradations = (settings.percent,), laboratory.common.degradations
    edited = [(model, selections_of(each, percents, degradations)) for model, each in zip(models, found, strict=True)]
    return judge(laboratory, edited, _judging(laboratory, settings, name))


def _judging(laboratory: Laboratory, settings: GradientSettings, name: str) -> list[Sample]:
    return evenly(laboratory.judging(name), settings.judge_images)


def claims_of(view: View) -> list[Claim]:
    """Judge the paper's claims for one pair."""
    return [_elimination_lowers_cross(view), *(_better(view, *comparison) for comparison in COMPARISONS)]


def _elimination_lowers_cross(view: View) -> Claim:
    degradations = view.degradations
    checks, words = [], []
    for masked in degradations:
        full, plain = (view.edit(method, masked) for method in ("faig", "faig-no-elimination"))
        for kind in others_of(masked, degradations):
            checks.append(is_below(view.judged.distance_gain(full, plain, kind)))
            with_it, without = view.judged.distance(full, kind).mean, view.judged.distance(plain, kind).mean
            words.append(f"{function_of(masked)} filters on {kind}: {with_it:.3g} with, {without:.3g} without")
    if len(degradations) > 1:
        first, second = degradations[:2]
        shared = [sets_overlap(each["faig-no-elimination"], view.percent, first, second) for each in view.found]
        part = over_seeds([each.share for each in shared]).mean
        words.append(f"without it the sets for {first} and {second} share {whole_percent(part)} of their filters")
    return Claim(
        f"{view.name}: gradient elimination lowers cross damage",
        "paper, ablation of the gradient",
        Verdict.of(checks),
        "; ".join(words) + " (cross damage x 1000; a check holds where the interval of the paired difference does)",
    )


COMPARISONS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("FAIG beats FAIG without elimination", ("faig-no-elimination",), "paper, ablation of the gradient"),
    ("the path beats the endpoint (one gradient times change)", ("taylor",), "filterlens"),
    ("neither the change alone nor the endpoint's gradient alone finds what FAIG finds",
     ("change-relative", "change-absolute", "gradient"), "filterlens"),
)  # fmt: skip


def _better(view: View, text: str, rivals: Sequence[str], source: str) -> Claim:
    """Judge whether FAIG has more own damage **and** more selectivity than every rival."""
    checks: dict[str, bool] = {}
    words = []
    for masked in view.degradations:
        others, full = others_of(masked, view.degradations), view.edit("faig", masked)
        said = [_numbers(view, full, others)]
        for rival in (view.edit(method, masked) for method in rivals):
            against = f"of {function_of(masked)} against '{LABELS[rival.method]}'"
            checks[f"own damage {against}"] = is_above(view.judged.distance_gain(full, rival, masked))
            checks[f"selectivity {against}"] = is_above(view.judged.selectivity_gain(full, rival, others))
            said.append(_numbers(view, rival, others))
        words.append(f"{function_of(masked)}: {'; '.join(said)}")
    failed = [check for check, holds in checks.items() if not holds]
    return Claim(
        f"{view.name}: {text}",
        source,
        Verdict.of(list(checks.values())),
        ". ".join(words) + ". (Own damage x 1000, selectivity; both must be larger, by the interval of the paired "
        f"difference{'' if not failed else ', which is not so for: ' + listed(failed)})",
    )


def _numbers(view: View, edit: Edit, others: Sequence[str]) -> str:
    damage, index = view.judged.distance(edit, edit.masked).mean, view.judged.selectivity(edit, others).mean
    return f"{LABELS[edit.method]} {damage:.3g}, {index:.2f}"


def _specification(laboratory: Laboratory, settings: GradientSettings) -> dict[str, str]:
    common = laboratory.common
    thinned = "" if settings.judge_images is None else f" (at most {settings.judge_images} of these)"
    return {
        "target models": targets_text(laboratory.common),
        "found on": images_text(common.find),
        "judged on": "; ".join(
            f"{name}: {images_text(common.judged_on(name))}{thinned}" for name in common.pairs[: settings.pairs]
        ),
        "distance": FUNCTION_DISTANCE,
        "intervals": INTERVALS,
        "path": f"adaptive quadrature, tolerance {common.tolerance:g}; single gradients: at the target",
    }


_TEXT = (
    "FAIG's score has three parts: gradients along the path, the change of the weights, and the elimination of what "
    "other degradations use too. Here each is taken away: the change of the weights alone; the gradient at the target "
    "alone; their product at the target (Taylor); the whole path. Every score with a gradient is shown with and "
    "without elimination. Whatever a score finds is replaced by the baseline's values.",
    "Own damage alone rewards breaking the network, so every comparison asks for two things: more own damage, which is "
    "the paper's measure, and more selectivity, which neither breaking the network nor leaving it alone can win.",
)

EXPERIMENT = Experiment(
    "gradients",
    "Ablation of the gradient",
    "change alone, endpoint gradient alone, Taylor, and FAIG without and with elimination",
    GradientSettings,
    run,
)
