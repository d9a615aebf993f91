# SPDX-License-Identifier: Apache-2.0
"""Tables and figures of how degradations are told; shared by the pages for two and for three degradations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from filterlens.diagnosis.calibration import PAPER_THRESHOLDS, paper_threshold
from filterlens.diagnosis.classification_metrics import confusion, roc_curve
from filterlens.evaluation.statistics import Estimate
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Table
from filterlens.paper.experiments.classification.recognition import (
    CALIBRATED,
    PAPER,
    Judge,
    area,
    judge_by,
    mean_overlap,
)
from filterlens.paper.overlaps import Overlaps, Reader, plain
from filterlens.paper.published import CLASSIFICATION
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import whole_percent


@dataclass(frozen=True, eq=False)
class Told:
    """One way of reading, and what is said by it.

    Attributes:
        title: The way in words.
        inputs: Those that are judged.
        calibrating: Those from which the calibrated thresholds come.
        paper: Judges by the paper's thresholds.
        calibrated: Judges by thresholds from other images.
    """

    title: str
    inputs: Overlaps
    calibrating: Overlaps
    paper: Judge
    calibrated: Judge

    @classmethod
    def of(
        cls,
        readers: Sequence[Reader],
        title: str,
        percent: float,
        calibrating: Overlaps,
        inputs: Overlaps,
        resamples: int = 2000,
    ) -> "Told":
        """Calibrate on some inputs and judge others.

        Args:
            readers: Target models with their filters.
            title: The way of reading in words.
            percent: One of the readers'.
            calibrating: Inputs of other images, read in the same way.
            inputs: What is judged.
            resamples: Of bootstraps.
        """
        judges = [judge_by(how, readers, percent, calibrating, resamples) for how in (PAPER, CALIBRATED)]
        return cls(title, inputs, calibrating, *judges)

    @property
    def percent(self) -> float:
        """Share of the filters in filter^D and filter^x."""
        return self.paper.percent

    @property
    def degradations(self) -> list[str]:
        """What is told."""
        return list(next(iter(self.paper.classifiers.values())).selections)

    @property
    def beside(self) -> list[str]:
        """Names of the sets without elimination, where they were read."""
        return [
            plain(name) for name in self.degradations if (self.percent, plain(name)) in self.inputs.inputs[0].scores
        ]

    def own(self, name: str, *, calibrating: bool = False) -> Estimate:
        """Return the mean overlap with a set on inputs that have just its degradation."""
        inputs = self.calibrating if calibrating else self.inputs
        part = inputs.of_kind(frozenset({name.removesuffix(plain(""))}))
        return mean_overlap(part, self.percent, name, self.paper.resamples)


NOTE = "Mean ± sd over target models, [95 % bootstrap interval over images]; an AUC has no interval."


def accuracy_table(stem: str, title: str, ways: Sequence[Told], *, simple: bool) -> Table:
    """Return AUC and accuracies of every way; ``simple`` leaves out inputs with more than one degradation."""
    names = ways[0].degradations
    columns = ["reading"]
    for name in names:
        columns += [f"{name}: AUC", f"{name}: accuracy at {paper_threshold(name):g}"]
        columns += ["published, two degradations"] if name in CLASSIFICATION else []
        columns.append(f"{name}: accuracy, calibrated")
    rows = []
    for way in ways:
        inputs = way.inputs.simple() if simple else way.inputs
        cells: list[Cell] = [way.title]
        for name in names:
            cells += [area(inputs, way.percent, name), way.paper.accuracy(inputs, name)]
            cells += [CLASSIFICATION[name][1]] if name in CLASSIFICATION else []
            cells.append(way.calibrated.accuracy(inputs, name))
        cells += [way.paper.label_accuracy(inputs), way.calibrated.label_accuracy(inputs)]
        rows.append(tuple(cells))
    columns += ["whole label right, fixed thresholds", "whole label right, calibrated"]
    return Table(stem, title, tuple(columns), tuple(rows), NOTE)


def overlap_table(stem: str, title: str, ways: Sequence[Told]) -> Table:
    """Return the mean overlap score with each degradation's filters on every kind of input."""
    kinds = ways[0].inputs.kinds
    rows: list[tuple[Cell, ...]] = []
    for way in ways:
        parts = [way.inputs.of_kind(kind) for kind in kinds]
        for name in [*way.degradations, *way.beside]:
            means = [mean_overlap(part, way.percent, name, way.paper.resamples) for part in parts]
            rows.append((way.title, name, *means))
    labels = [f"on {label}" for label in labels_of(ways[0].inputs)]
    note = f"By chance two sets of {ways[0].percent:g} % share {ways[0].percent / 100:g}. {NOTE}"
    return Table(stem, title, ("reading", "filters for", *labels), tuple(rows), note)


