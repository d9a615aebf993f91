# SPDX-License-Identifier: Apache-2.0
"""Tables and figures of the ablation of the gradient."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from filterlens.attribution.result import Attribution
from filterlens.diagnosis.distribution import overlap
from filterlens.evaluation.damage import Edit
from filterlens.evaluation.statistics import Overlap, over_seeds
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Table
from filterlens.paper.judged import Judged, others_of
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import function_of

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
Found = Mapping[str, Attribution]


@dataclass(frozen=True)
class View:
    """What the tables of one pair are made of.

    Attributes:
        name: Of the pair.
        percent: Share of the filters that was replaced.
        degradations: For which filters were found.
        kinds: Inputs on which they were judged.
        judged: The damage.
        found: The rankings of every target model.
    """

    name: str
    percent: float
    degradations: Sequence[str]
    kinds: Sequence[str]
    judged: Judged
    found: Sequence[Found]

    def edit(self, method: str, masked: str) -> Edit:
        """Name the replacement of what a score finds."""
        return Edit(method, self.percent, masked)


def damage_tables(view: View) -> Iterator[Table]:
    """Yield own and cross damage, then removal, preservation and selectivity, of every score."""
    degradations, kinds = view.degradations, view.kinds
    heads = [f"{masked} filters, {kind} input" for masked in degradations for kind in kinds]
    rows: list[tuple[Cell, ...]] = []
    shares: list[tuple[Cell, ...]] = []
    for method, label in LABELS.items():
        edits = [view.edit(method, masked) for masked in degradations]
        rows.append((label, *(view.judged.distance(edit, kind) for edit in edits for kind in kinds)))
        cells: list[Cell] = [label]
        for edit in edits:
            cells += [view.judged.share(edit, kind) for kind in kinds]
            cells.append(view.judged.selectivity(edit, others_of(edit.masked, degradations)))
        shares.append(tuple(cells))
    percent = f"{view.percent:g} %"
    yield Table(
        f"damage-{view.name}",
        f"{view.name}, {percent}: own and cross damage x 1000, true gray",
        ("score", *heads),
        tuple(rows),
        "Columns with the own input hold own damage, all others cross damage. "
        "Mean ± sd over target models, [95 % bootstrap interval over images].",
    )
    wide = ["score"]
    for masked in degradations:
        wide += [f"{masked} filters, {kind} input" for kind in kinds] + [f"{masked} filters, selectivity"]
    yield Table(
        f"share-{view.name}",
        f"{view.name}, {percent}: removal of the own function, preservation of the rest, selectivity",
        tuple(wide),
        tuple(shares),
        "Selectivity = removal + preservation of the other degradation − 1: 1 is ideal, 0 is nothing (or everything) "
        "replaced, below 0 is broken.",
    )


def overlaps(view: View) -> Table:
    """Return how much the sets found for different degradations have in common, and with FAIG's."""
    degradations = view.degradations
    pairs = [(first, second) for at, first in enumerate(degradations) for second in degradations[at + 1 :]]
    heads = [f"{first} and {second}{what}" for first, second in pairs for what in ("", ", times chance")]
    heads += [f"{kind}: of FAIG's" for kind in degradations]
    rows = []
    for method, label in LABELS.items():
        cells: list[Cell] = [label]
        for first, second in pairs:
            both = [sets_overlap(each[method], view.percent, first, second) for each in view.found]
            cells += [over_seeds([each.share for each in both]), over_seeds([each.ratio for each in both])]
        for kind in degradations:
            shared = [overlap(each[method].select(kind, view.percent),
                                 each["faig"].select(kind, view.percent)).share for each in view.found]  # fmt: skip
            cells.append(over_seeds(shared))
        rows.append(tuple(cells))
    return Table(
        f"overlap-{view.name}",
        f"{view.name}, {view.percent:g} %: overlap of the sets found for different degradations",
        ("score", *heads),
        tuple(rows),
        f"Share of one set that is in the other; random sets share {view.percent:g} % (once chance). With two "
        "degradations elimination makes the two rankings opposites, so their tops are disjoint by construction; "
        "scores of the change alone have one ranking for all degradations. Last columns: how much of FAIG's own set "
        "a score finds.",
    )


def sets_overlap(found: Attribution, percent: float, first: str, second: str) -> Overlap:
    """Set what one score finds for two degradations against each other."""
    return overlap(found.select(first, percent), found.select(second, percent))


def panels(view: View) -> Iterator[Panel]:
    """Draw own damage and selectivity of every score."""
    for masked in view.degradations:
        edits = {label: view.edit(method, masked) for method, label in LABELS.items()}
        own = {label: view.judged.distance(edit, masked) for label, edit in edits.items()}
        stem = f"{view.name}-{safe_name(masked)}"
        yield drawing.bars(f"own-{stem}", f"{view.name}: own damage on {masked}", own, "distance × 10³")
        others = others_of(masked, view.degradations)
        chosen = {label: view.judged.selectivity(edit, others) for label, edit in edits.items()}
        title = f"{view.name}: selectivity of the {function_of(masked)} filters"
        yield drawing.bars(f"selectivity-{stem}", title, chosen, "removal + preservation − 1")
