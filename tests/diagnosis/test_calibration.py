# SPDX-License-Identifier: Apache-2.0
"""Thresholds against brute force, logistic curves against scipy, and what hides what."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from filterlens import UsageError
from filterlens.diagnosis.calibration import (
    Logistic,
    best_threshold,
    calibrate,
    fit_logistic,
    paper_threshold,
)

A, B = "blur:2", "noise:0.1"


@pytest.fixture(params=[0, 1, 2, 3])
def scored(request):
    generator = torch.Generator().manual_seed(request.param)
    present = torch.rand(40, generator=generator) < 0.4
    return (0.6 * torch.rand(40, generator=generator) + 0.25 * present).clamp(0, 1), present


def test_no_threshold_of_a_fine_grid_is_better(scored):
    scores, present = scored
    threshold, reached = best_threshold(scores, present)

    def balanced(limit):
        said = scores.numpy() >= limit
        truth = present.numpy()
        return (said[truth].mean() + (~said[~truth]).mean()) / 2

    assert reached == pytest.approx(balanced(threshold))
    assert reached == pytest.approx(max(balanced(limit) for limit in np.linspace(0, 1, 20_001)), abs=1e-9)


def test_the_threshold_of_separable_scores_is_the_middle_of_the_gap():
    scores = torch.tensor([0.1, 0.2, 0.3, 0.7, 0.9], dtype=torch.float64)
    assert best_threshold(scores, scores > 0.5) == (pytest.approx(0.5), 1.0)


def test_the_widest_of_several_equally_good_gaps_is_taken():
    scores = torch.tensor([0.1, 0.2, 0.3, 0.7], dtype=torch.float64)
    present = torch.tensor([False, True, False, True])  # between .1 and .2, and between .3 and .7: three of four right
    assert best_threshold(scores, present) == (pytest.approx(0.5), 0.75)


def test_the_logistic_curve_is_the_one_that_scipy_finds(scored):
    scores, present = (each.double().numpy() for each in scored)
    number, rest = present.sum(), (1 - present).sum()
    targets = np.where(present > 0, (number + 1) / (number + 2), 1 / (rest + 2))
    weights = np.where(present > 0, 0.5 / number, 0.5 / rest)

    def loss(line):
        logits = line[0] * scores + line[1]
        return (weights * (np.logaddexp(0, logits) - targets * logits)).sum()

    slope, offset = minimize(loss, [1.0, 0.0], method="BFGS", options={"gtol": 1e-10}).x
    curve = fit_logistic(*scored)
    assert curve.slope == pytest.approx(slope, rel=1e-3)
    assert curve.middle == pytest.approx(-offset / slope, rel=1e-3)
    assert curve(0.37) == pytest.approx(1 / (1 + math.exp(-(slope * 0.37 + offset))), rel=1e-3)


def test_separable_scores_have_a_finite_slope():
    scores = torch.tensor([0.1, 0.12, 0.5, 0.55])
    curve = fit_logistic(scores, scores > 0.3)
    assert 0 < curve.slope < 1e3 and curve(0.1) < 0.5 < curve(0.5)


def test_overlaps_that_fall_with_presence_say_nothing():
    scores = torch.tensor([0.1, 0.2, 0.5, 0.6])
    assert fit_logistic(scores, scores < 0.3)(0.9) == 0.5


def test_extreme_overlaps_have_a_probability():
    assert Logistic(0.5, 1e6)(0.0) == 0.0 and Logistic(0.5, 1e6)(1.0) == 1.0


@pytest.mark.parametrize(
    ("name", "threshold"),
    [("noise:0.1", 0.6), ("blur:2", 0.5), ("blur:4,sigma_y=1", 0.5), ("jpeg:30", 0.5), ("blur:2+noise:0.1", 0.5)],
)
def test_the_papers_thresholds(name, threshold):
    assert paper_threshold(name) == threshold


KINDS = [frozenset(), frozenset({A}), frozenset({B}), frozenset({A, B})] * 2


def test_a_degradation_that_is_found_beneath_the_other_is_not_hidden():
    values = torch.tensor([0.0, 0.6, 0.1, 0.5] * 2, dtype=torch.float64)
    found = calibrate({A: values}, KINDS)[A]
    assert found.hidden_by == () and found.threshold == pytest.approx(0.3) and found.balanced_accuracy == 1.0


def test_a_hidden_degradation_is_told_and_does_not_move_the_threshold():
    values = torch.tensor([0.0, 0.6, 0.1, 0.01] * 2, dtype=torch.float64)
    found = calibrate({A: values}, KINDS)[A]
    assert found.hidden_by == (B,)
    assert found.threshold == pytest.approx(0.35) and found.balanced_accuracy == 1.0


def test_calibration_needs_both_sides():
    with pytest.raises(UsageError, match="inputs without it"):
        best_threshold(torch.tensor([0.1, 0.2]), torch.tensor([True, True]))
