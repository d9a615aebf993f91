# SPDX-License-Identifier: Apache-2.0
"""Tables and figures of the page on more than two degradations."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from filterlens.attribution.result import Attribution
from filterlens.diagnosis.distribution import chance_depth, depth_estimate, distribution, mean_depth, uniformity
from filterlens.evaluation.damage import Edit
from filterlens.evaluation.statistics import Estimate, Overlap, over_seeds, overlap_by_chance
from filterlens.filters import Selection
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Table
from filterlens.paper.judged import Judged, others_of
from filterlens.report.figures import Panel
from filterlens.report.labels import function_of, method_label

LABELS = {
    "faig": "FAIG, mean of the others",
    "faig-max": "FAIG, maximum of the others",
    "goal-directed": "goal-directed",
}
SHOWN = ("faig", "goal-directed")  # as matrices


def label_of(method: str) -> str:
    """Return the name of a method on this page."""
    return LABELS.get(method, method_label(method))


def damage_tables(name: str, percents: Sequence[float], degradations: Sequence[str], judged: Judged) -> Iterator[Table]:
    """Return own and cross damage, and removal, preservation and selectivity, per percentage."""
    kinds = [*degradations, "clean"]
    for percent in percents:
        rows: list[tuple[Cell, ...]] = []
        shares: list[tuple[Cell, ...]] = []
        for method in judged.methods:
            for masked in degradations:
                edit, head = Edit(method, percent, masked), (label_of(method), masked)
                rows.append((*head, *(judged.distance(edit, kind) for kind in kinds)))
                index = judged.selectivity(edit, others_of(masked, degradations))
                shares.append((*head, *(judged.share(edit, kind) for kind in kinds), index))
        columns = ("method", "filters for", *(f"{kind} input" for kind in kinds))
        yield Table(
            f"damage-{percent:g}",
            f"{name}, {percent:g} %: own and cross damage x 1000, true gray",
            columns,
            tuple(rows),
            "Own damage where filters and input are of the same degradation, cross damage elsewhere. "
            "Mean ± sd over target models, [95 % bootstrap interval over images].",
        )
        yield Table(
            f"share-{percent:g}",
            f"{name}, {percent:g} %: removal of the own function, preservation of the rest, selectivity",
            (*columns, "selectivity"),
            tuple(shares),
            "Own input: share removed; other inputs: share kept. 1 is ideal; both fall when a network merely breaks.",
        )


def quality_table(name: str, judged: Judged, kinds: Sequence[str]) -> Table:
    """Return the PSNR of both networks: how large each function is."""
    rows: list[tuple[Cell, ...]] = []
    for kind in kinds:
        first, second = judged.quality("baseline", kind), judged.quality("target", kind)
        rows.append((kind, first, second, second.mean - first.mean))
    title = f"{name}: what the target learned, PSNR in dB"
    return Table("quality", title, ("input", "baseline", "target", "gain"), tuple(rows), digits=4)


def set_tables(name: str, percent: float, found: Sequence[Mapping[str, Attribution]]) -> Iterator[Table]:
    """Return what the sets have in common, and where they sit."""
    shared: list[tuple[Cell, ...]] = []
    places: list[tuple[Cell, ...]] = []
    for method in found[0]:
        attributions = [each[method] for each in found]
        for first, second in combinations(attributions[0].degradations, 2):
            both = [overlap_at(each, percent, first, second) for each in attributions]
            fewest = min(each.p_more for each in both)
            cells = over_seeds([each.share for each in both]), over_seeds([each.ratio for each in both])
            shared.append((label_of(method), f"{first} and {second}", *cells, fewest))
        for kind in attributions[0].degradations:
            chosen = [each.select(kind, percent) for each in attributions]
            spread = [uniformity(each) for each in chosen]
            rows = distribution(chosen[0])
            cells = _depth(chosen), over_seeds([each.distance for each in spread])
            expected = sum(each.expected for each in spread) / len(spread)
            places.append((label_of(method), kind, cells[0], chance_depth(rows), cells[1], expected))
    yield Table(
        "overlap-sets",
        f"{name}, {percent:g} %: what the sets for two degradations have in common",
        ("method", "sets for", "share of a set", "times chance", "p of as much by chance"),
        tuple(shared),
        f"Random sets share {percent:g} % (once chance). p: hypergeometric, the smallest over target models.",
    )
    yield Table(
        "depth",
        f"{name}, {percent:g} %: where the filters sit",
        ("method", "filters for", "mean relative depth", "of all filters", "distance to uniform", "by chance"),
        tuple(places),
        "Depth 0 is the first layer, 1 the last; one target model: [95 % bootstrap interval over filters]. Distance to "
        "uniform: half the sum of |share of the set − share of all filters| over layers.",
    )


def overlap_at(found: Attribution, percent: float, first: str, second: str) -> Overlap:
    """Set what two degradations' filters have in common against chance."""
    one, other = found.select(first, percent), found.select(second, percent)
    common = int((one.mask & other.mask).sum())
    return overlap_by_chance(common, len(one), len(other), len(found.space))


def damage_panels(name: str, percent: float, degradations: Sequence[str], judged: Judged) -> Iterator[Panel]:
    """Draw the matrix of own and cross damage and that of removal and preservation."""
    kinds = [*degradations, "clean"]
    heads = [f"{kind} filters" for kind in degradations]
    for method in SHOWN:
        if method not in judged.methods:
            continue
        edits = [Edit(method, percent, masked) for masked in degradations]
        distances = [[judged.distance(edit, kind).mean for kind in kinds] for edit in edits]
        shares = [[judged.share(edit, kind).mean for kind in kinds] for edit in edits]
        title = f"{name}, {label_of(method)}, {percent:g} %"
        for stem, what, values in (
            ("damage", "damage × 10³", distances),
            ("share", "removed (own), kept (other)", shares),
        ):
            yield drawing.matrix(
                f"{stem}-{method}", f"{title}: {what}", heads, kinds, values, xlabel="input", ylabel="replaced"
            )


def layer_panel(name: str, percent: float, found: Attribution) -> Panel:
    """Draw the share of every layer in each degradation's set, and in all filters."""
    curves = []
    for kind in found.degradations:
        rows = distribution(found.select(kind, percent))
        curves.append(drawing.Line(function_of(kind), *_columns([(row.position, row.share) for row in rows])))
    everything = [(row.position, row.filters / len(found.space)) for row in rows]
    curves.append(drawing.Line("all filters", *_columns(everything), dashed=True))
    return drawing.lines(
        "layers",
        f"{name}: where the top {percent:g} % sit",
        curves,
        "relative depth of the layer",
        "share of the set",
        size=(6.4, 4.6),
    )


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _depth(chosen: Sequence[Selection]) -> Estimate:
    return depth_estimate(chosen[0]) if len(chosen) == 1 else over_seeds([mean_depth(each) for each in chosen])
