# SPDX-License-Identifier: Apache-2.0
"""The page on the ablation of the baseline: the effect of starting the path where fine-tuning started."""

from collections.abc import Iterator, Mapping, Sequence

from filterlens.evaluation.function_distance import FUNCTION_DISTANCE
from filterlens.evaluation.statistics import Estimate, Overlap, over_seeds
from filterlens.paper import drawing
from filterlens.paper.experiment import (
    Cell,
    Claim,
    Experiment,
    Outcome,
    Table,
    Verdict,
    common_rows,
    images_text,
    is_above,
    is_below,
)
from filterlens.paper.experiments.baselines.measure import (
    CONTROL,
    FINE_TUNED,
    LABELS,
    BaselineSettings,
    Trial,
    finding_of,
    judge_trials,
    replaced,
    trials_of,
)
from filterlens.paper.judged import INTERVALS, Judged, View
from filterlens.paper.laboratory import Laboratory
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import function_of, whole_percent
from filterlens.run.tables import Edit


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
        tuple(rows),
        "Distance x 1000 to the target's output, true gray: own damage on the own input, cross damage elsewhere. "
        "Removal and preservation towards the real baseline. Selectivity = removal + preservation of the other "
        "degradation − 1: 1 is ideal, 0 is nothing replaced, below 0 is broken.",
    )


def _damage_row(view: View, label: str, point: str, donor: str, masked: str) -> tuple[Cell, ...]:
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
        tuple(rows),
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
        tuple(rows),
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
