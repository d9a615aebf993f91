# SPDX-License-Identifier: Apache-2.0
"""How well overlap scores tell degradations: area under the ROC curve, accuracy and labels over target models."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from filterlens.diagnosis.calibration import Calibration, calibrate
from filterlens.diagnosis.classification_metrics import area_under_roc
from filterlens.diagnosis.classify import Classifier, Verdict, choose_thresholds
from filterlens.evaluation.statistics import Estimate, over_seeds, two_level_ratio
from filterlens.paper.overlaps import Overlaps, Reader, Scored

PAPER, CALIBRATED = "paper", "calibrated"


@dataclass(frozen=True, eq=False)
class Judge:
    """Says what inputs have: one classifier per target model.

    Attributes:
        percent: Share of the filters in filter^D and filter^x.
        classifiers: Seed of the target model → classifier.
        resamples: Of bootstraps.
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
        return self.share(overlaps, lambda each: (name in self.verdict(each).present) == (name in each.kind))

    def recognised(self, overlaps: Overlaps, name: str) -> Estimate:
        """Return the share of inputs of which it is said that they have a degradation."""
        return self.share(overlaps, lambda each: name in self.verdict(each).present)

    def label_accuracy(self, overlaps: Overlaps) -> Estimate:
        """Return the share of inputs whose whole label is right."""
        return self.share(overlaps, lambda each: self.verdict(each).present == self._rightly(each))

    def share(self, overlaps: Overlaps, right: Callable[[Scored], bool]) -> Estimate:
        """Return the share of inputs for which something is so."""
        return pooled_mean(overlaps, [float(right(each)) for each in overlaps.inputs], self.resamples)

    def threshold(self, name: str) -> Estimate:
        """Return the threshold on OS(x, D), over target models."""
        return over_seeds([each.thresholds[name] for each in self.classifiers.values()])

    def hidden_by(self, name: str) -> list[str]:
        """Return the degradations beneath which one is not seen, by the calibration of any target model."""
        found = [each.calibrations[name].hidden_by for each in self.classifiers.values() if each.calibrations]
        return sorted({other for hidden in found for other in hidden})

    def _rightly(self, scored: Scored) -> tuple[str, ...]:
        return tuple(name for name in self.classifiers[scored.seed].selections if name in scored.kind)


def judge_by(
    thresholds: str, readers: Sequence[Reader], percent: float, calibrating: Overlaps, resamples: int = 2000
) -> Judge:
    """Return the classifiers with the thresholds of the paper, or with those calibrated on other inputs.

    Args:
        thresholds: :data:`PAPER` or :data:`CALIBRATED`; the calibration also says what hides what.
        readers: Target models with their filters.
        percent: One of the readers'.
        calibrating: Inputs of the same reading, of other images than those that are judged.
        resamples: Of bootstraps.
    """
    classifiers = {}
    for reader in readers:
        selections = reader.at(percent)
        tables = calibration_of(calibrating.of_seed(reader.model.seed), percent, list(selections))
        limits = choose_thresholds(thresholds, tuple(selections), tables)
        classifiers[reader.model.seed] = Classifier(reader.model.pair, selections, percent, limits, tables)
    return Judge(percent, classifiers, resamples)


def calibration_of(overlaps: Overlaps, percent: float, names: Sequence[str]) -> dict[str, Calibration]:
    """Calibrate every degradation on inputs of one target model."""
    kinds = [each.kind for each in overlaps.inputs]
    return calibrate({name: overlaps.scores(percent, name) for name in names}, kinds)


def area(overlaps: Overlaps, percent: float, name: str) -> Estimate:
    """Return the area under the ROC curve of OS(x, D) against the presence of D: mean and sd over target models."""
    parts = [overlaps.of_seed(seed) for seed in overlaps.seeds]
    return over_seeds([area_under_roc(each.scores(percent, name), each.present(name)) for each in parts])


def mean_overlap(overlaps: Overlaps, percent: float, name: str, resamples: int = 2000) -> Estimate:
    """Return the mean of OS(x, D) over inputs, with the spread over target models and images."""
    return pooled_mean(overlaps, overlaps.scores(percent, name).tolist(), resamples)


def pooled_mean(overlaps: Overlaps, values: Sequence[float], resamples: int = 2000) -> Estimate:
    """Return the mean over all inputs; inputs of one image are drawn together, target models apart from images.

    Args:
        overlaps: The inputs.
        values: One per input, in [0, 1].
        resamples: Of the bootstrap.
    """
    seeds, images = overlaps.seeds, sorted({each.image for each in overlaps.inputs})
    missing, counts = np.zeros((len(seeds), len(images))), np.zeros((len(seeds), len(images)))
    for each, value in zip(overlaps.inputs, values, strict=True):
        place = seeds.index(each.seed), images.index(each.image)
        missing[place] += 1 - value
        counts[place] += 1
    return two_level_ratio(missing, counts, resamples=resamples)


def told_apart(overlaps: Overlaps, percent: float, name: str, kinds: Sequence[frozenset[str]]) -> float:
    """Return the area under the ROC curve of OS(x, D) between the first and the second kind of inputs."""
    first, second = (overlaps.of_kind(kind).scores(percent, name) for kind in kinds)
    present = torch.cat([torch.ones(len(first), dtype=torch.bool), torch.zeros(len(second), dtype=torch.bool)])
    return area_under_roc(torch.cat([first, second]), present)
