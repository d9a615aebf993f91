# SPDX-License-Identifier: Apache-2.0
"""Degradation classification: which degradations an input has, told by the filters that the network uses on it."""

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from filterlens.attribution.methods import NO_ELIMINATION
from filterlens.diagnosis.calibration import paper_threshold
from filterlens.diagnosis.overlap import Reading
from filterlens.diagnosis.patches import PATCH
from filterlens.jobs.calibrate import calibration_kinds
from filterlens.paper.experiment import Cell, Claim, Experiment, Outcome, Table, images_text, targets_text
from filterlens.paper.experiments.classification.claims import both_recognised, published_accuracy
from filterlens.paper.experiments.classification.recognition import area
from filterlens.paper.experiments.classification.tables import (
    NOTE,
    Told,
    accuracy_table,
    confusion_panel,
    confusion_table,
    overlap_table,
    roc_panel,
    score_panels,
    threshold_table,
)
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.overlaps import Reader, calibration_samples, calibration_text, read_overlaps, whole_images
from filterlens.paper.settings import Percent, Positive, Settings
from filterlens.report.figures import Panel

TARGET = "target"
WORDS = {TARGET: "without ground truth", "truth": "with ground truth"}


class ClassificationSettings(Settings):
    """Settings of the classification.

    Attributes:
        pairs: Of the common pairs, how many, the first ones.
        percent: Share of the filters in filter^D and filter^x.
        percents: The same for the table over percentages.
        objectives: ``target`` needs no ground truth, ``truth`` does.
        nodes: Of the Gauss-Legendre rule on the path.
        patches: How many 64×64 LR patches of every image, each an input of its own.
        images: Judge on at most so many images, spread evenly over the set, whole.
        calibration_images: Of the training images, how many calibrate, spread evenly.
        whole: Also integrate over whole images (without ground truth).
    """

    pairs: Positive = 2
    percent: Percent = 1.0
    percents: tuple[Percent, ...] = (1.0, 3.0, 5.0)
    objectives: Annotated[tuple[Literal["target", "truth"], ...], Field(min_length=1)] = ("target", "truth")
    nodes: Positive = 4
    patches: Positive = 4
    images: Positive | None = None
    calibration_images: Positive = 8
    whole: bool = True


def run(laboratory: Laboratory, settings: ClassificationSettings) -> Outcome:
    """Find filters, read the overlap scores of many inputs, and judge by fixed and by calibrated thresholds."""
    claims: list[Claim] = []
    tables: list[Table] = []
    panels: list[Panel] = []
    for name in laboratory.common.pairs[: settings.pairs]:
        ways, chosen = _ways(laboratory, settings, name)
        tables += _tables(name, settings, ways, chosen)
        panels += _panels(name, ways)
        claims += _claims(name, ways)
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _TEXT, _specification(laboratory, settings))


def _ways(
    laboratory: Laboratory, settings: ClassificationSettings, name: str
) -> tuple[dict[str, Told], dict[float, Told]]:
    """Return every way of reading at the main percentage, and patches without ground truth at every percentage."""
    percents = list(dict.fromkeys([settings.percent, *settings.percents]))
    models = laboratory.targets(name)
    readers = []
    for model in models:
        found = laboratory.attribute(model, ["faig", NO_ELIMINATION], laboratory.finding)
        readers.append(Reader.of(model, found["faig"], percents, found[NO_ELIMINATION]))
    kinds = calibration_kinds(laboratory.common.degradations)
    judged = whole_images(laboratory, name, settings.images)
    training = calibration_samples(laboratory, settings.calibration_images)
    ways, at_percent = dict[str, Told](), dict[float, Told]()
    tell = partial(Told.of, readers, resamples=laboratory.common.resamples)
    for objective in settings.objectives:
        reading = Reading(objective, settings.nodes, laboratory.fast_precision, patches=settings.patches)
        calibrating, inputs = (read_overlaps(laboratory, readers, each, kinds, reading) for each in (training, judged))
        for place, known, asked in zip(("patches", "images"), calibrating, inputs, strict=True):
            ways[f"{objective}-{place}"] = tell(f"{place}, {WORDS[objective]}", settings.percent, known, asked)
        if objective == TARGET:
            at_percent = {percent: tell(f"{percent:g} %", percent, calibrating[0], inputs[0]) for percent in percents}
    if settings.whole and TARGET in settings.objectives:
        reading = Reading(TARGET, settings.nodes, laboratory.fast_precision, whole=True)
        _, asked = read_overlaps(laboratory, readers, judged, kinds, reading)
        images = ways[f"{TARGET}-images"]
        title = f"images, integrated whole, {WORDS[TARGET]}"
        ways[f"{TARGET}-whole"] = Told(title, asked, images.calibrating, images.paper, images.calibrated)
    return ways, at_percent


