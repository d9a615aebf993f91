# SPDX-License-Identifier: Apache-2.0
"""The page on classification: the degradations of an input, from the filters that the network uses on it.

The tables, figures and claims are shared with the page for three degradations.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from filterlens.diagnosis.calibration import PAPER_THRESHOLDS, calibration_inputs, paper_threshold
from filterlens.diagnosis.classification_metrics import confusion, roc_curve
from filterlens.diagnosis.overlap import PATCH
from filterlens.evaluation.statistics import Estimate
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Claim, Experiment, Outcome, Table, Verdict, images_text, targets_text
from filterlens.paper.experiments.classification.measure import TARGET, ClassificationSettings, Judge, Told, ways_of
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.overlaps import Overlaps, calibration_text, plain
from filterlens.paper.published import CLASSIFICATION
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import whole_percent

RECOGNISED = 0.9  # the share of inputs with two degradations that must be labelled with both
NOTE = "Mean ± sd over target models, [95 % bootstrap interval over images]; an AUC has no interval."


def run(laboratory: Laboratory, settings: ClassificationSettings) -> Outcome:
    """Find filters, read the overlap scores of many inputs, and judge by fixed and by calibrated thresholds."""
    claims: list[Claim] = []
    tables: list[Table] = []
    panels: list[Panel] = []
    for name in laboratory.common.pairs[: settings.pairs]:
        ways, chosen = ways_of(laboratory, settings, name)
        main = ways.get(f"{TARGET}-patches") or next(iter(ways.values()))  # without ground truth where it is read
        patches = [way for key, way in ways.items() if key.endswith("-patches")]
        tables += _tables(name, settings, list(ways.values()), main)
        if len(chosen) > 1:
            tables.append(_percent_table(name, list(chosen.values())))
        panels += telling_panels(f"-{name}", name, main, patches)
        for way in patches:
            claims += [published_accuracy(name, way, calibrated=False), published_accuracy(name, way, calibrated=True)]
        claims.append(both_recognised(name, main))
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _TEXT, _specification(laboratory, settings))


def _tables(name: str, settings: ClassificationSettings, ways: Sequence[Told], main: Told) -> Iterator[Table]:
    title = f"{name}, {settings.percent:g} %"
    for stem, what, simple in (
        ("accuracy", "clean inputs and inputs with one degradation", True),
        ("accuracy-both", "the same with inputs that have both", False),
    ):
        yield accuracy_table(f"{stem}-{name}", f"{title}: {what}", ways, simple=simple)
    yield overlap_table(f"overlap-{name}", f"{title}: mean overlap score", ways)
    for judge, how, words in (
        (main.paper, "paper", "at the paper's thresholds"),
        (main.calibrated, "calibrated", "at calibrated thresholds"),
    ):
        yield confusion_table(f"confusion-{how}-{name}", f"{name}, {main.title}: labels {words}", main, judge)
    yield threshold_table(f"thresholds-{name}", f"{name}: thresholds and time", ways)


def published_accuracy(name: str, way: Told, *, calibrated: bool) -> Claim:
    """Judge the published accuracies on clean inputs and inputs with one degradation."""
    judge, inputs = way.calibrated if calibrated else way.paper, way.inputs.simple()
    checks, words, wanted = [], [], []
    for kind in (kind for kind in way.degradations if kind in CLASSIFICATION):
        least = CLASSIFICATION[kind][1]
        reached = judge.accuracy(inputs, kind)
        checks.append(reached.mean >= least)
        wanted.append(f"{kind} {whole_percent(least)}")
        own, rest = inputs.having(kind), inputs.having(kind, False)
        words.append(
            f"{kind}: {_percent(reached)} at {judge.threshold(kind).mean:.2f} (AUC "
            f"{way.area(inputs, kind).mean:.3f}; finds {_percent(judge.recognised(own, kind))} of the "
            f"inputs that have it, says it of {_percent(judge.recognised(rest, kind))} of the others; "
            f"{_levels(way, inputs, kind)}{_why_so_high(way, kind, calibrated)})"
        )
    how = "thresholds calibrated on training images" if calibrated else "the paper's fixed thresholds"
    return Claim(
        f"{name}, {way.title}: {how} tell {' and '.join(wanted)} rightly, or more",
        "filterlens" if calibrated else "paper, section on degradation classification",
        Verdict.of(checks),
        "; ".join(words) + f" ({len(inputs.inputs)} inputs, clean or with one degradation)",
    )


def told_rightly(name: str, way: Told) -> Claim:
    """Judge whether calibrated thresholds tell each of any number of degradations."""
    inputs, checks, words = way.inputs.simple(), [], []
    for kind in way.degradations:
        reached, fixed = (judge.accuracy(inputs, kind) for judge in (way.calibrated, way.paper))
        checks.append(reached.mean >= RECOGNISED)
        words.append(
            f"{kind}: {_percent(reached)} at {way.calibrated.threshold(kind).mean:.2f}, {_percent(fixed)} at "
            f"{way.paper.threshold(kind).mean:.2f} (AUC {way.area(inputs, kind).mean:.3f}, "
            f"{_levels(way, inputs, kind)})"
        )
    whole = way.calibrated.label_accuracy(inputs)
    return Claim(
        f"{name}, {way.title}: calibrated thresholds tell each of {len(way.degradations)} degradations in at least "
        f"{whole_percent(RECOGNISED)} of the inputs, clean or with one degradation",
        "filterlens",
        Verdict.of(checks),
        "; ".join(words) + f"; the whole label is right for {_percent(whole)} of {len(inputs.inputs)} inputs",
    )


def both_recognised(name: str, way: Told) -> Claim:
    """Judge whether inputs with two degradations are recognised as such, and say what the numbers show of it."""
    checks, words = [], []
    for kind in (kind for kind in way.inputs.kinds if len(kind) == 2):
        both = way.inputs.of_kind(kind)
        for judge, how in ((way.paper, "paper's"), (way.calibrated, "calibrated")):
            right = judge.label_accuracy(both)
            checks.append(right.mean >= RECOGNISED)
            seen = ", ".join(f"{each} in {_percent(judge.recognised(both, each))}" for each in sorted(kind))
            label = both.inputs[0].label
            words.append(f"{label}, {how} thresholds: {_percent(right)} are said to have just both ({seen})")
        unseen = [each for each in sorted(kind) if way.calibrated.recognised(both, each).mean < RECOGNISED]
        words += [_why_unseen(way, kind, each) for each in unseen]
    return Claim(
        f"{name}, {way.title}: an input with two degradations is recognised as having both "
        f"({whole_percent(RECOGNISED)} of them at least)",
        "filterlens",
        Verdict.of(checks),
        "; ".join(words),
    )


def _levels(way: Told, inputs: Overlaps, name: str) -> str:
    own, rest = (way.overlap(inputs.having(name, has), name).mean for has in (True, False))
    return f"mean overlap {own:.2f} against {rest:.2f}"


def _why_so_high(way: Told, name: str, calibrated: bool) -> str:
    """Say what sets the height of the overlap: the images, or what elimination takes away."""
    if calibrated:
        return f", {way.own(name, calibrating=True).mean:.2f} on the calibration images that have just it"
    if not way.plain_sets:
        return ""
    return f"; where nothing is eliminated from the found set, the own overlap is {way.own(plain(name)).mean:.2f}"


def _why_unseen(way: Told, kind: frozenset[str], name: str) -> str:
    """Compare the overlap of a degradation on inputs with both to that on inputs with one of them."""
    (other,) = rest = kind - {name}
    both, own, without = (way.overlap(way.inputs.of_kind(each), name).mean for each in (kind, frozenset({name}), rest))
    apart = way.told_apart(name, kind, rest)
    hidden = other in way.calibrated.hidden_by(name)
    return (
        f"overlap with the {name} filters: {own:.2f} where it is alone, {both:.2f} beside {other}, {without:.2f} on "
        f"{other} alone (AUC of the last two {apart:.2f}){f': {name} is hidden by {other}' if hidden else ''}"
    )


def _percent(estimate: Estimate) -> str:
    return whole_percent(estimate.mean)


def accuracy_table(stem: str, title: str, ways: Sequence[Told], *, simple: bool) -> Table:
    """Return AUC and accuracies of every way; ``simple`` leaves out inputs with more than one degradation."""
    columns = ["reading"]
    for name in ways[0].degradations:
        area, fixed, calibrated = _accuracy_heads(name)
        published = ["published, two degradations"] if name in CLASSIFICATION else []
        columns += [area, fixed, *published, calibrated]
    rows = []
    for way in ways:
        inputs = way.inputs.simple() if simple else way.inputs
        cells: list[Cell] = [way.title]
        for name in way.degradations:
            area_cell, *accuracies = _accuracy_cells(way, inputs, name)
            known = [CLASSIFICATION[name][1]] if name in CLASSIFICATION else []
            cells += [area_cell, accuracies[0], *known, accuracies[1]]
        rows.append((*cells, way.paper.label_accuracy(inputs), way.calibrated.label_accuracy(inputs)))
    columns += ["whole label right, fixed thresholds", "whole label right, calibrated"]
    return Table(stem, title, tuple(columns), tuple(rows), NOTE)


def _percent_table(name: str, ways: Sequence[Told]) -> Table:
    """Return AUC and accuracies at every percentage."""
    kinds = ways[0].degradations
    rows: list[tuple[Cell, ...]] = [
        (way.title, *(cell for kind in kinds for cell in _accuracy_cells(way, way.inputs.simple(), kind)))
        for way in ways
    ]
    title = f"{name}, patches, without ground truth: how many filters filter^D and filter^x hold"
    columns = ("percent", *(head for kind in kinds for head in _accuracy_heads(kind)))
    return Table(f"percents-{name}", title, columns, tuple(rows), NOTE)


def _accuracy_heads(name: str) -> tuple[str, str, str]:
    return f"{name}: AUC", f"{name}: accuracy at {paper_threshold(name):g}", f"{name}: accuracy, calibrated"


def _accuracy_cells(way: Told, inputs: Overlaps, name: str) -> tuple[Estimate, Estimate, Estimate]:
    return way.area(inputs, name), way.paper.accuracy(inputs, name), way.calibrated.accuracy(inputs, name)


def overlap_table(stem: str, title: str, ways: Sequence[Told]) -> Table:
    """Return the mean overlap score with each degradation's filters on every kind of input."""
    kinds = ways[0].inputs.kinds
    rows: list[tuple[Cell, ...]] = [
        (way.title, name, *(way.overlap(way.inputs.of_kind(kind), name) for kind in kinds))
        for way in ways
        for name in [*way.degradations, *way.plain_sets]
    ]
    labels = [f"on {label}" for label in labels_of(ways[0].inputs)]
    note = f"By chance two sets of {ways[0].percent:g} % share {ways[0].percent / 100:g}. {NOTE}"
    return Table(stem, title, ("reading", "filters for", *labels), tuple(rows), note)


