# SPDX-License-Identifier: Apache-2.0
"""Measure the classification of inputs by overlap scores: readings of many inputs, and their accuracy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field

from filterlens.attribution.methods import NO_ELIMINATION
from filterlens.diagnosis.calibration import calibrate, calibration_inputs
from filterlens.diagnosis.classification_metrics import area_under_roc
from filterlens.diagnosis.classify import Classifier, Verdict, choose_thresholds
from filterlens.diagnosis.overlap import Reading
from filterlens.evaluation.statistics import Estimate, over_seeds, two_level_ratio
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.overlaps import Overlaps, Reader, Scored, calibration_samples, plain, read_overlaps, whole_images
from filterlens.settings import Percent, Positive, Settings

TARGET = "target"
WORDS = {TARGET: "without ground truth", "truth": "with ground truth"}


class ClassificationSettings(Settings):
    """Settings of the classification.

    Attributes:
        pairs: At most so many of the common pairs, the first ones.
        percent: Share of the filters in filter^D and filter^x.
        percents: Shares in the table over percentages.
        objectives: ``target`` needs no ground truth, ``truth`` does.
        nodes: Nodes of the Gauss-Legendre rule on the path.
        patches: How many 64×64 LR patches of every image, each an input of its own.
        images: Judge on at most so many images, spread evenly over the set, whole.
        calibration_images: Calibrate on at most so many of the training images, spread evenly.
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


@dataclass(frozen=True, eq=False)
class Judge:
    """Says what inputs have: one classifier per target model.

    Attributes:
        percent: Share of the filters in filter^D and filter^x.
        classifiers: Seed of the target model → classifier.
        resamples: Draws of a bootstrap.
    """

    percent: float
    classifiers: Mapping[int, Classifier]
    resamples: int = 2000

    def verdict(self, scored: Scored) -> Verdict:
        """Return the verdict on an input."""
        classifier = self.classifiers[scored.seed]
        return classifier.judge({name: scored.scores[self.percent, name] for name in classifier.selections})

    def labels(self, overlaps: Overlaps) -> list[str]:
        """Return the label of every input."""
        return [self.verdict(each).label for each in overlaps.inputs]

    def accuracy(self, overlaps: Overlaps, name: str) -> Estimate:
        """Return the share of inputs of which it is rightly said whether they have a degradation."""
        return self._share(overlaps, lambda each: (name in self.verdict(each).present) == (name in each.kind))

    def recognised(self, overlaps: Overlaps, name: str) -> Estimate:
        """Return the share of inputs of which it is said that they have a degradation."""
        return self._share(overlaps, lambda each: name in self.verdict(each).present)

    def label_accuracy(self, overlaps: Overlaps) -> Estimate:
        """Return the share of inputs whose whole label is right."""

        def right(scored: Scored) -> bool:
            known = self.classifiers[scored.seed].selections
            return self.verdict(scored).present == tuple(name for name in known if name in scored.kind)

        return self._share(overlaps, right)

    def threshold(self, name: str) -> Estimate:
        """Return the threshold on OS(x, D), over target models."""
        return over_seeds([each.thresholds[name] for each in self.classifiers.values()])

    def hidden_by(self, name: str) -> list[str]:
        """Return the degradations beneath which one is not seen, by the calibration of any target model."""
        found = [each.calibrations[name].hidden_by for each in self.classifiers.values() if each.calibrations]
        return sorted({other for hidden in found for other in hidden})

    def _share(self, overlaps: Overlaps, right: Callable[[Scored], bool]) -> Estimate:
        return pooled_mean(overlaps, [float(right(each)) for each in overlaps.inputs], self.resamples)


