# SPDX-License-Identifier: Apache-2.0
"""Boundary of ability: where a network stops helping, and whether that can be seen without ground truth."""

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import Field

from filterlens.evaluation.statistics import rank_correlation
from filterlens.metrics import specification
from filterlens.paper.experiment import Cell, Claim, Experiment, Outcome, Table, images_text, targets_text
from filterlens.paper.experiments.boundary.cases import Case, measure_cases, overlap_with
from filterlens.paper.experiments.boundary.claims import claims_of
from filterlens.paper.experiments.boundary.figures import scatter_panels, sweep_panel
from filterlens.paper.experiments.boundary.study import (
    HELPS,
    PREDICTORS,
    Skill,
    Study,
    mean_gain_error,
    scores_and_predictions,
    skill,
)
from filterlens.paper.experiments.boundary.sweeps import DEFAULT_STRENGTHS, SweepName, inputs_of, sweeps_of
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.settings import ImageChoice, Percent, Positive, Settings


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


def run(laboratory: Laboratory, settings: BoundarySettings) -> Outcome:
    """Sweep, read the overlap scores without ground truth, and predict the gain on unseen images."""
    tables: list[Table] = []
    claims: list[Claim] = []
    panels = []
    common = laboratory.common
    names = settings.pairs or common.pairs[:1]
    for name in names:
        study = study_of(laboratory, settings, name)
        skills = {each.name: skill(study, each) for each in PREDICTORS}
        claims += claims_of(study, name, common.degradations, skills)
        panels += scatter_panels(study, name)
        panels += [sweep_panel(study, each, name, common.degradations) for each in study.sweeps]
        tables += [_predictors(study, name, skills), _within(study, name), _sweeps(study, name, laboratory)]
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _TEXT, _specification(laboratory, settings, names))


def study_of(laboratory: Laboratory, settings: BoundarySettings, name: str) -> Study:
    """Measure all cases of a pair: on the images of discovery, and on those that judge."""
    common = laboratory.common
    models = laboratory.targets(name) if settings.every_target else [laboratory.target(name)]
    sweeps = sweeps_of(settings.strengths, common.degradations)
    finding, judging = (laboratory.samples(each) for each in _choices(laboratory, settings, name))
    found: list[list[Case]] = []
    judged: list[list[Case]] = []
    for model in models:
        ranking = laboratory.attribute(model, ["faig"], laboratory.finding)["faig"]
        selections = {kind: ranking.select(kind, settings.percent) for kind in common.degradations}
        for samples, cases in ((finding, found), (judging, judged)):
            cases.append(measure_cases(laboratory, model, selections, settings.percent, samples, inputs_of(sweeps)))
    return Study(sweeps, found, judged, common.resamples)


def _predictors(study: Study, name: str, skills: dict[str, Skill]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (each.label, skills[each.name].spearman, skills[each.name].auc, skills[each.name].accuracy,
         skills[each.name].error)
        for each in PREDICTORS
    ]  # fmt: skip
    rows.append(("none: the mean gain on the images of discovery", None, None, None, mean_gain_error(study)))
    return Table(
        f"predictors-{name}",
        f"{name}: predicting the gain without ground truth, over all inputs of the unseen images",
        ("predictor", "rank correlation", f"AUC, gain > {HELPS:g} dB", "balanced accuracy", "error of the gain, dB"),
        tuple(rows),
        "Thresholds and fits (isotonic for a single number, least squares for several) are those of the images of "
        f"discovery. The network helps in {study.helped():.0%} of the unseen cases. Mean ± sd over target models "
        "[95 % bootstrap interval over images].",
    )


def _within(study: Study, name: str) -> Table:
    rows = []
    for sweep in study.sweeps:
        own = study.of_sweep(sweep)
        rows.append((sweep.name, len(own.judged[0]), f"{own.helped():.0%}", *_correlations(own)))
    return Table(
        f"within-{name}",
        f"{name}: rank correlation with the gain within one kind of degradation",
        ("kind", "cases", "helped", *(each.label for each in PREDICTORS)),
        tuple(rows),
        "A dash stands where all cases of a kind have the same score.",
    )


def _correlations(study: Study) -> Iterator[Cell]:
    gains = study.gains()
    for predictor in PREDICTORS:
        scores = scores_and_predictions(study, predictor)[0]
        yield float(np.mean([rank_correlation(a, b) for a, b in zip(scores, gains, strict=True)]))


def _sweeps(study: Study, name: str, laboratory: Laboratory) -> Table:
    kinds = laboratory.common.degradations
    rows: list[tuple[Cell, ...]] = []
    for sweep in study.sweeps:
        for text in sweep.inputs.values():
            overlaps = [study.mean(text, overlap_with(kind)) for kind in kinds]
            rows.append((
                sweep.name, text, "yes" if text in kinds else "",
                study.mean(text, lambda case: case.baseline).mean, study.mean(text, lambda case: case.target).mean,
                study.mean(text, lambda case: case.gain), *overlaps,
                study.mean(text, lambda case: 1000 * case.change).mean,
            ))  # fmt: skip
    return Table(
        f"sweeps-{name}",
        f"{name}: every input of the unseen images",
        ("kind", "input", "trained", "baseline, dB", "target, dB", "gain, dB", *(f"overlap, {kind}" for kind in kinds),
         "change x 1000"),
        tuple(rows),
        "Mean [95 % bootstrap interval over images]. The overlap is found without ground truth.",
    )  # fmt: skip


def _choices(laboratory: Laboratory, settings: BoundarySettings, name: str) -> tuple[ImageChoice, ImageChoice]:
    cut = {"crop": settings.crop, "squares": settings.squares}
    common = laboratory.common
    return common.find.model_copy(update=cut), common.judged_on(name).model_copy(update=cut)


def _specification(laboratory: Laboratory, settings: BoundarySettings, names: Sequence[str]) -> dict[str, str]:
    find, judge = _choices(laboratory, settings, names[0])
    scale, common = laboratory.target(names[0]).pair.scale, laboratory.common
    return {
        "target models": targets_text(common) if settings.every_target else "the shipped one (no spread over seeds)",
        "filters found on": images_text(common.find),
        "prediction fitted on": images_text(find),
        "judged on": images_text(judge),
        "PSNR": specification(scale),
        "overlap score": f"top {settings.percent:g} % by FAIG on the input alone, L = ‖F(γ, x) − F(θ, x)‖², "
        "4 Gauss-Legendre nodes; no ground truth",
        "intervals": "images (squares of one photograph count as several) drawn anew; all inputs of an image together",
    }


_TEXT = (
    "Every square is degraded in many ways: by what the network was trained for, weaker and stronger, and by what it "
    "never saw. The gain is the target's PSNR less the baseline's. The overlap score of an input asks which filters "
    "the fine-tuned network uses on it, from the input alone, and how many of them are those found for a trained "
    "degradation.",
    "The cheap competitor needs no attribution: how much does the target's output differ from the baseline's? A "
    "network that is in doubt leaves its input alone, so the size of the change may say as much.",
)

EXPERIMENT = Experiment(
    "boundary",
    "Boundary of ability",
    "gain and overlap score beyond the training range, and predicting the gain without ground truth",
    BoundarySettings,
    run,
)