def threshold_table(stem: str, title: str, ways: Sequence[Told]) -> Table:
    """Return the thresholds, what hides what by the calibration, and how long an input takes."""
    rows: list[tuple[Cell, ...]] = []
    for way in ways:
        for name in way.degradations:
            hidden = ", ".join(way.calibrated.hidden_by(name)) or "nothing"
            owns = way.own(name, calibrating=True), way.own(name)
            limits = way.calibrated.threshold(name), fixed_text(name)
            rows.append((way.title, name, *limits, *owns, hidden, way.inputs.seconds))
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


def telling_panels(stem: str, name: str, main: Told, patches: Sequence[Told]) -> Iterator[Panel]:
    """Draw the overlap scores, the labels given by calibrated thresholds, and the ROC curves of every way."""
    yield from _score_panels(f"scores{stem}", f"{name}, {main.title}", main)
    yield _confusion_panel(f"confusion{stem}", f"{name}, {main.title}, calibrated", main)
    yield _roc_panel(f"roc{stem}", f"{name}: clean inputs and inputs with one degradation", patches)


def _score_panels(stem: str, title: str, way: Told) -> Iterator[Panel]:
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


def _confusion_panel(stem: str, title: str, way: Told) -> Panel:
    """Draw the shares of labels per kind of input."""
    truths, columns, counts = _confusion(way.inputs, way.calibrated)
    shares = [[count / sum(row) for count in row] for row in counts]
    panel = drawing.matrix(stem, title, truths, columns, shares, xlabel="label given", ylabel="input")
    more = max(0, len(columns) - 4)  # than fit into a panel's usual size
    return replace(panel, size=(panel.size[0] + 0.7 * more, panel.size[1] + 0.4 * more))


