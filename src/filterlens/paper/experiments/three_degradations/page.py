# SPDX-License-Identifier: Apache-2.0
"""The page on more than two degradations: tables, figures, and claims of the paper and of ours."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from filterlens.diagnosis.distribution import chance_depth, depth_estimate, distribution, mean_depth, uniformity
from filterlens.diagnosis.overlap import PATCH
from filterlens.evaluation.function_distance import FUNCTION_DISTANCE
from filterlens.evaluation.statistics import over_seeds
from filterlens.paper import drawing
from filterlens.paper.experiment import (
    Cell,
    Claim,
    Experiment,
    Outcome,
    Table,
    Verdict,
    above,
    images_text,
    is_above,
)
from filterlens.paper.experiments.classification.page import (
    accuracy_table,
    both_recognised,
    confusion_table,
    overlap_table,
    telling_panels,
    threshold_table,
    told_rightly,
)
from filterlens.paper.experiments.three_degradations.measure import (
    GOAL,
    MAX,
    MEAN,
    ThreeDegradationsSettings,
    study,
)
from filterlens.paper.judged import View
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.overlaps import calibration_text
from filterlens.report.figures import Panel
from filterlens.report.labels import function_of, method_label, significant
from filterlens.run.tables import Edit

LABELS = {MEAN: "FAIG, mean of the others", MAX: "FAIG, maximum of the others", GOAL: "goal-directed"}
SHOWN = (MEAN, GOAL)  # as matrices
ABOVE = 3.0  # own damage over cross damage
NEAR = 2.0  # times chance


def run(laboratory: Laboratory, settings: ThreeDegradationsSettings) -> Outcome:
    """Rank for all degradations, replace and judge, and tell which degradations inputs have."""
    view, way = study(laboratory, settings)
    told = f"{view.name}, {way.percent:g} %"
    return Outcome(
        (
            *_damage_claims(view),
            sets_are_apart(view),
            told_rightly(view.name, way),
            both_recognised(view.name, way),
        ),
        (
            *(table for percent in settings.percents for table in _damage_tables(view, percent)),
            _quality_table(view),
            *_set_tables(view),
            accuracy_table("accuracy", f"{told}: clean inputs and inputs with one degradation", [way], simple=True),
            accuracy_table("accuracy-both", f"{told}: the same with inputs that have two", [way], simple=False),
            overlap_table("overlap", f"{told}: mean overlap score", [way]),
            confusion_table("confusion", f"{told}: labels at calibrated thresholds", way, way.calibrated),
            threshold_table("thresholds", f"{told}: thresholds and time", [way]),
        ),
        (*_damage_panels(view), _layer_panel(view), *telling_panels("", view.name, way, [way])),
        _TEXT,
        _specification(laboratory, settings, len(view.found)),
    )


def _damage_claims(view: View) -> Iterator[Claim]:
    """Judge own against cross damage, and FAIG against its rivals."""
    yield own_above_cross(view)
    if rivals := [method for method in view.judged.methods if method in ("ig", "random")]:
        yield above_rivals(view, rivals)
    if MAX in view.judged.methods:
        yield mean_against_maximum(view)
    if GOAL in view.judged.methods:
        yield goal_directed(view)


def own_above_cross(view: View) -> Claim:
    """Judge whether every set destroys its own function more than the others."""
    checks, words = [], []
    for masked in view.degradations:
        own, *cross = (_distance(view, MEAN, masked, kind) for kind in (masked, *view.others(masked)))
        checks += [own > ABOVE * value for value in cross]
        kept = ", ".join(f"on {kind} {value:.3g}" for kind, value in zip(view.others(masked), cross, strict=True))
        gain = view.judged.quality("target", masked).mean - view.judged.quality("baseline", masked).mean
        removed = view.judged.share(view.edit(MEAN, masked), masked).mean
        words.append(
            f"{function_of(masked)} filters: own {own:.3g} (removal {removed:.2f} of a "
            f"function worth {significant(gain, 2)} dB), {kept}"
        )
    return Claim(
        f"{view.name}: with {len(view.degradations)} degradations, too, the filters found by FAIG destroy their own "
        f"function and hardly the others (own above {ABOVE:g} × each cross damage)",
        "filterlens, after the paper's section 4",
        Verdict.of(checks),
        "; ".join(words) + f" (damage x 1000, {view.percent:g} %; {sum(checks)} of {len(checks)} hold)",
    )


def above_rivals(view: View, rivals: Sequence[str]) -> Claim:
    """Judge whether FAIG does more own damage than other methods."""
    checks, words = [], []
    for masked in view.degradations:
        own, *values = (_distance(view, method, masked, masked) for method in (MEAN, *rivals))
        checks += [own > value for value in values]
        others = ", ".join(f"{_label(rival)} {value:.3g}" for rival, value in zip(rivals, values, strict=True))
        words.append(f"{masked}: FAIG {own:.3g}, {others}")
    return Claim(
        f"{view.name}: FAIG destroys each function more than {' and '.join(_label(rival) for rival in rivals)}",
        "filterlens, after the paper's tables 1 and 2",
        Verdict.of(checks),
        "; ".join(words) + f" (own damage x 1000, {view.percent:g} %)",
    )


def mean_against_maximum(view: View) -> Claim:
    """Judge whether eliminating against the mean is nowhere worse than against the maximum."""
    checks, words = [], []
    for masked in view.degradations:
        mean, largest = (view.edit(method, masked) for method in (MEAN, MAX))
        better = above(view.selectivity_gain(mean, largest))
        checks.append(better is not False)
        said = {True: "mean better", False: "maximum better", None: "no difference"}[better]
        words.append(
            f"{function_of(masked)}: selectivity {view.selectivity(mean).mean:.2f} with the mean, "
            f"{view.selectivity(largest).mean:.2f} with the maximum, which keep {_kept(view, mean):.2f} and "
            f"{_kept(view, largest):.2f} of the others ({said})"
        )
    return Claim(
        f"{view.name}: eliminating against the mean of the other degradations is nowhere less selective than against "
        "their maximum",
        "filterlens; the paper does not say which",
        Verdict.of(checks),
        "; ".join(words) + " (by the interval of the paired difference)",
    )


def goal_directed(view: View) -> Claim:
    """Judge whether the goal-directed ranking is more selective than FAIG."""
    checks, words = [], []
    for masked in view.degradations:
        ours, theirs = (view.edit(method, masked) for method in (GOAL, MEAN))
        checks.append(is_above(view.selectivity_gain(ours, theirs)))
        words.append(
            f"{function_of(masked)}: {view.selectivity(ours).mean:.2f} (removal "
            f"{view.judged.share(ours, masked).mean:.2f}, others kept {_kept(view, ours):.2f}) against "
            f"{view.selectivity(theirs).mean:.2f}"
        )
    return Claim(
        f"{view.name}: goal-directed filters are more selective than FAIG's for every degradation",
        "filterlens",
        Verdict.of(checks),
        "; ".join(words),
    )


def sets_are_apart(view: View) -> Claim:
    """Judge whether the sets of any two degradations have hardly more in common than chance."""
    checks, words = [], []
    for first, second in combinations(view.degradations, 2):
        both = view.overlaps(view.edit(MEAN, first), view.edit(MEAN, second))
        ratio, share = (over_seeds([getattr(each, what) for each in both]).mean for what in ("ratio", "share"))
        checks.append(ratio <= NEAR)
        words.append(f"{first} and {second} share {100 * share:.1f} % of a set, {ratio:.1f} times chance")
    return Claim(
        f"{view.name}: each degradation has filters of its own (FAIG's sets share no more than {NEAR:g} times chance)",
        "filterlens, after the paper's section 4",
        Verdict.of(checks),
        "; ".join(words) + f" ({view.percent:g} %)",
    )


def _distance(view: View, method: str, masked: str, kind: str) -> float:
    return view.judged.distance(view.edit(method, masked), kind).mean


def _kept(view: View, edit: Edit) -> float:
    """Return the mean preservation of the other degradations."""
    others = view.others(edit.masked)
    return sum(view.judged.share(edit, kind).mean for kind in others) / len(others)


def _label(method: str) -> str:
    return LABELS.get(method, method_label(method))


def _damage_tables(view: View, percent: float) -> Iterator[Table]:
    """Yield own and cross damage, and removal, preservation and selectivity, at one percentage."""
    judged = view.judged
    edits = [Edit(method, percent, masked) for method in judged.methods for masked in view.degradations]
    columns = ("method", "filters for", *(f"{kind} input" for kind in view.inputs))
    heads = [(_label(edit.method), edit.masked) for edit in edits]
    distances = [[judged.distance(edit, kind) for kind in view.inputs] for edit in edits]
    shares = [[*(judged.share(edit, kind) for kind in view.inputs), view.selectivity(edit)] for edit in edits]
    yield Table(
        f"damage-{percent:g}",
        f"{view.name}, {percent:g} %: own and cross damage x 1000, true gray",
        columns,
        tuple((*head, *cells) for head, cells in zip(heads, distances, strict=True)),
        "Own damage where filters and input are of the same degradation, cross damage elsewhere. "
        "Mean ± sd over target models, [95 % bootstrap interval over images].",
    )
    yield Table(
        f"share-{percent:g}",
        f"{view.name}, {percent:g} %: removal of the own function, preservation of the rest, selectivity",
        (*columns, "selectivity"),
        tuple((*head, *cells) for head, cells in zip(heads, shares, strict=True)),
        "Own input: share removed; other inputs: share kept. 1 is ideal; both fall when a network merely breaks.",
    )


def _quality_table(view: View) -> Table:
    """Return the PSNR of both networks: how large each function is."""
    rows: list[tuple[Cell, ...]] = []
    for kind in view.inputs:
        baseline, target = (view.judged.quality(network, kind) for network in ("baseline", "target"))
        rows.append((kind, baseline, target, target.mean - baseline.mean))
    title = f"{view.name}: what the target learned, PSNR in dB"
    return Table("quality", title, ("input", "baseline", "target", "gain"), tuple(rows), digits=4)


def _set_tables(view: View) -> Iterator[Table]:
    """Yield what the sets have in common, and where they sit."""
    shared: list[tuple[Cell, ...]] = []
    places: list[tuple[Cell, ...]] = []
    for method in view.found[0]:
        attributions = [each[method] for each in view.found]
        for first, second in combinations(view.degradations, 2):
            both = view.overlaps(view.edit(method, first), view.edit(method, second))
            cells = over_seeds([each.share for each in both]), over_seeds([each.ratio for each in both])
            shared.append((_label(method), f"{first} and {second}", *cells, min(each.p_more for each in both)))
        for kind in view.degradations:
            chosen = [each.select(kind, view.percent) for each in attributions]
            depth = depth_estimate(chosen[0]) if len(chosen) == 1 else over_seeds([mean_depth(each) for each in chosen])
            spread = [uniformity(each) for each in chosen]
            distance = over_seeds([each.distance for each in spread])
            expected = sum(each.expected for each in spread) / len(spread)
            places.append((_label(method), kind, depth, chance_depth(distribution(chosen[0])), distance, expected))
    yield Table(
        "overlap-sets",
        f"{view.name}, {view.percent:g} %: what the sets for two degradations have in common",
        ("method", "sets for", "share of a set", "times chance", "p of as much by chance"),
        tuple(shared),
        f"Random sets share {view.percent:g} % (once chance). p: hypergeometric, the smallest over target models.",
    )
    yield Table(
        "depth",
        f"{view.name}, {view.percent:g} %: where the filters sit",
        ("method", "filters for", "mean relative depth", "of all filters", "distance to uniform", "by chance"),
        tuple(places),
        "Depth 0 is the first layer, 1 the last; one target model: [95 % bootstrap interval over filters]. Distance to "
        "uniform: half the sum of |share of the set − share of all filters| over layers.",
    )


def _damage_panels(view: View) -> Iterator[Panel]:
    """Draw the matrix of own and cross damage and that of removal and preservation."""
    heads = [f"{kind} filters" for kind in view.degradations]
    for method in SHOWN:
        if method not in view.judged.methods:
            continue
        title = f"{view.name}, {_label(method)}, {view.percent:g} %"
        for stem, what, value in (
            ("damage", "damage × 10³", view.judged.distance),
            ("share", "removed (own), kept (other)", view.judged.share),
        ):
            values = [
                [value(view.edit(method, masked), kind).mean for kind in view.inputs] for masked in view.degradations
            ]
            yield drawing.matrix(
                f"{stem}-{method}", f"{title}: {what}", heads, view.inputs, values, xlabel="input", ylabel="replaced"
            )


def _layer_panel(view: View) -> Panel:
    """Draw the share of every layer in each degradation's set, and in all filters."""
    found, curves = view.found[0][MEAN], []
    for kind in found.degradations:
        rows = distribution(found.select(kind, view.percent))
        depths = [row.position for row in rows]
        curves.append(drawing.Line(function_of(kind), depths, [row.share for row in rows]))
    everything = [row.filters / len(found.space) for row in rows]
    return drawing.lines(
        "layers",
        f"{view.name}: where the top {view.percent:g} % sit",
        [*curves, drawing.Line("all filters", depths, everything, dashed=True)],
        "relative depth of the layer",
        "share of the set",
        size=(6.4, 4.6),
    )


