# SPDX-License-Identifier: Apache-2.0
"""The boundary of ability: sweeps, cases, predictions and verdicts."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import spearmanr

from filterlens.attribution.faig import FAIG, SquaredDistance
from filterlens.attribution.per_sample import patch_magnitudes
from filterlens.attribution.quadrature import Quadrature
from filterlens.data.samples import as_samples
from filterlens.degradations import Degradation
from filterlens.evaluation.statistics import Estimate
from filterlens.filters import Selection
from filterlens.metrics import psnr
from filterlens.paper.experiment import Verdict
from filterlens.paper.experiments.boundary import page
from filterlens.paper.experiments.boundary.measure import (
    BOTH,
    CHANGE,
    DEFAULT_STRENGTHS,
    OVERLAP,
    BoundarySettings,
    Cases,
    Skill,
    Study,
    Sweep,
    advantage,
    auc,
    inputs_of,
    isotonic,
    linear,
    mean_gain_error,
    over_images,
    skill,
    study_of,
    sweeps_of,
    worst_input,
)

TRAINED = ("blur:1", "noise:0.1")
SETTINGS = BoundarySettings(
    strengths={"blur": (0, 1, 2), "noise": (0, 0.1), "jpeg": (30,), "chain+jpeg": (30,)},
    percent=5, crop=40, squares=1, every_target=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(laboratory):
    return page.run(laboratory, SETTINGS)


def cases(gain, overlap, change=1.0, inputs=("blur:1",)):
    """Cases of one target model: numbers ``(images, inputs)``, or ``(images,)`` of a single input."""
    gain = np.asarray(gain, dtype=float).reshape(1, -1, len(inputs))
    overlap, change = (np.broadcast_to(np.asarray(each, dtype=float).reshape(-1, len(inputs))[None] if np.ndim(each)
                                       else each, gain.shape) for each in (overlap, change))  # fmt: skip
    overlaps = np.stack([overlap, overlap / 2], -1)
    return Cases(tuple(inputs), np.full(gain.shape, 20.0), 20.0 + gain, change, overlaps)


def study(found, judged, sweeps=None):
    whole = [Sweep("all", "strength", dict(enumerate(sorted(judged.inputs))))]
    return Study(sweeps or whole, found, judged, resamples=100)


# Sweeps


def test_the_default_sweeps_reach_beyond_the_training_and_to_types_never_trained():
    sweeps = {each.name: each for each in sweeps_of(DEFAULT_STRENGTHS, ("blur:2", "noise:0.1"))}
    assert list(sweeps["blur"].inputs.values()) == [
        "clean", "blur:0.5", "blur:1", "blur:1.5", "blur:2", "blur:2.5", "blur:3", "blur:4",
    ]  # fmt: skip
    assert max(sweeps["noise"].inputs) == 0.3
    assert sweeps["motion"].inputs[9] == "motion:9,angle=30"
    assert sweeps["chain+jpeg"].inputs[30] == "blur:2+noise:0.1+jpeg:30"
    assert sweeps["blur"].trained(("blur:2", "noise:0.1")) == 2
    assert sweeps["motion"].trained(("blur:2", "noise:0.1")) is None


def test_a_pair_that_was_trained_for_jpeg_is_not_coded_twice():
    (sweep,) = sweeps_of({"chain+jpeg": (30,)}, ("blur:2", "jpeg:40"))
    assert sweep.inputs[30] == "blur:2+jpeg:30"


def test_an_input_of_two_sweeps_is_measured_once():
    sweeps = sweeps_of({"blur": (0, 2), "noise": (0, 0.1)}, TRAINED)
    assert inputs_of(sweeps) == ["clean", "blur:2", "noise:0.1"]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValidationError, match="chain\\+jpeg"):
        BoundarySettings(strengths={"fog": (1,)})


# Predictions against scipy, brute force and known answers


def test_the_area_under_the_curve_is_the_share_of_pairs_in_the_right_order():
    random = np.random.default_rng(0)
    scores, positive = random.integers(0, 6, 40).astype(float), random.random(40) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    assert auc(scores, positive) == pytest.approx(np.mean(pairs))
    assert np.isnan(auc(scores, np.ones(40, dtype=bool)))


def test_the_isotonic_fit_is_the_best_rising_one():
    """Against the min-max formula: fit(i) = max over a ≤ i of min over b ≥ i of the mean of values a … b."""
    random = np.random.default_rng(1)
    values = np.sort(random.normal(size=12)) + random.normal(size=12)
    expected = [max(min(values[a : b + 1].mean() for b in range(i, 12)) for a in range(i + 1)) for i in range(12)]
    predict = isotonic(np.arange(12.0), values)
    np.testing.assert_allclose(predict(np.arange(12.0)), expected)
    np.testing.assert_allclose(predict(np.array([-5.0, 40.0])), [expected[0], expected[-1]])
    assert predict(np.array([3.5]))[0] == pytest.approx((expected[3] + expected[4]) / 2)


def test_equal_scores_have_one_prediction_their_mean():
    predict = isotonic(np.array([1.0, 1.0, 2.0]), np.array([0.0, 4.0, 5.0]))
    np.testing.assert_allclose(predict(np.array([1.0, 2.0])), [2.0, 5.0])


def test_the_linear_fit_finds_the_factors_that_made_the_values():
    scores = np.random.default_rng(2).normal(size=(20, 3))
    predict = linear(scores, 2 + scores @ [1.0, -3.0, 0.5])
    np.testing.assert_allclose(predict(np.eye(3)), [3.0, -1.0, 2.5])


def test_the_interval_draws_images_not_cases():
    """Two images with one value each: the mean of a draw is one of three values, however many cases there are."""
    values = np.array([0.0] * 50 + [1.0] * 50).reshape(1, 2, 50)
    seen = []

    def mean(drawn):
        seen.append(drawn.mean())
        return seen[-1]

    found = over_images(mean, values, resamples=200)
    assert found.mean == 0.5
    assert (found.low, found.high) == (0, 1)
    assert set(seen) == {0.0, 0.5, 1.0}
    two_models = np.array([1.0, 3.0]).reshape(2, 1, 1)
    assert over_images(np.mean, two_models, resamples=10).low is None
    assert over_images(np.mean, two_models, resamples=10).sd == pytest.approx(np.sqrt(2))


def test_skill_is_the_formulas_on_unseen_cases():
    random = np.random.default_rng(3)
    found = cases(random.normal(size=30), random.random(30))
    judged = cases(random.normal(size=20), random.random(20))
    gains, overlaps = judged.gain.ravel(), judged.overlap.ravel()
    predict = isotonic(found.overlap.ravel(), found.gain.ravel())
    measured = skill(study(found, judged), OVERLAP)
    assert measured.spearman.mean == pytest.approx(spearmanr(overlaps, gains).statistic)
    assert measured.auc.mean == pytest.approx(auc(overlaps, gains > 0.5))
    assert measured.error.mean == pytest.approx(np.abs(predict(overlaps) - gains).mean())
    mean = np.mean(found.gain)
    assert mean_gain_error(study(found, judged)).mean == pytest.approx(np.abs(gains - mean).mean())


def test_a_perfect_predictor_has_perfect_skill_and_a_threshold_that_carries_over():
    x = np.linspace(0.01, 0.99, 12)
    known = cases(3 * x, x, change=1 - x)
    perfect = skill(study(known, known), OVERLAP)
    assert perfect.spearman.mean == pytest.approx(1)
    assert perfect.auc.mean == 1
    assert perfect.error.mean == pytest.approx(0, abs=1e-9)
    assert perfect.accuracy.mean == 1
    assert advantage(study(known, known), OVERLAP, CHANGE).mean == pytest.approx(2)


def test_where_the_network_always_helps_no_threshold_is_given():
    x = np.array([0.1, 0.5, 0.9])
    assert skill(study(cases(1 + x, x), cases(1 + x, x)), OVERLAP).accuracy is None


def test_what_two_numbers_tell_only_together_the_joint_fit_tells():
    a, b = np.random.default_rng(4).random((60, 2)).T
    found, judged = (cases((a * b - b)[part], a[part], change=(10**b)[part]) for part in (slice(40), slice(40, None)))
    assert skill(study(found, judged), BOTH).error.mean == pytest.approx(0, abs=1e-6)
    assert skill(study(found, judged), OVERLAP).error.mean > 0.1


def test_the_worst_input_is_the_one_with_the_largest_mean_miss():
    x = np.array([0.1, 0.5, 0.9])
    judged = cases([[0.3, -1], [1.5, 2.4]], [[0.1, 0.9], [0.5, 0.9]], inputs=("blur:1", "jpeg:30"))
    assert worst_input(study(cases(3 * x, x), judged), OVERLAP) == ("jpeg:30", pytest.approx(2.7), pytest.approx(0.7))


# Verdicts


@pytest.mark.parametrize(
    ("bad", "verdict"), [((0.2, 0.2), Verdict.HOLDS), ((0.2, 0.75), Verdict.PARTLY), ((0.8, 0.75), Verdict.FAILS)]
)
def test_the_claim_that_the_overlap_falls_can_hold_and_fail(bad, verdict):
    """In a sweep with both sides they are compared; one that never helps is compared with the trained inputs."""
    judged = cases([3, 0, -1, 2], [0.8, bad[0], bad[1], 0.1], inputs=("blur:1", "blur:4", "jpeg:30", "poisson:10"))
    sweeps = [
        Sweep("blur", "σ", {1: "blur:1", 4: "blur:4"}), Sweep("jpeg", "quality", {30: "jpeg:30"}),
        Sweep("poisson", "photons", {10: "poisson:10"}),
    ]  # fmt: skip
    claim = page.falls_claim(study(judged, judged, sweeps), "tiny", TRAINED)
    assert claim.verdict == verdict
    assert "poisson: always helps" in claim.evidence
    assert "jpeg: never helps" in claim.evidence


def test_a_claim_with_nothing_to_compare_is_left_open():
    """Nowhere helped and no trained input; gains that are all the same."""
    judged = cases(np.zeros(3), [0.1, 0.2, 0.3], inputs=("jpeg:30",))
    data = study(judged, judged)
    assert page.falls_claim(data, "tiny", TRAINED).verdict == Verdict.OPEN
    assert page.predicts_claim(data, "tiny", skill(data, OVERLAP)).verdict == Verdict.OPEN


@pytest.mark.parametrize(("sign", "verdict"), [(1, Verdict.HOLDS), (-1, Verdict.FAILS)])
def test_the_claims_of_prediction_can_hold_and_fail(sign, verdict):
    random = np.random.default_rng(5)
    gains = random.normal(size=40)
    known = cases(gains, 0.5 + 0.1 * sign * gains, change=10 ** (-sign * gains))
    data = study(known, known)
    ours, cheap = (skill(data, each) for each in (OVERLAP, CHANGE))
    assert page.predicts_claim(data, "tiny", ours).verdict == verdict
    better = page.better_claim(data, "tiny", ours, cheap)
    assert better.verdict == verdict
    assert ("change alone predicts as well" in better.evidence) == (sign < 0)


@pytest.mark.parametrize(
    ("joint", "verdict"),
    [((0.8, 0.9, 1.0), Verdict.HOLDS), ((0.8, 0.7, 3.0), Verdict.PARTLY), ((0.1, 0.2, 9.0), Verdict.FAILS)],
)
def test_the_claim_that_the_overlap_adds_to_the_change_can_hold_and_fail(joint, verdict):
    known = cases(np.arange(9), np.arange(9))
    first, second = (Skill(*map(Estimate, each), None) for each in (joint, (0.5, 0.8, 2.0)))
    claim = page.adds_claim(study(known, known), "tiny", first, second)
    assert claim.verdict == verdict
    assert f"AUC {joint[1]:.2f} against 0.80" in claim.evidence


# The whole experiment on tiny networks


def test_a_case_is_what_measuring_by_hand_gives(laboratory, outcome):
    model = laboratory.targets("tiny")[1]
    pair = model.pair
    sample = laboratory.samples(laboratory.common.judged_on("tiny").model_copy(update={"crop": 40}))[0]
    measured = study_of(laboratory, SETTINGS, "tiny").judged
    place = 1, 0, measured.inputs.index("blur:2")  # the second target model, the first image
    truth = sample.truth(2)
    low = Degradation.parse("blur:2").apply(truth, 2, seed=0)
    baseline, target = pair.run(pair.baseline, low), pair.run(pair.target, low)
    assert measured.gain[place] == pytest.approx(
        float(psnr(target, truth, crop=2) - psnr(baseline, truth, crop=2)), abs=1e-5
    )
    assert measured.change[place] == pytest.approx(float((target - baseline).double().square().mean()), rel=1e-5)
    magnitudes = patch_magnitudes(
        pair, low, target, objective=SquaredDistance("truth"), quadrature=Quadrature("gauss-legendre", 4)
    )[0]  # the target's own output is what the change is measured against
    of_input = Selection.top(pair.space, magnitudes, 5).mask
    found = FAIG(pair, precision="fp32").attribute(as_samples(laboratory.finding), TRAINED)
    masks = {kind: found.select(kind, 5).mask for kind in TRAINED}
    for overlap, mask in zip(measured.overlaps[place], masks.values(), strict=True):
        assert overlap == pytest.approx(float((of_input & mask).sum() / of_input.sum()), abs=0.02)


def test_the_page_has_every_input_once_per_sweep_and_a_figure_per_sweep(outcome):
    predictors, within, sweeps = outcome.tables
    assert len(sweeps.rows) == 7
    assert [row[1] for row in sweeps.rows if row[2] == "yes"] == ["blur:1", "noise:0.1"]
    assert [row[0] for row in within.rows] == ["blur", "noise", "jpeg", "chain+jpeg"]
    assert len(predictors.rows) == 5
    assert len(outcome.panels) == 2 + 4
    assert len(outcome.claims) == 4


def test_a_second_run_reads_everything_from_disk(laboratory, outcome, monkeypatch):
    monkeypatch.setattr("filterlens.paper.experiments.boundary.measure.input_magnitudes", None)
    assert str(page.run(laboratory, SETTINGS).tables) == str(outcome.tables)