def _roc_panel(stem: str, title: str, ways: Sequence[Told]) -> Panel:
    """Draw the ROC curve of every degradation and way over the simple inputs of all target models."""
    curves = []
    for way in ways:
        inputs = way.inputs.simple()
        for name in way.degradations:
            curve = roc_curve(inputs.scores(way.percent, name), inputs.present(name))
            rates = curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist()
            curves.append(drawing.Line(f"{name}, {way.title.split(', ')[-1]}", *rates))
    return drawing.lines(
        stem, title, curves, "false positive rate", "true positive rate", limits=(0, 1.02), size=(6.4, 5.4)
    )


def fixed_text(degradation: str) -> str:
    """Write the fixed threshold of a degradation, and where it comes from."""
    source = "paper" if degradation.partition(":")[0] in PAPER_THRESHOLDS else "ours"
    return f"{paper_threshold(degradation):g} ({source})"


def labels_of(inputs: Overlaps) -> list[str]:
    """Return the written form of every kind of input, in order."""
    return list(dict.fromkeys(each.label for each in inputs.inputs))


def _confusion(inputs: Overlaps, judge: Judge) -> tuple[list[str], list[str], list[list[int]]]:
    """Return true labels, given labels, and counts; the labels that inputs can have come first."""
    table = confusion([each.label for each in inputs.inputs], judge.labels(inputs))
    truths = list(table)
    columns = [*truths, *(label for label in next(iter(table.values())) if label not in truths)]
    return truths, columns, [[table[truth][label] for label in columns] for truth in truths]


