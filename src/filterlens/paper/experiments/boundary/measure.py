# SPDX-License-Identifier: Apache-2.0
"""Measure where a network stops helping: gains at growing strengths, and predictors without ground truth."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.degradations.pipeline import CLEAN
from filterlens.diagnosis.calibration import best_threshold
from filterlens.diagnosis.classification_metrics import balanced_accuracy
from filterlens.diagnosis.overlap import Reading, input_magnitudes, overlap_scores
from filterlens.evaluation.statistics import Estimate, over_seeds, rank_correlation, standard_deviation, two_level_mean
from filterlens.filters import Selection
from filterlens.metrics import psnr
from filterlens.pair import ModelPair
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.settings import ImageChoice
from filterlens.settings import Percent, Positive, Settings

HIGHEST_PSNR = 100.0  # dB; equal images would be infinitely good, and two of them gain nothing
LEAST_CHANGE = 1e-12
HELPS = 0.5  # dB of gain: what a user would notice in a table of results
Array = npt.NDArray[np.float64]
Prediction = Callable[[Array], Array]
SweepName = Literal["blur", "noise", "anisotropic", "motion", "poisson", "jpeg", "chain+jpeg"]


@dataclass(frozen=True)
class Sweep:
    """One kind of degradation at several strengths.

    Attributes:
        name: Name of the kind.
        axis: What the strength is, with its unit.
        inputs: Strength → written degradation, in the order of the strengths; strength 0 is the clean input.
        log: Whether strengths spread over a logarithmic axis.
    """

    name: str
    axis: str
    inputs: Mapping[float, str]
    log: bool = False

    def trained(self, degradations: Sequence[str]) -> float | None:
        """Return the strength for which the network was trained, if this kind is one of those."""
        return next((strength for strength, text in self.inputs.items() if text in degradations), None)


@dataclass(frozen=True)
class _Kind:
    written: str
    axis: str
    strengths: tuple[float, ...]
    log: bool = False


_KINDS: dict[SweepName, _Kind] = {
    "blur": _Kind("blur:{:g}", "σ of the blur, HR pixels", (0, 0.5, 1, 1.5, 2, 2.5, 3, 4)),
    "noise": _Kind("noise:{:g}", "σ of the noise, of the range", (0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)),
    "anisotropic": _Kind("blur:{:g},sigma_y=0.7,angle=30", "long σ of a flat blur (short: 0.7)", (1, 2, 3, 4)),
    "motion": _Kind("motion:{:g},angle=30", "length of the motion, HR pixels", (3, 5, 9, 15, 21)),
    "poisson": _Kind("poisson:{:g}", "photons at white (fewer: noisier)", (10, 30, 100, 300, 1000), log=True),
    "jpeg": _Kind("jpeg:{:g}", "JPEG quality", (10, 30, 50, 70, 90)),
    "chain+jpeg": _Kind("{chain}+jpeg:{:g}", "JPEG quality after all trained degradations", (10, 30, 50, 70, 90)),
}  # fmt: skip
DEFAULT_STRENGTHS: dict[SweepName, tuple[float, ...]] = {name: kind.strengths for name, kind in _KINDS.items()}


def sweeps_of(strengths: Mapping[SweepName, Sequence[float]], degradations: Sequence[str]) -> list[Sweep]:
    """Return the sweeps with canonical inputs.

    Args:
        strengths: Kind → its strengths; 0 is the clean input.
        degradations: What the network was trained for; all of them together, but for JPEG, are the chain.

    Raises:
        UsageError: A strength is not legal, or the trained degradations cannot be joined.
    """
    chain = "+".join(text for text in degradations if Degradation.parse(text).jpeg is None)
    sweeps = []
    for name, values in strengths.items():
        kind = _KINDS[name]
        written = kind.written.replace("{chain}+", f"{chain}+" if chain else "")
        inputs = {value: str(Degradation.parse(written.format(value))) if value else CLEAN for value in sorted(values)}
        sweeps.append(Sweep(name, kind.axis, inputs, kind.log))
    return sweeps


def inputs_of(sweeps: Sequence[Sweep]) -> list[str]:
    """Return every input of all sweeps once."""
    return list(dict.fromkeys(text for sweep in sweeps for text in sweep.inputs.values()))


class BoundarySettings(Settings):
    """Settings of the sweeps.

    Attributes:
        strengths: Kind of degradation → its strengths; 0 is the clean input.
        pairs: Names of pairs; empty is the first common one.
        every_target: All target models of a pair; otherwise the shipped one.
        percent: Share of the filters in both sets of an overlap.
        crop: Side of the squares that are judged, in HR pixels: each is read as one patch.
        squares: Squares per image.
    """

    strengths: dict[SweepName, tuple[float, ...]] = Field(default_factory=lambda: dict(DEFAULT_STRENGTHS))
    pairs: tuple[str, ...] = ()
    every_target: bool = False
    percent: Percent = 1.0
    crop: Positive = 128
    squares: Positive = 2


@dataclass(frozen=True, eq=False)
class Cases:
    """All inputs of all images, seen by every target model: a case is one of the places of the arrays.

    Attributes:
        inputs: Written degradations, the last axis of the arrays.
        baseline: PSNR of the baseline in dB, ``(models, images, inputs)``.
        target: PSNR of the target in dB, the same shape.
        change: Mean squared change of the output by the fine-tuning, ‖F(θ, x) − F(θ̄, x)‖² per value, the same shape.
        overlaps: OS(x, D), found without ground truth, ``(models, images, inputs, degradations)``.
    """

    inputs: tuple[str, ...]
    baseline: Array
    target: Array
    change: Array
    overlaps: Array

    @property
    def gain(self) -> Array:
        """PSNR of the target minus that of the baseline, in dB."""
        return self.target - self.baseline

    @property
    def overlap(self) -> Array:
        """The largest overlap score of all degradations: how far the input is one that the network knows."""
        return np.asarray(self.overlaps.max(-1))

    @property
    def log_change(self) -> Array:
        """Decimal logarithm of the change."""
        return np.log10(np.maximum(self.change, LEAST_CHANGE))

    def at(self, values: Array, texts: Collection[str]) -> Array:
        """Return values ``(models, images, inputs)`` of these inputs alone, in the order of the cases."""
        return values[:, :, [place for place, text in enumerate(self.inputs) if text in texts]]


def choices_of(laboratory: Laboratory, settings: BoundarySettings, name: str) -> tuple[ImageChoice, ImageChoice]:
    """Return the squares on which predictions are fitted (of the images of discovery), and those that judge."""
    cut = {"crop": settings.crop, "squares": settings.squares}
    common = laboratory.common
    return common.find.model_copy(update=cut), common.judged_on(name).model_copy(update=cut)


def study_of(laboratory: Laboratory, settings: BoundarySettings, name: str) -> "Study":
    """Measure all cases of a pair: on the images of discovery, and on those that judge."""
    common = laboratory.common
    models = laboratory.targets(name) if settings.every_target else [laboratory.target(name)]
    sweeps = sweeps_of(settings.strengths, common.degradations)
    selections = []
    for model in models:
        ranking = laboratory.attribute(model, ["faig"], laboratory.finding)["faig"]
        selections.append({kind: ranking.select(kind, settings.percent) for kind in common.degradations})
    found, judged = (
        _measured(laboratory, settings, list(zip(models, selections, strict=True)), laboratory.samples(each), sweeps)
        for each in choices_of(laboratory, settings, name)
    )
    return Study(sweeps, found, judged, common.resamples)


def _measured(
    laboratory: Laboratory,
    settings: BoundarySettings,
    models: Sequence[tuple[TargetModel, Mapping[str, Selection]]],
    samples: Sequence[Sample],
    sweeps: Sequence[Sweep],
) -> Cases:
    """Measure all inputs of all images for every target model and its filters."""
    reading = Reading(patches=1, precision=laboratory.fast_precision)
    precision, seed, inputs = laboratory.judge_precision, laboratory.common.seed, inputs_of(sweeps)

    def identity(item: tuple[TargetModel, Mapping[str, Selection]]) -> Any:
        filters = {kind: each.fingerprint() for kind, each in item[1].items()}
        return [item[0].identity, inputs, filters, settings.percent, asdict(reading), precision]

    def case(pair: ModelPair, selections: Mapping[str, Selection], truth: Tensor, text: str) -> list[float]:
        low = Degradation.parse(text).apply(truth, pair.scale, seed=seed)
        with torch.no_grad():
            baseline, target = (pair.run(end, low, precision).cpu() for end in (pair.baseline, pair.target))
        quality = [min(float(psnr(end, truth, crop=pair.scale)), HIGHEST_PSNR) for end in (baseline, target)]
        overlaps = overlap_scores(input_magnitudes(pair, low, reading=reading), selections, settings.percent)
        return [*quality, float((target - baseline).double().square().mean()), *overlaps.values()]

    def measure(item: tuple[TargetModel, Mapping[str, Selection]], sample: Sample) -> dict[str, Any]:
        pair, selections = item[0].pair, item[1]
        truth = sample.truth(pair.scale)
        return {"cases": [case(pair, selections, truth, text) for text in inputs]}

    found = laboratory.measured("boundary", models, samples, identity, measure, title=lambda item: item[0].title)
    baseline, target, change = (found["cases"][..., place] for place in range(3))
    return Cases(tuple(inputs), baseline, target, change, found["cases"][..., 3:])


@dataclass(frozen=True, eq=False)
class Study:
    """Cases of every target model, on the images on which filters are found and on those that judge.

    Attributes:
        sweeps: The sweeps that were measured.
        found: Cases on the images of discovery.
        judged: Cases on other images.
        resamples: Draws of every bootstrap.
    """

    sweeps: Sequence[Sweep]
    found: Cases
    judged: Cases
    resamples: int = 2000

    def mean(self, values: Array, text: str) -> Estimate:
        """Return the mean of judged values over target models and images of one input."""
        return two_level_mean(values[:, :, self.judged.inputs.index(text)], resamples=self.resamples)


def over_images(
    statistic: Callable[..., float], *values: npt.NDArray[Any], resamples: int, level: float = 0.95, seed: int = 0
) -> Estimate:
    """Return a statistic with its bootstrap interval over images: all cases of an image are drawn together.

    Args:
        statistic: Values of cases ``(cases,)``, as many as are given → number, for one target model.
        *values: Each ``(models, images, cases of an image)``.
        resamples: How many times the images are drawn anew.
        level: Coverage of the interval.
        seed: Seed of the draws.

    Returns:
        The mean over target models, its interval over images, and the standard deviation over target models.
    """
    models, images = values[0].shape[:2]

    def of_images(chosen: Any) -> list[float]:
        return [statistic(*(each[model, chosen].ravel() for each in values)) for model in range(models)]

    each_model = of_images(slice(None))
    mean, sd = float(np.mean(each_model)), standard_deviation(each_model) if np.isfinite(each_model).all() else None
    if images < 2:
        return Estimate(mean, sd=sd, n=images)
    drawn = np.random.default_rng(seed).integers(images, size=(resamples, images))
    draws = np.array([np.mean(of_images(row)) for row in drawn])
    if np.isnan(draws).all():
        return Estimate(mean, sd=sd, n=images)
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(mean, float(low), float(high), sd, images)


@dataclass(frozen=True)
class Predictor:
    """Something that is seen of an input without ground truth.

    Attributes:
        name: Short, for code.
        label: Name in tables.
        columns: Cases → ``(models, images, inputs, columns)``: one number a case, or several for a linear fit.
    """

    name: str
    label: str
    columns: Callable[[Cases], Array]

    def fitted(self, study: Study) -> tuple[Array, Array]:
        """Return what ranks the judged cases, and the gain in dB that it predicts for them by the cases of discovery.

        A single number ranks by itself and predicts by an isotonic fit; several rank by what a linear fit predicts.
        """
        known, new, gains = self.columns(study.found), self.columns(study.judged), study.found.gain
        scores, predicted = (np.empty(new.shape[:3]) for _ in range(2))
        for model, own in enumerate(new):
            flat, gain = known[model].reshape(-1, known.shape[-1]), gains[model].ravel()
            fit = isotonic(flat[:, 0], gain) if flat.shape[1] == 1 else linear(flat, gain)
            wanted = own.reshape(-1, own.shape[-1])
            predicted[model] = fit(wanted[:, 0] if flat.shape[1] == 1 else wanted).reshape(own.shape[:2])
            scores[model] = own[..., 0] if flat.shape[1] == 1 else predicted[model]
        return scores, predicted


def _with_products(cases: Cases) -> Array:
    change = cases.log_change[..., None]
    return np.concatenate([cases.overlaps, change, cases.overlaps * change], -1)


OVERLAP = Predictor("overlap", "overlap score, the largest of all degradations", lambda cases: cases.overlap[..., None])
OVERLAPS = Predictor("overlaps", "all overlap scores, linear fit", lambda cases: cases.overlaps)
CHANGE = Predictor("change", "size of the change, ‖F(θ, x) − F(θ̄, x)‖²", lambda cases: cases.log_change[..., None])
BOTH = Predictor(
    "both", "all overlap scores, log size of the change, and their products, linear fit", _with_products
)  # fmt: skip
PREDICTORS = (OVERLAP, OVERLAPS, CHANGE, BOTH)


@dataclass(frozen=True)
class Skill:
    """How well a predictor tells the gain on unseen images.

    Attributes:
        spearman: Rank correlation with the gain.
        auc: Area under the curve of telling the cases in which the network helps.
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
    scores, predicted = predictor.fitted(study)
    gains = study.judged.gain
    return Skill(
        over_images(rank_correlation, scores, gains, resamples=study.resamples),
        over_images(auc, scores, gains > HELPS, resamples=study.resamples),
        over_images(_mean_error, predicted, gains, resamples=study.resamples),
        _accuracy(study, predictor, scores),
    )


