# SPDX-License-Identifier: Apache-2.0
"""Tables and figures of the ablation of the baseline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from filterlens.attribution.result import Attribution
from filterlens.diagnosis.distribution import overlap
from filterlens.evaluation.damage import Edit
from filterlens.evaluation.statistics import Estimate, Overlap, over_seeds
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Table
from filterlens.paper.experiments.baselines.start_points import FINE_TUNED, LABELS
from filterlens.paper.judged import Judged, others_of
from filterlens.paper.laboratory import TargetModel
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import function_of

CONTROL = "control"
"""Random filters: what the values of a donor do wherever they are put."""


@dataclass(frozen=True)
class View:
    """What the tables of one pair are made of.

    Attributes:
        name: Of the pair.
        percent: Share of the filters that was replaced.
        degradations: For which filters were found.
        kinds: Inputs on which they were judged.
        judged: The damage.
    """

    name: str
    percent: float
    degradations: Sequence[str]
    kinds: Sequence[str]
    judged: Judged


def edit(point: str, donor: str, percent: float, masked: str) -> Edit:
    """Name a replacement: the filters found from ``point``, with the values of ``donor``."""
    return Edit(f"{point}/{donor}", percent, masked)


def damage(view: View, points: Sequence[str], masked: str, *, own_values: bool) -> Table:
    """Return own and cross damage, removal, preservation and selectivity of the filters found for one degradation."""
    heads = ["filters found from"]
    for kind in view.kinds:
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
    named = edit(point, donor, view.percent, masked)
    cells: list[Cell] = [label]
    for kind in view.kinds:
        cells += [view.judged.distance(named, kind), view.judged.share(named, kind)]
    return (*cells, view.judged.selectivity(named, others_of(masked, view.degradations)))


def overlaps(view: View, points: Sequence[str], found: Sequence[Mapping[str, Attribution]]) -> Table:
    """Return how much of the real baseline's sets every other baseline finds, against chance."""
    heads = [f"{kind}{what}" for kind in view.degradations for what in ("", ", times chance", ", p")]
    rows = []
    for point in points:
        if point == FINE_TUNED:
            continue
        cells: list[Cell] = [LABELS[point]]
        for kind in view.degradations:
            both = _against_real(view, found, point, kind)
            cells += [over_seeds([each.share for each in both]), over_seeds([each.ratio for each in both])]
            cells.append(_probability(max(each.p_more for each in both)))
        rows.append(tuple(cells))
    return Table(
        f"overlap-{view.name}",
        f"{view.name}, {view.percent:g} %: overlap with the sets found from the real baseline",
        ("filters found from", *heads),
        tuple(rows),
        f"Share of one set that is in the other; random sets share {view.percent:g} %. p: probability of at least as "
        "many in common by chance (hypergeometric; the largest over target models).",
    )


def shared(view: View, found: Sequence[Mapping[str, Attribution]], point: str, masked: str) -> Estimate:
    """Return the share of the filters found from the real baseline that are found from another one, too."""
    return over_seeds([each.share for each in _against_real(view, found, point, masked)])


def _against_real(view: View, found: Sequence[Mapping[str, Attribution]], point: str, masked: str) -> list[Overlap]:
    sets = [[each[name].select(masked, view.percent) for name in (point, FINE_TUNED)] for each in found]
    return [overlap(first, second) for first, second in sets]


def _probability(p: float) -> Cell:
    return p or "< 1e−300"


def networks(
    view: View, points: Sequence[Mapping[str, TargetModel]], found: Sequence[Mapping[str, Attribution]]
) -> Table:
    """Return how good the baselines are, how far from the target, and how exact the integrals from there."""
    rows = []
    for name in points[0]:
        pairs = [each[name].pair for each in points]
        away = [float(pair.change.norm() / pair.target.norm()) for pair in pairs]
        entries = [entry for each in found for entry in each[name].completeness]
        gaps = sorted(entry.gap for entry in entries)
        cells: list[Cell] = [LABELS[name], *(view.judged.quality(name, kind) for kind in view.kinds), over_seeds(away)]
        cells += [sum(entry.nodes for entry in entries) / len(entries), gaps[len(gaps) // 2], gaps[-1]]
        rows.append((*cells, str(found[0][name].settings["precision"])))
    heads = [f"PSNR, {kind} (dB)" for kind in view.kinds]
    return Table(
        f"baselines-{view.name}",
        f"{view.name}: the baselines themselves, and how exact the integrals from there are",
        ("baseline", *heads, "‖θ − θ̄‖ / ‖θ‖", "nodes", "gap, median", "gap, largest", "precision"),
        tuple(rows),
        "Completeness gap: by which part of the loss's change the attributions of all parameters miss it.",
    )


def panels(view: View, points: Sequence[str]) -> Iterator[Panel]:
    """Draw the selectivity of every baseline's filters, with its own values and with the real baseline's."""
    for masked in view.degradations:
        others = others_of(masked, view.degradations)
        bars = {}
        for point in points:
            for donor in dict.fromkeys((point, FINE_TUNED)):
                label = LABELS[point] if point == FINE_TUNED else f"{LABELS[point]}, {_WHOSE[donor == FINE_TUNED]}"
                bars[label] = _cut(view.judged.selectivity(edit(point, donor, view.percent, masked), others))
        title = f"{view.name}: selectivity of the {function_of(masked)} filters (cut at −1)"
        yield drawing.bars(f"{view.name}-{safe_name(masked)}", title, bars, "removal + preservation − 1")


_WHOSE = {True: "real values", False: "own values"}


def _cut(value: Estimate) -> Estimate:
    """Cut at −1: how badly a network is broken would hide everything else."""
    low, high = (None if end is None else max(-1.0, end) for end in (value.low, value.high))
    return Estimate(max(-1.0, value.mean), low, high, value.sd, value.n)