def pooled_mean(overlaps: Overlaps, values: Sequence[float], resamples: int = 2000) -> Estimate:
    """Return the mean over all inputs; inputs of one image are drawn together, target models apart from images.

    Args:
        overlaps: The inputs.
        values: One per input, in [0, 1].
        resamples: Draws of the bootstrap.
    """
    seeds, images = overlaps.seeds, sorted({each.image for each in overlaps.inputs})
    missing, counts = np.zeros((len(seeds), len(images))), np.zeros((len(seeds), len(images)))
    for each, value in zip(overlaps.inputs, values, strict=True):
        place = seeds.index(each.seed), images.index(each.image)
        missing[place] += 1 - value
        counts[place] += 1
    return two_level_ratio(missing, counts, resamples=resamples)


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

    @property
    def percent(self) -> float:
        """Share of the filters in filter^D and filter^x."""
        return self.paper.percent

    @property
    def degradations(self) -> list[str]:
        """What is told."""
        return list(next(iter(self.paper.classifiers.values())).selections)

    @property
    def plain_sets(self) -> list[str]:
        """Names of the sets without elimination, where they were read."""
        names = [plain(name) for name in self.degradations]
        return [name for name in names if (self.percent, name) in self.inputs.inputs[0].scores]

    def area(self, inputs: Overlaps, name: str) -> Estimate:
        """Return the area under the ROC curve of OS(x, D) against the presence of D: mean and sd over target models."""
        parts = [inputs.of_seed(seed) for seed in inputs.seeds]
        return over_seeds([area_under_roc(each.scores(self.percent, name), each.present(name)) for each in parts])

    def overlap(self, inputs: Overlaps, name: str) -> Estimate:
        """Return the mean of OS(x, D) over inputs, with the spread over target models and images."""
        return pooled_mean(inputs, inputs.scores(self.percent, name).tolist(), self.paper.resamples)

    def own(self, name: str, *, calibrating: bool = False) -> Estimate:
        """Return the mean overlap with a set on inputs that have just its degradation."""
        inputs = self.calibrating if calibrating else self.inputs
        return self.overlap(inputs.of_kind(frozenset({name.removesuffix(plain(""))})), name)

    def told_apart(self, name: str, first: frozenset[str], second: frozenset[str]) -> float:
        """Return the area under the ROC curve of OS(x, D) between the first and the second kind of inputs."""
        high, low = (self.inputs.of_kind(kind).scores(self.percent, name) for kind in (first, second))
        return area_under_roc(torch.cat([high, low]), torch.arange(len(high) + len(low)) < len(high))


def told_by(
    readers: Sequence[Reader], title: str, percent: float, calibrating: Overlaps, inputs: Overlaps, resamples: int
) -> Told:
    """Calibrate every target model's thresholds on some inputs, and judge others by them and by the paper's.

    Args:
        readers: Target models with their filters.
        title: The way of reading in words.
        percent: One of the readers'.
        calibrating: Inputs of the same reading, of other images than those that are judged; they also say what hides
            what, whichever the thresholds.
        inputs: What is judged.
        resamples: Draws of a bootstrap.
    """
    classifiers: dict[str, dict[int, Classifier]] = {"paper": {}, "calibrated": {}}
    for reader in readers:
        selections, known = reader.at(percent), calibrating.of_seed(reader.model.seed)
        scores = {name: known.scores(percent, name) for name in selections}
        tables = calibrate(scores, [each.kind for each in known.inputs])
        for thresholds, own in classifiers.items():
            limits = choose_thresholds(thresholds, tuple(selections), tables)
            own[reader.model.seed] = Classifier(reader.model.pair, selections, percent, limits, tables)
    judges = (Judge(percent, each, resamples) for each in classifiers.values())
    return Told(title, inputs, calibrating, *judges)


def ways_of(
    laboratory: Laboratory, settings: ClassificationSettings, name: str
) -> tuple[dict[str, Told], dict[float, Told]]:
    """Return every way of reading at the main percentage, and patches without ground truth at every percentage."""
    percents = list(dict.fromkeys([settings.percent, *settings.percents]))
    readers = []
    for model in laboratory.targets(name):
        found = laboratory.attribute(model, ["faig", NO_ELIMINATION], laboratory.finding)
        readers.append(Reader.of(model, found["faig"], percents, found[NO_ELIMINATION]))
    kinds = calibration_inputs(laboratory.common.degradations)
    judged = whole_images(laboratory, name, settings.images)
    training = calibration_samples(laboratory, settings.calibration_images)
    ways, at_percent = dict[str, Told](), dict[float, Told]()
    tell = partial(told_by, readers, resamples=laboratory.common.resamples)
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
