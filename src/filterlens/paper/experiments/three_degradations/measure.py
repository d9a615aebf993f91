# SPDX-License-Identifier: Apache-2.0
"""Measure three degradations at once: rankings, own and cross damage, and classification for blur, noise and JPEG."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from filterlens.attribution.faig import CONTRASTS, FAIG, discriminate
from filterlens.attribution.methods import METHODS
from filterlens.attribution.result import Attribution, as_scores
from filterlens.data.samples import Sample
from filterlens.degradations.given import as_degradations
from filterlens.degradations.inputs import Inputs
from filterlens.diagnosis.calibration import calibration_inputs
from filterlens.diagnosis.overlap import Reading
from filterlens.errors import unknown
from filterlens.paper.experiments.classification.measure import Told, told_by
from filterlens.paper.images import evenly
from filterlens.paper.judged import View, view_of
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.overlaps import Reader, calibration_samples, read_overlaps, whole_images
from filterlens.settings import Percent, Positive, Settings

MEAN, MAX, GOAL = "faig", "faig-max", "goal-directed"
Found = dict[str, Attribution]


class ThreeDegradationsSettings(Settings):
    """Settings of the page on more than two degradations.

    Attributes:
        pair: A shipped pair that was fine-tuned for all of them.
        further_targets: Judge further target models, too (trained as the shipped one was).
        degradations: What the pair was fine-tuned for.
        percents: Shares of the filters that are replaced; the first one is told by and shown.
        methods: What ranks the filters; ``faig-max`` eliminates against the maximum of the others.
        find_images: Find on at most so many of the common images.
        judge_images: Replace and judge on at most so many of the pair's images.
        nodes: Nodes of the rule for filter^x.
        patches: How many 64×64 LR patches of an image are told.
        images: Tell at most so many images, whole.
        calibration_images: Calibrate on at most so many of the training images.
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


def study(laboratory: Laboratory, settings: ThreeDegradationsSettings) -> tuple[View, Told]:
    """Replace what every method finds and judge it, and tell with FAIG's filters which degradations patches have.

    The shipped target is judged, and further ones where they are wanted; other recipes know two degradations only.
    """
    further = settings.further_targets and laboratory.common.training == "card"
    models = laboratory.targets(settings.pair) if further else [laboratory.target(settings.pair)]
    found = [rankings(laboratory, settings, model) for model in models]
    judging = laboratory.judging(settings.pair, settings.judge_images)
    view = view_of(laboratory, models, found, settings.percents, judging, settings.degradations)
    readers = [Reader.of(model, each[MEAN], [view.percent]) for model, each in zip(models, found, strict=True)]
    reading = Reading("target", settings.nodes, laboratory.fast_precision, patches=settings.patches)
    kinds = calibration_inputs(settings.degradations)
    calibrating, asked = (
        read_overlaps(laboratory, readers, samples, kinds, reading)[0]
        for samples in (
            calibration_samples(laboratory, settings.calibration_images),
            whole_images(laboratory, settings.pair, settings.images),
        )
    )
    title = "patches, without ground truth"
    return view, told_by(readers, title, view.percent, calibrating, asked, laboratory.common.resamples)


def rankings(laboratory: Laboratory, settings: ThreeDegradationsSettings, model: TargetModel) -> Found:
    """Return the rankings of one target model by name, in the order of the settings; FAIG's comes first.

    Raises:
        UsageError: A method is unknown.
    """
    samples, methods = evenly(laboratory.finding, settings.find_images), methods_of(settings)
    others = [name for name in methods if name not in (MEAN, MAX)]
    found = contrasts(laboratory, model, samples, settings.degradations)
    found |= laboratory.attribute(model, others, samples, settings.degradations) if others else {}
    return {name: found[name] for name in methods}


def methods_of(settings: ThreeDegradationsSettings) -> list[str]:
    """Return the wanted methods, each once, FAIG in front.

    Raises:
        UsageError: A method is unknown.
    """
    for name in settings.methods:
        if name not in METHODS and name != MAX:
            raise unknown("method", name, [*METHODS, MAX])
    return list(dict.fromkeys([MEAN, *settings.methods]))


def contrasts(
    laboratory: Laboratory, model: TargetModel, samples: Sequence[Sample], degradations: Sequence[str]
) -> Found:
    """Return FAIG with elimination against the mean and against the maximum of the others, from one measurement."""
    method = FAIG(model.pair, laboratory.settings())  # so that the measurements are shared with other pages
    inputs = Inputs.of(samples, as_degradations(degradations))
    names = list(inputs.degradations)
    totals = {each: torch.zeros(len(names), len(model.pair.space), dtype=torch.float64) for each in CONTRASTS}
    for measured in method.measure_images(inputs, laboratory.progress, laboratory.store):
        magnitudes = torch.stack([each.magnitudes for each in measured])
        for contrast, total in totals.items():
            total += discriminate(magnitudes, contrast) / len(samples)
    return {
        name: Attribution(
            name,
            model.pair.space,
            {each: as_scores(row, model.pair.dtype) for each, row in zip(names, totals[contrast], strict=True)},
            method.record() | {"contrast": contrast},
        )
        for name, contrast in ((MEAN, "mean"), (MAX, "max"))
    }
