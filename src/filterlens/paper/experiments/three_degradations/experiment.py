# SPDX-License-Identifier: Apache-2.0
"""Beyond two degradations: rankings, own and cross damage, and classification for blur, noise and JPEG at once."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field

from filterlens.attribution.adaptive import Adaptive
from filterlens.attribution.discriminate import CONTRASTS, discriminate
from filterlens.attribution.faig import FAIG
from filterlens.attribution.methods import METHODS
from filterlens.attribution.result import Attribution, as_scores
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation, parse_degradations
from filterlens.diagnosis.overlap import Reading
from filterlens.diagnosis.patches import PATCH
from filterlens.errors import unknown
from filterlens.evaluation.function_distance import FUNCTION_DISTANCE
from filterlens.jobs.calibrate import calibration_kinds
from filterlens.paper.experiment import Experiment, Outcome, Table, images_text
from filterlens.paper.experiments.classification.claims import both_recognised, told_rightly
from filterlens.paper.experiments.classification.tables import (
    Told,
    accuracy_table,
    confusion_panel,
    confusion_table,
    overlap_table,
    roc_panel,
    score_panels,
    threshold_table,
)
from filterlens.paper.experiments.three_degradations.claims import damage_claims, sets_are_apart
from filterlens.paper.experiments.three_degradations.tables import (
    damage_panels,
    damage_tables,
    layer_panel,
    quality_table,
    set_tables,
)
from filterlens.paper.images import evenly
from filterlens.paper.judged import judge, selections_of
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.overlaps import Reader, calibration_samples, calibration_text, read_overlaps, whole_images
from filterlens.paper.settings import Percent, Positive, Settings
from filterlens.report.figures import Panel

MEAN, MAX, GOAL = "faig", "faig-max", "goal-directed"
Found = dict[str, Attribution]


class ThreeDegradationsSettings(Settings):
    """Settings of the page on more than two degradations.

    Attributes:
        pair: A shipped pair that was fine-tuned for all of them.
        further_targets: Judge further target models, too (trained as the shipped one was).
        degradations: What the pair was fine-tuned for.
        percents: Shares of the filters that are replaced; the first one is told by and shown.
        methods: What ranks the filters; ``faig-max`` eliminates against the maximum of the others, ``goal-directed`` is
            left out where the package has no such method.
        find_images: Find on at most so many of the common images.
        judge_images: Replace and judge on at most so many of the pair's images.
        nodes: Of the rule for filter^x.
        patches: How many 64×64 LR patches of an image are told.
        images: Tell at most so many images, whole.
        calibration_images: Of the training images, how many calibrate.
    """

    pair: str = "srresnet-x2-k3"
    further_targets: bool = False
    degradations: tuple[str, ...] = ("blur:2", "noise:0.1", "jpeg:30")
    percents: Annotated[tuple[Percent, ...], Field(min_length=1)] = (1.0, 5.0)
    methods: tuple[str, ...] = (MEAN, MAX, GOAL, "ig", "random")
    find_images: Positive | None = None
    judge_images: Positive | None = None
    nodes: Positive = 4
    patches: Positive = 4
    images: Positive | None = None
    calibration_images: Positive = 8


def run(laboratory: Laboratory, settings: ThreeDegradationsSettings) -> Outcome:
    """Rank for all degradations, replace and judge, and tell which degradations inputs have."""
    models = _models(laboratory, settings)
    found = [rankings(laboratory, settings, model) for model in models]
    edited = [
        (model, selections_of(each, settings.percents, settings.degradations))
        for model, each in zip(models, found, strict=True)
    ]
    kinds = {name: Degradation.parse(name) for name in (*settings.degradations, "clean")}
    judged = judge(laboratory, edited, evenly(laboratory.judging(settings.pair), settings.judge_images), inputs=kinds)
    way = _told(laboratory, settings, models, found)
    name, percent = settings.pair, settings.percents[0]
    claims = [
        *damage_claims(name, percent, settings.degradations, judged),
        sets_are_apart(name, percent, [each[MEAN] for each in found]),
        told_rightly(name, way),
        both_recognised(name, way),
    ]
    tables = [
        *damage_tables(name, settings.percents, settings.degradations, judged),
        quality_table(name, judged, list(kinds)),
        *set_tables(name, percent, found),
        *_telling_tables(name, way),
    ]
    panels = [
        *damage_panels(name, percent, settings.degradations, judged),
        layer_panel(name, percent, found[0][MEAN]),
        *_telling_panels(name, way),
    ]
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _TEXT, _specification(laboratory, settings, models))


def rankings(laboratory: Laboratory, settings: ThreeDegradationsSettings, model: TargetModel) -> Found:
    """Return the rankings of one target model by name, in the order of the settings; FAIG's comes first.

    Raises:
        UsageError: A method is unknown.
    """
    samples = _finding(laboratory, settings)
    others = [name for name in methods_of(settings) if name not in (MEAN, MAX)]
    found = contrasts(laboratory, model, samples, settings.degradations)
    found |= laboratory.attribute(model, others, samples, settings.degradations) if others else {}
    return {name: found[name] for name in methods_of(settings)}


def methods_of(settings: ThreeDegradationsSettings) -> list[str]:
    """Return the wanted methods that there are, FAIG in front.

    Raises:
        UsageError: A method is unknown.
    """
    for name in settings.methods:
        if name not in METHODS and name not in (MAX, GOAL):
            raise unknown("method", name, [*METHODS, MAX])
    return list(dict.fromkeys([MEAN, *(name for name in settings.methods if name in METHODS or name == MAX)]))


def contrasts(
    laboratory: Laboratory, model: TargetModel, samples: Sequence[Sample], degradations: Sequence[str]
) -> Found:
    """Return FAIG with elimination against the mean and against the maximum of the others, from one measurement."""
    common = laboratory.common
    method = FAIG(
        model.pair, quadrature=Adaptive(common.tolerance), seed=common.seed, precision=common.precision
    )  # the settings of the laboratory, so that the measurements are shared with other pages
    inputs = parse_degradations(degradations)
    runner = laboratory.runner(model)
    totals = {each: torch.zeros(len(inputs), len(model.pair.space), dtype=torch.float64) for each in CONTRASTS}
    for measured in method.measure_images(samples, list(inputs.values()), laboratory.progress, runner):
        magnitudes = torch.stack([each.magnitudes for each in measured])
        for contrast, total in totals.items():
            total += discriminate(magnitudes, contrast) / len(samples)
    return {
        name: Attribution(
            name,
            model.pair.space,
            {each: as_scores(row, model.pair.dtype) for each, row in zip(inputs, totals[contrast], strict=True)},
            method.settings() | {"contrast": contrast},
        )
        for name, contrast in ((MEAN, "mean"), (MAX, "max"))
    }


def _models(laboratory: Laboratory, settings: ThreeDegradationsSettings) -> list[TargetModel]:
    """Return the shipped target, and further ones where they are wanted; other recipes know two degradations only."""
    if settings.further_targets and laboratory.common.training == "card":
        return laboratory.targets(settings.pair)
    return [laboratory.target(settings.pair)]


def _finding(laboratory: Laboratory, settings: ThreeDegradationsSettings) -> list[Sample]:
    return evenly(laboratory.finding, settings.find_images)


def _told(
    laboratory: Laboratory, settings: ThreeDegradationsSettings, models: Sequence[TargetModel], found: Sequence[Found]
) -> Told:
    """Read the overlap scores of patches without ground truth, with FAIG's filters."""
    percent = settings.percents[0]
    readers = [Reader.of(model, each[MEAN], [percent]) for model, each in zip(models, found, strict=True)]
    kinds = calibration_kinds(settings.degradations)
    reading = Reading("target", settings.nodes, laboratory.fast_precision, patches=settings.patches)
    calibrating, inputs = (
        read_overlaps(laboratory, readers, samples, kinds, reading)[0]
        for samples in (
            calibration_samples(laboratory, settings.calibration_images),
            whole_images(laboratory, settings.pair, settings.images),
        )
    )
    title = "patches, without ground truth"
    return Told.of(readers, title, percent, calibrating, inputs, laboratory.common.resamples)


