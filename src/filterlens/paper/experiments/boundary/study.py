# SPDX-License-Identifier: Apache-2.0
"""What the cases of all target models say together: gains along sweeps, and how well they are predicted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from filterlens.diagnosis.calibration import best_threshold
from filterlens.diagnosis.classification_metrics import balanced_accuracy
from filterlens.evaluation.statistics import Estimate, over_seeds, rank_correlation, two_level_mean
from filterlens.paper.experiments.boundary.cases import Case
from filterlens.paper.experiments.boundary.prediction import Array, Indices, auc, isotonic, linear, over_images
from filterlens.paper.experiments.boundary.sweeps import Sweep

HELPS = 0.5  # dB of gain: what a user would notice in a table of results


@dataclass(frozen=True)
class Study:
    """Cases of every target model, on the images on which filters are found and on those that judge.

    Attributes:
        sweeps: Whose inputs were measured.
        found: Target model → cases on the images of discovery.
        judged: Target model → cases on other images; the same images and inputs for every model.
        resamples: Of every bootstrap.
    """

    sweeps: Sequence[Sweep]
    found: Sequence[Sequence[Case]]
    judged: Sequence[Sequence[Case]]
    resamples: int = 2000

    def mean(self, text: str, value: Callable[[Case], float]) -> Estimate:
        """Return the mean of a value over target models and judging images of one input."""
        table = [[value(case) for case in cases if case.input == text] for cases in self.judged]
        return two_level_mean(table, resamples=self.resamples)

    def of_sweep(self, sweep: Sweep) -> "Study":
        """Return the judged cases of one sweep alone."""
        texts = set(sweep.inputs.values())
        return Study([sweep], self.found, [[case for case in each if case.input in texts] for each in self.judged],
                     self.resamples)  # fmt: skip

    def gains(self) -> list[Array]:
        """Return the gains on the judging images: target model → ``(cases,)``."""
        return [_column(cases, lambda case: case.gain) for cases in self.judged]

    def helped(self) -> float:
        """Return the share of judged cases in which the network helps."""
        return float(np.mean([gain > HELPS for gains in self.gains() for gain in gains]))

    def over_images(self, statistic: Callable[[int, Indices], float]) -> Estimate:
        """Return a statistic of (target model, indices of its judged cases), with its interval over images."""
        models = range(len(self.judged))
        return over_images(
            lambda chosen: [statistic(model, chosen) for model in models],
            [case.image for case in self.judged[0]],
            resamples=self.resamples,
        )


@dataclass(frozen=True)
class Predictor:
    """Something that is seen of an input without ground truth.

    Attributes:
        name: Short, for code.
        label: For tables.
        columns: Case → one number, or several that are joined by a linear fit.
    """

    name: str
    label: str
    columns: Callable[[Case], Sequence[float]]


OVERLAP = Predictor("overlap", "overlap score, the largest of all degradations", lambda case: [case.overlap])
OVERLAPS = Predictor("overlaps", "all overlap scores, linear fit", lambda case: list(case.overlaps.values()))
CHANGE = Predictor("change", "size of the change, ‖F(θ, x) − F(θ̄, x)‖²", lambda case: [case.log_change])
BOTH = Predictor(
    "both", "all overlap scores, log size of the change, and their products, linear fit",
    lambda case: [*case.overlaps.values(), case.log_change,
                  *(overlap * case.log_change for overlap in case.overlaps.values())],
)  # fmt: skip
PREDICTORS = (OVERLAP, OVERLAPS, CHANGE, BOTH)


@dataclass(frozen=True)
class Skill:
    """How well a predictor tells the gain on unseen images.

    Attributes:
        spearman: Rank correlation with the gain.
        auc: Of telling the cases in which the network helps.
        error: Mean absolute error of the gain by the fit on the images of discovery, in dB.
        accuracy: Balanced, of "it helps" by the threshold that is best on the images of discovery; None where one
            side is missing.
    """

    spearman: Estimate
    auc: Estimate
    error: Estimate
    accuracy: Estimate | None


def skill(study: Study, predictor: Predictor) -> Skill:
    """Fit on the images of discovery, judge on the others."""
    scores, predicted = scores_and_predictions(study, predictor)
    gains = study.gains()
    return Skill(
        study.over_images(lambda model, at: rank_correlation(scores[model][at], gains[model][at])),
        study.over_images(lambda model, at: auc(scores[model][at], gains[model][at] > HELPS)),
        study.over_images(lambda model, at: float(np.abs(predicted[model][at] - gains[model][at]).mean())),
        _accuracy(study, predictor),
    )


def mean_gain_error(study: Study) -> Estimate:
    """Return the mean absolute error of always saying the mean gain on the images of discovery, in dB."""
    gains = study.gains()
    means = [_column(cases, lambda case: case.gain).mean() for cases in study.found]
    return study.over_images(lambda model, at: float(np.abs(gains[model][at] - means[model]).mean()))


def advantage(study: Study, first: Predictor, second: Predictor) -> Estimate:
    """Return how much better the first predictor's rank correlation is, on the same cases."""
    a, b = (scores_and_predictions(study, each)[0] for each in (first, second))
    gains = study.gains()
    return study.over_images(
        lambda model, at: (
            rank_correlation(a[model][at], gains[model][at]) - rank_correlation(b[model][at], gains[model][at])
        )
    )


def worst_input(study: Study, predictor: Predictor) -> tuple[str, float, float]:
    """Return the input on which the mean prediction is furthest from the mean gain, and both in dB."""
    predicted = np.concatenate(scores_and_predictions(study, predictor)[1])
    gains = np.concatenate(study.gains())
    texts = np.array([case.input for cases in study.judged for case in cases])
    means = {str(text): (predicted[texts == text].mean(), gains[texts == text].mean()) for text in np.unique(texts)}
    worst = max(means, key=lambda text: abs(means[text][0] - means[text][1]))
    return worst, float(means[worst][0]), float(means[worst][1])


def scores_and_predictions(study: Study, predictor: Predictor) -> tuple[list[Array], list[Array]]:
    """Return, per target model, what ranks the judged cases and the gain in dB that it predicts for them."""
    scores, predicted = [], []
    for found, judged in zip(study.found, study.judged, strict=True):
        known, new = _matrix(found, predictor), _matrix(judged, predictor)
        gains = _column(found, lambda case: case.gain)
        if known.shape[1] == 1:
            scores.append(new[:, 0])
            predicted.append(isotonic(known[:, 0], gains)(new[:, 0]))
        else:
            predicted.append(linear(known, gains)(new))
            scores.append(predicted[-1])
    return scores, predicted


def _accuracy(study: Study, predictor: Predictor) -> Estimate | None:
    known = scores_and_predictions(Study(study.sweeps, study.found, study.found), predictor)[0]
    new, gains = scores_and_predictions(study, predictor)[0], study.gains()
    values = []
    for model, found in enumerate(study.found):
        helped, truth = _column(found, lambda case: case.gain) > HELPS, gains[model] > HELPS
        if len(set(helped)) < 2 or len(set(truth)) < 2:
            return None
        limit, _ = best_threshold(torch.from_numpy(known[model]), torch.from_numpy(helped))
        values.append(balanced_accuracy(torch.from_numpy(new[model]), torch.from_numpy(truth), limit))
    return over_seeds(values)


def _matrix(cases: Sequence[Case], predictor: Predictor) -> Array:
    return np.array([predictor.columns(case) for case in cases], dtype=np.float64)


def _column(cases: Sequence[Case], value: Callable[[Case], float]) -> Array:
    return np.array([value(case) for case in cases], dtype=np.float64)