def mean_gain_error(study: Study) -> Estimate:
    """Return the mean absolute error of always saying the mean gain on the images of discovery, in dB."""
    gains = study.judged.gain
    means = np.array([each.mean() for each in study.found.gain])
    return over_images(
        _mean_error, gains, np.broadcast_to(means[:, None, None], gains.shape), resamples=study.resamples
    )


def advantage(study: Study, first: Predictor, second: Predictor) -> Estimate:
    """Return how much better the first predictor's rank correlation is, on the same cases."""
    return over_images(
        lambda a, b, gain: rank_correlation(a, gain) - rank_correlation(b, gain),
        first.fitted(study)[0],
        second.fitted(study)[0],
        study.judged.gain,
        resamples=study.resamples,
    )


def worst_input(study: Study, predictor: Predictor) -> tuple[str, float, float]:
    """Return the input on which the mean prediction is furthest from the mean gain, and both in dB."""
    predicted, gains = predictor.fitted(study)[1], study.judged.gain
    means = {
        text: (float(predicted[:, :, place].ravel().mean()), float(gains[:, :, place].ravel().mean()))
        for text, place in sorted((text, place) for place, text in enumerate(study.judged.inputs))
    }
    worst = max(means, key=lambda text: abs(means[text][0] - means[text][1]))
    return worst, *means[worst]


