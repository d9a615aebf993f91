# SPDX-License-Identifier: Apache-2.0
"""Claims on the boundary of ability: the overlap falls where the network stops helping, and predicts the gain."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from filterlens.paper.experiment import Claim, Verdict
from filterlens.paper.experiments.boundary.study import (
    BOTH,
    CHANGE,
    HELPS,
    OVERLAP,
    Skill,
    Study,
    advantage,
    mean_gain_error,
    worst_input,
)

FALLS = 0.1  # how much lower the overlap must be where the network does not help: a tenth of the input's filters
ENOUGH_CORRELATION, ENOUGH_AUC = 0.7, 0.9


def claims_of(study: Study, name: str, degradations: Sequence[str], skills: Mapping[str, Skill]) -> list[Claim]:
    """Judge all claims for one pair.

    Args:
        study: Its cases.
        name: Of the pair.
        degradations: What it was trained for.
        skills: Predictor → its skill.
    """
    return [
        falls_claim(study, name, degradations),
        predicts_claim(study, name, skills[OVERLAP.name]),
        better_claim(study, name, skills[OVERLAP.name], skills[CHANGE.name]),
        adds_claim(study, name, skills[BOTH.name], skills[CHANGE.name]),
    ]


def falls_claim(study: Study, name: str, degradations: Sequence[str]) -> Claim:
    """Compare the overlap where the network helps with that where it does not, sweep by sweep.

    A sweep in which it never helps is compared with the trained inputs; one in which it always helps says nothing.
    """
    cases = [case for each in study.judged for case in each]
    trained = [case.overlap for case in cases if case.input in degradations]
    checks, words = [], []
    for sweep in study.sweeps:
        own = [case for case in cases if case.input in sweep.inputs.values()]
        helped = [case.overlap for case in own if case.gain > HELPS]
        not_helped = [case.overlap for case in own if case.gain <= HELPS]
        if not not_helped or not (helped or trained):
            words.append(f"{sweep.name}: {'nothing to compare with' if not_helped else 'always helps'}")
            continue
        high, low = float(np.mean(helped or trained)), float(np.mean(not_helped))
        checks.append(high - low >= FALLS)
        where = f"where it helps {high:.2f}" if helped else f"never helps, trained inputs {high:.2f}"
        words.append(f"{sweep.name}: {where}, elsewhere {low:.2f}")
    return Claim(
        f"{name}: the overlap score falls where the network stops helping (by {FALLS:g} or more, in every sweep)",
        "authors' talk, outlook; filterlens",
        Verdict.of(checks),
        f"mean overlap, gain above against at most {HELPS:g} dB: " + "; ".join(words),
    )


def predicts_claim(study: Study, name: str, overlap: Skill) -> Claim:
    """Judge rank correlation and area under the curve of the overlap score against what was asked of it."""
    text, said, gained = worst_input(study, OVERLAP)
    asked = ((overlap.spearman.mean, ENOUGH_CORRELATION), (overlap.auc.mean, ENOUGH_AUC))
    checks = [value >= enough for value, enough in asked if math.isfinite(value)]
    return Claim(
        f"{name}: without ground truth, the overlap score predicts the gain "
        f"(rank correlation ≥ {ENOUGH_CORRELATION:g}, AUC of a gain above {HELPS:g} dB ≥ {ENOUGH_AUC:g})",
        "filterlens",
        Verdict.of(checks),
        f"rank correlation {overlap.spearman}, AUC {overlap.auc}; the calibrated gain is off by {overlap.error} dB on "
        f"unseen images, always saying the mean gain by {mean_gain_error(study)} dB; "
        f"furthest off on {text}: {said:.1f} dB predicted, {gained:.1f} dB gained",
    )


def better_claim(study: Study, name: str, ours: Skill, cheap: Skill) -> Claim:
    """Set the overlap score against the cheap competitor: how much the fine-tuning changes the output."""
    checks = _checks(ours, cheap)
    as_good = [measure for measure, better in zip(_MEASURES, checks, strict=True) if not better]
    said = f"; the size of the change alone predicts as well or better by {' and '.join(as_good)}" if as_good else ""
    return Claim(
        f"{name}: the overlap score predicts the gain better than the size of the change alone, which costs two passes",
        "filterlens",
        Verdict.of(checks),
        f"{_against(ours, cheap)}; difference of the rank correlations {advantage(study, OVERLAP, CHANGE)}{said}",
    )


def adds_claim(study: Study, name: str, joint: Skill, cheap: Skill) -> Claim:
    """Ask whether overlap scores know something that the size of the change does not."""
    return Claim(
        f"{name}: joined with the size of the change, the overlap scores predict the gain better than that size alone",
        "filterlens",
        Verdict.of(_checks(joint, cheap)),
        f"{_against(joint, cheap)}; difference of the rank correlations {advantage(study, BOTH, CHANGE)}",
    )


_MEASURES = ("rank correlation", "AUC", "error")


def _checks(first: Skill, second: Skill) -> list[bool]:
    return [
        first.spearman.mean > second.spearman.mean,
        first.auc.mean > second.auc.mean,
        first.error.mean < second.error.mean,
    ]


def _against(first: Skill, second: Skill) -> str:
    return (
        f"rank correlation {first.spearman.mean:.2f} against {second.spearman.mean:.2f}, "
        f"AUC {first.auc.mean:.2f} against {second.auc.mean:.2f}, "
        f"error {first.error.mean:.2f} against {second.error.mean:.2f} dB"
    )