def _tables(
    name: str, settings: ClassificationSettings, ways: dict[str, Told], chosen: dict[float, Told]
) -> Iterator[Table]:
    told, percent = list(ways.values()), f"{settings.percent:g} %"
    yield accuracy_table(
        f"accuracy-{name}", f"{name}, {percent}: clean inputs and inputs with one degradation", told, simple=True
    )
    yield accuracy_table(
        f"accuracy-both-{name}", f"{name}, {percent}: the same with inputs that have both", told, simple=False
    )
    yield overlap_table(f"overlap-{name}", f"{name}, {percent}: mean overlap score", told)
    way = ways[main_way(ways)]
    for judge, stem, words in (
        (way.paper, "paper", "at the paper's thresholds"),
        (way.calibrated, "calibrated", "at calibrated thresholds"),
    ):
        yield confusion_table(f"confusion-{stem}-{name}", f"{name}, {way.title}: labels {words}", way, judge)
    yield threshold_table(f"thresholds-{name}", f"{name}: thresholds and time", told)
    if len(chosen) > 1:
        yield _percent_table(name, chosen)


def _percent_table(name: str, chosen: dict[float, Told]) -> Table:
    columns = ["percent"]
    rows = []
    for way in chosen.values():
        inputs, cells = way.inputs.simple(), list[Cell]([way.title])
        for kind in way.degradations:
            cells += [area(inputs, way.percent, kind), way.paper.accuracy(inputs, kind)]
            cells.append(way.calibrated.accuracy(inputs, kind))
        rows.append(tuple(cells))
    for kind in next(iter(chosen.values())).degradations:
        columns += [f"{kind}: AUC", f"{kind}: accuracy at {paper_threshold(kind):g}", f"{kind}: accuracy, calibrated"]
    title = f"{name}, patches, without ground truth: how many filters filter^D and filter^x hold"
    return Table(f"percents-{name}", title, tuple(columns), tuple(rows), NOTE)


def _panels(name: str, ways: dict[str, Told]) -> Iterator[Panel]:
    way = ways[main_way(ways)]
    patches = [each for key, each in ways.items() if key.endswith("-patches")]
    yield from score_panels(f"scores-{name}", f"{name}, {way.title}", way)
    yield confusion_panel(f"confusion-{name}", f"{name}, {way.title}, calibrated", way, way.calibrated)
    yield roc_panel(f"roc-{name}", f"{name}: clean inputs and inputs with one degradation", patches, simple=True)


def main_way(ways: dict[str, Told]) -> str:
    """Return the way that figures and the claim on both degradations show: without ground truth where it is read."""
    return f"{TARGET}-patches" if f"{TARGET}-patches" in ways else next(iter(ways))


def _claims(name: str, ways: dict[str, Told]) -> Iterator[Claim]:
    for key, way in ways.items():
        if key.endswith("-patches"):
            yield published_accuracy(name, way, calibrated=False)
            yield published_accuracy(name, way, calibrated=True)
    yield both_recognised(name, ways[main_way(ways)])


def _specification(laboratory: Laboratory, settings: ClassificationSettings) -> dict[str, str]:
    common = laboratory.common
    pairs = common.pairs[: settings.pairs]
    thinned = "" if settings.images is None else f", at most {settings.images} images"
    return {
        "target models": targets_text(laboratory.common),
        "found on": images_text(common.find),
        "calibrated on": calibration_text(laboratory, settings.calibration_images),
        "judged on": "; ".join(f"{name}: {common.judged_on(name).set}{thinned}, whole" for name in pairs),
        "inputs": f"at most {settings.patches} patches of {PATCH}x{PATCH} LR pixels per image at fixed places, with "
        + ", ".join(str(degradation) for _, degradation in calibration_kinds(common.degradations)),
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
