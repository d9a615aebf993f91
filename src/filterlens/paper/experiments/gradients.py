# SPDX-License-Identifier: Apache-2.0
"""Ablation of the gradient: the effect of path, change and elimination, each left out alone."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from filterlens.attribution.faig import EndpointGradient, Taylor
from filterlens.attribution.result import Attribution
from filterlens.evaluation.function_distance import FUNCTION_DISTANCE
from filterlens.evaluation.statistics import over_seeds
from filterlens.paper import drawing
from filterlens.paper.experiment import (
    Cell,
    Claim,
    Experiment,
    Outcome,
    Part,
    Table,
    Verdict,
    common_rows,
    is_above,
    is_below,
)
from filterlens.paper.judged import INTERVALS, View, view_of
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import function_of, listed, whole_percent
from filterlens.run.tables import Edit
from filterlens.settings import Percent, Positive, Settings

LABELS = {
    "random": "random",
    "change-relative": "change only, relative",
    "change-absolute": "change only, absolute",
    "gradient-no-elimination": "gradient at the target, no elimination",
    "gradient": "gradient at the target, eliminated",
    "taylor-no-elimination": "gradient x change (Taylor), no elimination",
    "taylor": "gradient x change (Taylor), eliminated",
    "faig-no-elimination": "path (FAIG), no elimination",
    "faig": "path (FAIG), eliminated",
}


class GradientSettings(Settings):
    """Settings of the ablation of the gradient.

    Attributes:
        pairs: How many of the common pairs, from the first.
        percent: Share of the filters that is replaced.
        judge_images: Judge on at most so many images, spread evenly over the set.
    """

    pairs: Positive = 2
    percent: Percent = 1.0
    judge_images: Positive | None = 8


def run(laboratory: Laboratory, settings: GradientSettings) -> Outcome:
    """Rank with every part of the score taken away, replace, and judge."""
    tables: list[Table] = []
    claims: list[Claim] = []
    panels: list[Panel] = []
    for name in laboratory.common.pairs[: settings.pairs]:
        models = laboratory.targets(name)
        found = [rankings(laboratory, model) for model in models]
        judging = laboratory.judging(name, settings.judge_images)
        view = view_of(laboratory, models, found, [settings.percent], judging)
        tables += [_damage(view), _shares(view), _overlaps(view)]
        panels += _panels(view)
        claims += claims_of(view)
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _TEXT, _specification(laboratory, settings))


def rankings(laboratory: Laboratory, model: TargetModel) -> Mapping[str, Attribution]:
    """Return the rankings of one target model: name of :data:`LABELS` → attribution, in that order."""
    common = laboratory.common
    named = [name for name in LABELS if name.split("-")[0] in ("random", "change", "faig")]
    found = laboratory.attribute(model, named, laboratory.finding)
    for method in (EndpointGradient, Taylor):
        scored = method(model.pair, seed=common.seed, precision=common.precision).attribute_both(
            laboratory.finding, common.degradations, progress=laboratory.progress, store=laboratory.store
        )
        found |= {each.method: each for each in scored}
    return {name: found[name] for name in LABELS}


def claims_of(view: View) -> list[Claim]:
    """Judge the paper's claims for one pair."""
    return [_elimination_lowers_cross(view), *(_better(view, *comparison) for comparison in COMPARISONS)]