def _mean_error(predicted: Array, gains: Array) -> float:
    return float(np.abs(predicted - gains).mean())


def _accuracy(study: Study, predictor: Predictor, scores: Array) -> Estimate | None:
    known = predictor.fitted(Study(study.sweeps, study.found, study.found))[0]
    values = []
    for model, own in enumerate(known):
        helped, truth = (cases.gain[model].ravel() > HELPS for cases in (study.found, study.judged))
        if len(set(helped)) < 2 or len(set(truth)) < 2:
            return None
        limit, _ = best_threshold(torch.from_numpy(own.ravel()), torch.from_numpy(helped))
        new = torch.from_numpy(scores[model].ravel())
        values.append(balanced_accuracy(new, torch.from_numpy(truth), limit))
    return over_seeds(values)


def auc(scores: Array, positive: npt.NDArray[np.bool_]) -> float:
    """Return the probability that a positive case scores above a negative one (ties half); NaN with one kind alone.

    The rank sum of Wilcoxon, Mann and Whitney, over the number of pairs: fast enough for a bootstrap.

    Args:
        scores: Any numbers ``(n,)``.
        positive: ``(n,)``.
    """
    from scipy.stats import rankdata

    more = int(positive.sum())
    less = len(positive) - more
    if not more or not less:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - more * (more + 1) / 2) / (more * less))


def isotonic(scores: Array, values: Array) -> Prediction:
    """Fit the rising step function of least squares; between the fitted scores it is linear, beyond them constant.

    Equal scores count as one, with their mean (R. Barlow et al., Statistical inference under order restrictions, 1972).

    Args:
        scores: What predicts, ``(n,)``.
        values: What is predicted, ``(n,)``.
    """
    from scipy.optimize import isotonic_regression

    places, group, counts = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(group, values) / counts
    fitted = isotonic_regression(means, weights=counts).x
    return lambda new: np.interp(new, places, fitted)


def linear(scores: Array, values: Array) -> Prediction:
    """Fit values ``(n,)`` by a constant and a multiple of every column of the scores ``(n, columns)``."""
    factors = np.linalg.lstsq(_with_constant(scores), values, rcond=None)[0]
    return lambda new: np.asarray(_with_constant(new) @ factors, dtype=np.float64)


def _with_constant(scores: Array) -> Array:
    return np.column_stack([np.ones(len(scores)), scores])