def threshold_table(stem: str, title: str, ways: Sequence[Told]) -> Table:
    """Return the thresholds, what hides what by the calibration, and how long an input takes."""
    rows: list[tuple[Cell, ...]] = []
    for way in ways:
        for name in way.degradations:
            limit: Estimate = way.calibrated.threshold(name)
            hidden = ", ".join(way.calibrated.hidden_by(name)) or "nothing"
            owns = way.own(name, calibrating=True), way.own(name)
            rows.append((way.title, name, limit, fixed_text(name), *owns, hidden, way.inputs.seconds))
    columns = (
        "reading", "filters for", "calibrated threshold", "fixed threshold", "own overlap, calibration images",
        "own overlap, judged images", "hidden by", "seconds per input",
    )  # fmt: skip
    note = (
        "Own overlap: the mean on inputs with just that degradation. Hidden by: of the calibration inputs with both "
        "degradations, the threshold finds less than half. Seconds: from pixels to magnitudes, the median when they "
        "were computed; other work on the machine counts."
    )
    return Table(stem, title, columns, tuple(rows), note)


def confusion_table(stem: str, title: str, way: Told, judge: Judge) -> Table:
    """Return how often which label is given to which kind of input, over all target models."""
    truths, columns, counts = _confusion(way.inputs, judge)
    rows = [tuple[Cell, ...]((truth, *row)) for truth, row in zip(truths, counts, strict=True)]
    return Table(stem, title, ("input", *(f"said {label}" for label in columns)), tuple(rows), "Counts of inputs.")


def confusion_panel(stem: str, title: str, way: Told, judge: Judge) -> Panel:
    """Draw the shares of labels per kind of input."""
    truths, columns, counts = _confusion(way.inputs, judge)
    shares = [[count / sum(row) for count in row] for row in counts]
    panel = drawing.matrix(stem, title, truths, columns, shares, xlabel="label given", ylabel="input")
    more = max(0, len(columns) - 4)  # than fit into a panel's usual size
    return replace(panel, size=(panel.size[0] + 0.7 * more, panel.size[1] + 0.4 * more))


def roc_panel(stem: str, title: str, ways: Sequence[Told], *, simple: bool) -> Panel:
    """Draw the ROC curve of every degradation and way over the inputs of all target models."""
    curves = []
    for way in ways:
        inputs = way.inputs.simple() if simple else way.inputs
        for name in way.degradations:
            curve = roc_curve(inputs.scores(way.percent, name), inputs.present(name))
            rates = curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist()
            curves.append(drawing.Line(f"{name}, {way.title.split(', ')[-1]}", *rates))
    return drawing.lines(
        stem, title, curves, "false positive rate", "true positive rate", limits=(0, 1.02), size=(6.4, 5.4)
    )


def score_panels(stem: str, title: str, way: Told) -> Iterator[Panel]:
    """Draw the overlap scores of all inputs, one figure per degradation, with the thresholds."""
    for name in way.degradations:
        groups = {
            label: way.inputs.of_kind(kind).scores(way.percent, name).tolist()
            for kind, label in zip(way.inputs.kinds, labels_of(way.inputs), strict=True)
        }
        marks = {f"fixed, {fixed_text(name)}": paper_threshold(name), "calibrated": way.calibrated.threshold(name).mean}
        yield drawing.strips(
            f"{stem}-{safe_name(name)}", f"{title}: overlap with the filters for {name}", groups, "overlap score", marks
        )


def fixed_text(degradation: str) -> str:
    """Write the fixed threshold of a degradation, and whose it is."""
    source = "paper" if degradation.partition(":")[0] in PAPER_THRESHOLDS else "ours"
    return f"{paper_threshold(degradation):g} ({source})"


def labels_of(inputs: Overlaps) -> list[str]:
    """Return the written form of every kind of input, in order."""
    return list(dict.fromkeys(each.label for each in inputs.inputs))


def accuracy_text(estimate: Estimate) -> str:
    """Write a share for a sentence."""
    return whole_percent(estimate.mean)


def _confusion(inputs: Overlaps, judge: Judge) -> tuple[list[str], list[str], list[list[int]]]:
    """Return true labels, given labels, and counts; the labels that inputs can have come first."""
    table = confusion([each.label for each in inputs.inputs], judge.labels(inputs))
    truths = list(table)
    columns = [*truths, *(label for label in next(iter(table.values())) if label not in truths)]
    return truths, columns, [[table[truth][label] for label in columns] for truth in truths]