def _specification(laboratory: Laboratory, settings: ThreeDegradationsSettings, targets: int) -> dict[str, str]:
    common = laboratory.common
    most = "" if settings.find_images is None else f", at most {settings.find_images} of these"
    few = "" if settings.judge_images is None else f", at most {settings.judge_images} of these"
    return {
        "pair": f"{settings.pair}, {targets} target model(s)",
        "degradations": ", ".join(settings.degradations),
        "found on": images_text(common.find) + most,
        "replaced and judged on": images_text(common.judged_on(settings.pair)) + few,
        "told": f"at most {settings.patches} patches of {PATCH}x{PATCH} LR pixels of each whole image",
        "calibrated on": calibration_text(laboratory, settings.calibration_images),
        "distance": FUNCTION_DISTANCE,
    }


_TEXT = (
    "The paper knows two degradations, where what one has more than the other is one ranking and its reverse. With "
    "three or more it says only that the filters of *other degradations* are eliminated: here their mean is "
    "subtracted, and beside it their maximum. Everything else is as on the pages for two degradations.",
    "Selectivity is removal of the own function plus mean preservation of the other degradations, less 1: 1 is ideal, "
    "0 is nothing (or everything) replaced, below 0 is broken.",
)

EXPERIMENT = Experiment(
    "three-degradations",
    "Beyond two degradations: blur, noise and JPEG",
    "own and cross damage, where the filters sit, and classification for a pair with three degradations",
    ThreeDegradationsSettings,
    run,
)