def _telling_tables(name: str, way: Told) -> Iterator[Table]:
    title = f"{name}, {way.percent:g} %"
    yield accuracy_table("accuracy", f"{title}: clean inputs and inputs with one degradation", [way], simple=True)
    yield accuracy_table("accuracy-both", f"{title}: the same with inputs that have two", [way], simple=False)
    yield overlap_table("overlap", f"{title}: mean overlap score", [way])
    yield confusion_table("confusion", f"{title}: labels at calibrated thresholds", way, way.calibrated)
    yield threshold_table("thresholds", f"{title}: thresholds and time", [way])


def _telling_panels(name: str, way: Told) -> Iterator[Panel]:
    yield from score_panels("scores", f"{name}, {way.title}", way)
    yield confusion_panel("confusion", f"{name}, {way.title}, calibrated", way, way.calibrated)
    yield roc_panel("roc", f"{name}: clean inputs and inputs with one degradation", [way], simple=True)


def _specification(
    laboratory: Laboratory, settings: ThreeDegradationsSettings, models: Sequence[TargetModel]
) -> dict[str, str]:
    common = laboratory.common
    missing = [name for name in settings.methods if name not in methods_of(settings)]
    most = "" if settings.find_images is None else f", at most {settings.find_images} of these"
    few = "" if settings.judge_images is None else f", at most {settings.judge_images} of these"
    given = {"not shown": f"{', '.join(missing)}: not in this package"} if missing else {}
    return {
        "pair": f"{settings.pair}, {len(models)} target model(s)",
        "degradations": ", ".join(settings.degradations),
        "found on": images_text(common.find) + most,
        "replaced and judged on": images_text(common.judged_on(settings.pair)) + few,
        "told": f"at most {settings.patches} patches of {PATCH}x{PATCH} LR pixels of each whole image",
        "calibrated on": calibration_text(laboratory, settings.calibration_images),
        "distance": FUNCTION_DISTANCE,
        **given,
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
