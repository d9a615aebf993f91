# SPDX-License-Identifier: Apache-2.0
"""The tables of the page on adapters: what they restore, what they do to clean inputs, and their sizes."""

from collections.abc import Iterator

from filterlens.evaluation.statistics import Estimate
from filterlens.paper import drawing
from filterlens.paper.experiments.adapters.results import ADDED, REMOVED, RETRAINED, Adapted
from filterlens.paper.outcome import Cell, Table
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import function_of, percent_text

WAYS = {ADDED: "baseline + adapter", RETRAINED: "baseline + re-trained adapter", REMOVED: "target − function"}


def tables(found: Adapted, judged: str) -> list[Table]:
    """Return the quality on own and on clean inputs, the way to the target, and the sizes."""
    return [_quality(found, judged), _way(found), _clean(found, judged), _sizes(found)]


def _quality(found: Adapted, judged: str) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            kind, percent_text(percent), found.reference("baseline", kind), *_ways(found, kind, percent, kind),
            found.reference("target", kind),
        )
        for kind in found.kinds
        for percent in found.percents
    ]  # fmt: skip
    note = (
        f"PSNR in dB ({judged}), mean over images, ± sd over target models where there are several. *Baseline + "
        "adapter*: strength 1 of a file with the target's values at the filters found for the degradation. "
        "*Re-trained*: the same filters, trained in the baseline on that degradation alone. *Target − function*: the "
        "first file at strength 0 on the target."
    )
    columns = ("input", "filters", "baseline", *WAYS.values(), "target")
    title = f"{found.name}: adapters on their own degradation"
    return Table(f"quality-{found.name}", title, columns, tuple(rows), note, digits=4)


def _way(found: Adapted) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (kind, percent_text(percent), *(found.way(what, kind, percent) if found.has(what, kind, percent) else None
                                        for what in WAYS))
        for kind in found.kinds
        for percent in found.percents
    ]  # fmt: skip
    note = (
        "Of the dB by which the target is better than the baseline, summed over all images: 0 is the baseline, 1 the "
        "target [95 % bootstrap interval over images]. A dash: nothing re-trained, or the target is no better."
    )
    title = f"{found.name}: how far from baseline to target, on their own degradation"
    return Table(f"way-{found.name}", title, ("input", "filters", *WAYS.values()), tuple(rows), note)


def _clean(found: Adapted, judged: str) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            kind, percent_text(percent), found.reference("baseline", "clean"), *_ways(found, kind, percent, "clean"),
            found.reference("target", "clean"),
        )
        for kind in found.kinds
        for percent in found.percents
    ]  # fmt: skip
    columns = ("adapter of", "filters", "baseline", *WAYS.values(), "target")
    title = f"{found.name}: the same networks on clean inputs"
    return Table(f"clean-{found.name}", title, columns, tuple(rows), f"PSNR in dB ({judged}).", digits=4)


def _sizes(found: Adapted) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for kind in found.kinds:
        for percent in found.percents:
            for whose, title in (("found", "target's values"), (RETRAINED, "re-trained")):
                if (whose, kind, percent) in found.sizes:
                    size, share = found.sizes[whose, kind, percent], found.share(whose, kind, percent)
                    filters = found.filters[kind, percent]
                    row = (kind, percent_text(percent), title, filters, round(size), f"{100 * share:.2f} %")
                    rows.append((*row, round(found.checkpoints[whose])))
    note = (
        "Bytes of the safetensors file: indices, both ends of every filter, card. The checkpoint is that of the "
        "network for which the adapter stands, as safetensors, in half precision where that loses nothing."
    )
    columns = (
        "adapter of",
        "share of the filters",
        "holds",
        "filters",
        "bytes",
        "of the checkpoint",
        "checkpoint, bytes",
    )
    return Table(f"sizes-{found.name}", f"{found.name}: sizes of the files", columns, tuple(rows), note)


def panels(found: Adapted) -> Iterator[Panel]:
    """Draw what every network gains over the share of the filters, one figure per degradation."""
    for kind in found.kinds:
        curves = []
        for what, label in WAYS.items():
            at = [percent for percent in found.percents if found.has(what, kind, percent)]
            if at:
                gains = [found.gain(what, kind, percent) for percent in at]
                low, high = ([_end(each, end) for each in gains] for end in ("low", "high"))
                curves.append(drawing.Line(label, at, [each.mean for each in gains], low, high))
        whole = found.reference("target", kind).mean - found.reference("baseline", kind).mean
        edges = [found.percents[0], found.percents[-1]]
        curves.append(drawing.Line("target", edges, [whole, whole], dashed=True))
        yield drawing.lines(
            f"{found.name}-{safe_name(kind)}",
            f"{found.name}: adapters for {function_of(kind)}",
            curves,
            "share of the filters in the adapter, %",
            f"PSNR on {kind}, dB above the baseline",
        )


def _ways(found: Adapted, kind: str, percent: float, given: str) -> list[Cell]:
    return [found.quality(what, kind, percent, given) if found.has(what, kind, percent) else None for what in WAYS]


def _end(estimate: Estimate, end: str) -> float:
    value: float | None = getattr(estimate, end)
    return estimate.mean if value is None else value