def _specification(laboratory: Laboratory, settings: ClassificationSettings) -> dict[str, str]:
    common = laboratory.common
    thinned = "" if settings.images is None else f", at most {settings.images} images"
    judged = (f"{name}: {common.judged_on(name).set}{thinned}, whole" for name in common.pairs[: settings.pairs])
    return {
        "target models": targets_text(common),
        "found on": images_text(common.find),
        "calibrated on": calibration_text(laboratory, settings.calibration_images),
        "judged on": "; ".join(judged),
        "inputs": f"at most {settings.patches} patches of {PATCH}x{PATCH} LR pixels per image at fixed places, with "
        + ", ".join(str(degradation) for _, degradation in calibration_inputs(common.degradations)),
        "filter^x": f"magnitudes of FAIG, {settings.nodes} Gauss-Legendre nodes, {laboratory.fast_precision}",
    }


_TEXT = (
    "The overlap score OS(x, D) is the share of filter^x, the top filters of one input x, that are in filter^D, the "
    "top filters of the ranking with elimination for D. D is said to be there when the score reaches a threshold. The "
    "paper gives thresholds (noise 0.6, blur 0.5) and accuracies, not the proportion of filters, the mix of inputs, or "
    "how filter^x is found where there is no ground truth.",
    "Without ground truth filter^x attributes the change of the network's own function, L = ‖F(γ, x) − F(θ, x)‖²; with "
    "it, the paper's L = ‖F(γ, x) − x_gt‖², which no user has: a diagnostic. Inputs are clean, have one degradation, "
    "or have both; the published accuracies are set against the clean ones and those with one.",
    "An image is read on its patches, each normalised to sum 1, and their mean; or its integrals are taken over all "
    "its pixels at once, judged with the thresholds calibrated on means of patches.",
)

EXPERIMENT = Experiment(
    "classification",
    "Degradation classification",
    "overlap scores tell blur, noise, both and clean, at the paper's and at calibrated thresholds",
    ClassificationSettings,
    run,
)
