# SPDX-License-Identifier: Apache-2.0
"""A pair whose change is known filter by filter: each colour of an input needs one of them."""

import pytest
import torch

from filterlens import UsageError
from filterlens.diagnosis.calibration import Calibration, Logistic
from filterlens.diagnosis.classify import Classifier, Verdict, choose_thresholds, join_degradations
from filterlens.diagnosis.overlap import Reading
from filterlens.filters import Selection
from filterlens.pair import ModelPair
from tests.attribution.small_networks import Linear

BLUR, NOISE = "blur:2", "noise:0.1"
ONE, TWO = 12, 23  # per cent of nine filters
THRESHOLDS = {BLUR: 0.5, NOISE: 0.5}


@pytest.fixture(scope="module")
def pair():
    """The target differs in weight[0, 0], which red needs, weight[2, 1] (green) and weight[1, 2] (blue)."""
    baseline, target = Linear().double(), Linear().double()
    with torch.no_grad():
        target.mix.weight.copy_(baseline.mix.weight)
        for row, column in ((0, 0), (2, 1), (1, 2)):
            target.mix.weight[row, column] += 1
    return ModelPair(baseline, target)


def classifier(pair, percent=ONE, calibrations=None, thresholds=THRESHOLDS):
    filters = {BLUR: ["mix.weight[0, 0]"], NOISE: ["mix.weight[2, 1]"]}
    if percent == TWO:
        filters = {BLUR: [*filters[BLUR], "mix.weight[0, 1]"], NOISE: [*filters[NOISE], "mix.weight[2, 2]"]}
    sets = {name: Selection.of(pair.space, each) for name, each in filters.items()}
    return Classifier(pair, sets, percent, thresholds, calibrations or {}, Reading(nodes=2))


def coloured(*channels):
    image = torch.zeros(1, 3, 18, 20, dtype=torch.float64)
    for channel in channels:
        image[:, channel] = torch.rand(18, 20, generator=torch.Generator().manual_seed(channel), dtype=torch.float64)
    return image


def test_each_input_is_told_by_the_filter_that_it_needs(pair):
    inputs = torch.cat([coloured(0), coloured(1), coloured(2)])
    judge = classifier(pair)
    assert [verdict.label for verdict in judge.classify(inputs)] == [BLUR, NOISE, "clean"]
    assert {name: values.tolist() for name, values in judge.scores(inputs).items()} == {
        BLUR: [1, 0, 0],
        NOISE: [0, 1, 0],
    }


def test_an_input_that_needs_both_has_both(pair):
    (verdict,) = classifier(pair, TWO).classify(coloured(0, 1))
    assert verdict.label == "blur:2+noise:0.1" and verdict.scores == {BLUR: 0.5, NOISE: 0.5}


def test_a_score_at_the_threshold_is_present_and_one_below_is_not(pair):
    judge = classifier(pair, thresholds={BLUR: 0.4, NOISE: 0.6})
    assert judge.judge({BLUR: 0.4, NOISE: 0.6}).present == (BLUR, NOISE)
    assert judge.judge({BLUR: 0.39, NOISE: 0.59}).label == "clean"


def curve(middle, hidden_by=()):
    return Calibration(middle, Logistic(middle, 10.0), 1.0, hidden_by)


def test_the_confidence_is_the_product_of_what_the_label_says(pair):
    verdict = classifier(pair, calibrations={BLUR: curve(0.5), NOISE: curve(0.5)}).judge({BLUR: 0.7, NOISE: 0.4})
    present, absent = (1 / (1 + torch.tensor(-10.0 * each).exp().item()) for each in (0.2, 0.1))
    assert verdict.label == BLUR and verdict.confidence == pytest.approx(present * absent)
    assert verdict.probabilities[NOISE] == pytest.approx(1 - absent)


def test_what_is_hidden_is_told_and_does_not_count_for_the_confidence(pair):
    judge = classifier(pair, calibrations={BLUR: curve(0.5, (NOISE,)), NOISE: curve(0.5)})
    noisy = judge.judge({BLUR: 0.0, NOISE: 0.8})
    assert noisy.unseen == (BLUR,) and noisy.confidence == pytest.approx(noisy.probabilities[NOISE])
    assert judge.judge({BLUR: 0.8, NOISE: 0.0}).unseen == judge.judge({BLUR: 0.0, NOISE: 0.0}).unseen == ()


def test_without_a_calibration_there_is_no_confidence():
    assert Verdict((), {BLUR: 0.1}).confidence is None


@pytest.mark.parametrize(
    ("names", "label"),
    [((), "clean"), ((NOISE, BLUR), "blur:2+noise:0.1"), (("blur:2", "blur:4"), "blur:2+blur:4")],
)
def test_labels_are_written_as_degradations(names, label):
    assert join_degradations(names) == label


def test_threshold_sets():
    calibrations = {BLUR: curve(0.2), NOISE: curve(0.4)}
    assert choose_thresholds("paper", (BLUR, NOISE), {}) == {BLUR: 0.5, NOISE: 0.6}
    assert choose_thresholds("calibrated", (BLUR, NOISE), calibrations) == {BLUR: 0.2, NOISE: 0.4}
    with pytest.raises(UsageError, match="--thresholds paper"):
        choose_thresholds("calibrated", (BLUR, NOISE), {BLUR: curve(0.2)})
    with pytest.raises(UsageError, match="Did you mean 'paper'"):
        choose_thresholds("papre", (BLUR,), {})


def test_sets_of_different_sizes_and_missing_thresholds_are_refused(pair):
    with pytest.raises(UsageError, match="same size"):
        classifier(pair, 40)
    with pytest.raises(UsageError, match=f"no threshold for '{NOISE}'"):
        classifier(pair, thresholds={BLUR: 0.5})