def _elimination_lowers_cross(view: View) -> Claim:
    def judged(masked: str, kind: str) -> Part:
        full, plain = (view.edit(method, masked) for method in ("faig", "faig-no-elimination"))
        with_it, without = (view.judged.distance(edit, kind).mean for edit in (full, plain))
        words = f"{function_of(masked)} filters on {kind}: {with_it:.3g} with, {without:.3g} without"
        return [is_below(view.judged.distance_gain(full, plain, kind))], words

    shared = []
    if len(view.degradations) > 1:
        first, second = view.degradations[:2]
        sets = [view.edit("faig-no-elimination", masked) for masked in (first, second)]
        part = over_seeds([each.share for each in view.overlaps(*sets)]).mean
        shared.append(f"without it the sets for {first} and {second} share {whole_percent(part)} of their filters")
    return Claim.of(
        f"{view.name}: gradient elimination lowers cross damage",
        "paper, ablation of the gradient",
        [judged(masked, kind) for masked in view.degradations for kind in view.others(masked)],
        *shared,
        end=" (cross damage x 1000; a check holds where the interval of the paired difference does)",
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
        full = view.edit("faig", masked)
        said = [_numbers(view, full)]
        for rival in (view.edit(method, masked) for method in rivals):
            against = f"of {function_of(masked)} against '{LABELS[rival.method]}'"
            checks[f"own damage {against}"] = is_above(view.judged.distance_gain(full, rival, masked))
            checks[f"selectivity {against}"] = is_above(view.selectivity_gain(full, rival))
            said.append(_numbers(view, rival))
        words.append(f"{function_of(masked)}: {'; '.join(said)}")
    failed = [check for check, holds in checks.items() if not holds]
    return Claim(
        f"{view.name}: {text}",
        source,
        Verdict.of(checks.values()),
        ". ".join(words) + ". (Own damage x 1000, selectivity; both must be larger, by the interval of the paired "
        f"difference{'' if not failed else ', which is not so for: ' + listed(failed)})",
    )


def _numbers(view: View, edit: Edit) -> str:
    own, index = view.judged.distance(edit, edit.masked).mean, view.selectivity(edit).mean
    return f"{LABELS[edit.method]} {own:.3g}, {index:.2f}"


def _damage(view: View) -> Table:
    """Return own and cross damage of every score."""
    return Table(
        f"damage-{view.name}",
        f"{view.name}, {view.percent:g} %: own and cross damage x 1000, true gray",
        ("score", *view.heads),
        view.rows(LABELS, view.judged.distance),
        "Columns with the own input hold own damage, all others cross damage. "
        "Mean ± sd over target models, [95 % bootstrap interval over images].",
    )


def _shares(view: View) -> Table:
    """Return removal, preservation and selectivity of every score."""
    heads = []
    for masked in view.degradations:
        heads += [f"{masked} filters, {what}" for what in (*(f"{kind} input" for kind in view.inputs), "selectivity")]
    rows = []
    for method, label in LABELS.items():
        cells: list[Cell] = [label]
        for edit in (view.edit(method, masked) for masked in view.degradations):
            cells += [*(view.judged.share(edit, kind) for kind in view.inputs), view.selectivity(edit)]
        rows.append(tuple(cells))
    return Table(
        f"share-{view.name}",
        f"{view.name}, {view.percent:g} %: removal of the own function, preservation of the rest, selectivity",
        ("score", *heads),
        rows,
        "Selectivity = removal + preservation of the other degradation − 1: 1 is ideal, 0 is nothing (or everything) "
        "replaced, below 0 is broken.",
    )


def _overlaps(view: View) -> Table:
    """Return how much the sets found for different degradations have in common, and with FAIG's."""
    pairs = list(combinations(view.degradations, 2))
    heads = [f"{first} and {second}{what}" for first, second in pairs for what in ("", ", times chance")]
    heads += [f"{kind}: of FAIG's" for kind in view.degradations]
    rows = []
    for method, label in LABELS.items():
        cells: list[Cell] = [label]
        for first, second in pairs:
            both = view.overlaps(view.edit(method, first), view.edit(method, second))
            cells += [over_seeds([each.share for each in both]), over_seeds([each.ratio for each in both])]
        for kind in view.degradations:
            both = view.overlaps(view.edit(method, kind), view.edit("faig", kind))
            cells.append(over_seeds([each.share for each in both]))
        rows.append(tuple(cells))
    return Table(
        f"overlap-{view.name}",
        f"{view.name}, {view.percent:g} %: overlap of the sets found for different degradations",
        ("score", *heads),
        rows,
        f"Share of one set that is in the other; random sets share {view.percent:g} % (once chance). With two "
        "degradations elimination makes the two rankings opposites, so their tops are disjoint by construction; "
        "scores of the change alone have one ranking for all degradations. Last columns: how much of FAIG's own set "
        "a score finds.",
    )


def _panels(view: View) -> Iterator[Panel]:
    """Draw own damage and selectivity of every score."""
    for masked in view.degradations:
        edits = {label: view.edit(method, masked) for method, label in LABELS.items()}
        own = {label: view.judged.distance(edit, masked) for label, edit in edits.items()}
        stem = f"{view.name}-{safe_name(masked)}"
        yield drawing.bars(f"own-{stem}", f"{view.name}: own damage on {masked}", own, "distance × 10³")
        chosen = {label: view.selectivity(edit) for label, edit in edits.items()}
        title = f"{view.name}: selectivity of the {function_of(masked)} filters"
        yield drawing.bars(f"selectivity-{stem}", title, chosen, "removal + preservation − 1")


def _specification(laboratory: Laboratory, settings: GradientSettings) -> dict[str, str]:
    common = laboratory.common
    thinned = "" if settings.judge_images is None else f" (at most {settings.judge_images} of these)"
    return common_rows(common, common.pairs[: settings.pairs], of_each=thinned) | {
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
