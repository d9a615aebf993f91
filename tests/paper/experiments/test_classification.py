# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from filterlens.diagnosis.calibration import Calibration, Logistic
from filterlens.diagnosis.classify import Classifier
from filterlens.filters import Selection
from filterlens.paper.experiment import Verdict
from filterlens.paper.experiments.classification import page
from filterlens.paper.experiments.classification.measure import ClassificationSettings, Judge, Told, pooled_mean
from filterlens.paper.experiments.classification.page import (
    both_recognised,
    confusion_table,
    labels_of,
    published_accuracy,
    told_rightly,
)
from filterlens.paper.overlaps import Overlaps, Scored, calibration_text
from filterlens.report.figures import LIGHT, png
from tests.paper.conftest import tiny_pair

SETTINGS = ClassificationSettings(percent=5, percents=(5, 10), nodes=2, patches=1, calibration_images=1)


@pytest.fixture(scope="module")
def outcome(laboratory):
    return page.run(laboratory, SETTINGS)


def test_every_reading_is_told_and_rows_are_complete(outcome):
    tables = {table.name: table for table in outcome.tables}
    readings = [row[0] for row in tables["accuracy-tiny"].rows]
    assert len(readings) == 5  # patches and images with and without ground truth, and images integrated whole
    assert readings[0] == "patches, without ground truth"
    assert all(len(row) == len(table.columns) for table in outcome.tables for row in table.rows)


def test_what_elimination_takes_away_is_shown(outcome):
    (table,) = [table for table in outcome.tables if table.name == "overlap-tiny"]
    assert [row[1] for row in table.rows][:4] == [
        "blur:1", "noise:0.1", "blur:1, nothing eliminated", "noise:0.1, nothing eliminated"
    ]  # fmt: skip


def test_every_input_is_in_the_confusion_matrix(outcome, laboratory):
    (table,) = [table for table in outcome.tables if table.name == "confusion-calibrated-tiny"]
    assert [row[0] for row in table.rows] == ["clean", "blur:1", "noise:0.1", "blur:1+noise:0.1"]
    inputs = 2 * len(laboratory.judging("tiny"))  # two target models, one patch per image
    assert all(sum(row[1:]) == inputs for row in table.rows)


def test_the_page_says_on_how_many_calibration_images_filters_were_found(outcome, laboratory, common, make_laboratory):
    assert "found on 1 of them, where own overlaps may be higher" in outcome.specification["calibrated on"]
    other = make_laboratory(laboratory.folder, train=(common.judge["*"],))
    assert calibration_text(other, 2).endswith("2 images, whole; the filters were found on 0 of them")


def test_a_second_run_reads_everything_from_disk(laboratory, outcome, monkeypatch):
    monkeypatch.setattr("filterlens.paper.overlaps.input_magnitudes", None)
    again = page.run(laboratory, SETTINGS)
    assert (again.tables, again.claims) == (outcome.tables, outcome.claims)


def test_figures_can_be_drawn_and_say_what_they_show(outcome):
    assert [panel.stem for panel in outcome.panels] == [
        "scores-tiny-blur-1", "scores-tiny-noise-0.1", "confusion-tiny", "roc-tiny"
    ]  # fmt: skip
    for panel in outcome.panels:
        assert png(panel, LIGHT).startswith(b"\x89PNG")
        assert panel.alt


def fabricated(values, seeds=(0,)):
    """Inputs of two images: (image, kinds) → blur and noise overlaps, the same for every seed but for a step."""
    inputs = []
    for seed in seeds:
        for image, kind, blur, noise in values:
            scores = {(1.0, "blur:2"): blur + 0.01 * seed, (1.0, "noise:0.1"): noise}
            inputs.append(Scored(seed, image, frozenset(kind.split("+")) - {"clean"}, kind, scores))
    return Overlaps(tuple(inputs))


TELLING = [
    ("a", "clean", 0.1, 0.2), ("a", "blur:2", 0.6, 0.1), ("a", "noise:0.1", 0.2, 0.8), ("a", "blur:2", 0.4, 0.3),
    ("b", "clean", 0.3, 0.1), ("b", "blur:2", 0.2, 0.7), ("b", "noise:0.1", 0.1, 0.9),
]  # fmt: skip


def judge_at(blur, noise, calibrations=None, seeds=(0,)):
    pair = tiny_pair()
    filters = {name: Selection(pair.space, torch.arange(len(pair.space) // 100)) for name in ("blur:2", "noise:0.1")}
    limits = {"blur:2": blur, "noise:0.1": noise}
    return Judge(1.0, {seed: Classifier(pair, filters, 1.0, limits, calibrations or {}) for seed in seeds}, 200)


def told_of(overlaps, seeds=(0,)):
    judge = judge_at(0.35, 0.6, seeds=seeds)
    return Told("patches", overlaps, overlaps, judge, judge)


def told(values, *, paper=(0.5, 0.6), calibrated=(0.35, 0.6)):
    return Told("patches", fabricated(values), fabricated(inputs()), judge_at(*paper), judge_at(*calibrated))


def inputs(blur=0.7, noise=0.8, both=(0.7, 0.8)):
    """Four kinds of inputs of two images; overlaps where a degradation is there, 0.1 where it is not."""
    kinds = {"clean": (0.1, 0.1), "blur:2": (blur, 0.1), "noise:0.1": (0.1, noise), "blur:2+noise:0.1": both}
    return [(image, kind, *scores) for image in "ab" for kind, scores in kinds.items()]


@pytest.mark.parametrize(
    ("blur", "noise", "fixed", "calibrated"),
    [
        (0.7, 0.8, Verdict.HOLDS, Verdict.HOLDS),
        (0.4, 0.8, Verdict.PARTLY, Verdict.HOLDS),  # blur below the paper's threshold, above the calibrated one
        (0.2, 0.2, Verdict.FAILS, Verdict.FAILS),
    ],
)
def test_the_claim_of_the_published_accuracy_can_hold_and_fail(blur, noise, fixed, calibrated):
    way = told(inputs(blur, noise, both=(0, 0)))  # inputs with both do not count here
    assert published_accuracy("pair", way, calibrated=False).verdict == fixed
    assert published_accuracy("pair", way, calibrated=True).verdict == calibrated
    assert told_rightly("pair", way).verdict == calibrated


def test_the_evidence_is_made_from_the_numbers():
    claim = published_accuracy("pair", told(inputs(blur=0.4)), calibrated=False)
    assert "blur:2: 67 % at 0.50 (AUC 1.000; finds 0 % of the inputs that have it" in claim.evidence
    assert "6 inputs" in claim.evidence
    claim = published_accuracy("pair", told(inputs(blur=0.4)), calibrated=True)
    assert "mean overlap 0.40 against 0.10, 0.70 on the calibration images that have just it)" in claim.evidence


@pytest.mark.parametrize(
    ("both", "verdict"),
    [((0.7, 0.8), Verdict.HOLDS), ((0.4, 0.8), Verdict.PARTLY), ((0.1, 0.8), Verdict.FAILS)],
)
def test_an_input_with_both_counts_only_with_both_named(both, verdict):
    claim = both_recognised("pair", told(inputs(both=both)))
    assert claim.verdict == verdict
    told_why = f"0.70 where it is alone, {both[0]:.2f} beside noise:0.1, 0.10 on noise:0.1 alone" in claim.evidence
    assert told_why == (both[0] < 0.35)  # what the calibrated threshold finds needs no reason


def test_labels_are_counted():
    way = told(inputs(both=(0.1, 0.8)))
    table = confusion_table("c", "t", way, way.paper)
    assert labels_of(way.inputs) == ["clean", "blur:2", "noise:0.1", "blur:2+noise:0.1"]
    assert table.rows[3] == ("blur:2+noise:0.1", 0, 0, 2, 0)  # both are said to be noisy
    assert math.isnan(way.inputs.seconds)


def test_the_mean_counts_every_input_the_same_and_spreads_over_target_models():
    overlaps = fabricated(TELLING, seeds=(0, 1, 2))
    found = told_of(overlaps, seeds=(0, 1, 2)).overlap(overlaps, "blur:2")
    means = [np.mean([row[2] for row in TELLING]) + 0.01 * seed for seed in (0, 1, 2)]
    assert found.mean == pytest.approx(np.mean(means))
    assert found.sd == pytest.approx(np.std(means, ddof=1))
    assert found.low <= found.mean <= found.high
    assert pooled_mean(overlaps, [1.0] * len(overlaps.inputs)).mean == 1


def test_the_area_is_the_probability_of_the_right_order():
    blurred = [row[2] for row in TELLING if row[1] == "blur:2"]
    rest = [row[2] for row in TELLING if row[1] != "blur:2"]
    expected = mannwhitneyu(blurred, rest).statistic / (len(blurred) * len(rest))
    way = told_of(fabricated(TELLING))
    assert way.area(way.inputs, "blur:2").mean == pytest.approx(expected)
    noisy = [row[2] for row in TELLING if row[1] == "noise:0.1"]
    kinds = [frozenset({"blur:2"}), frozenset({"noise:0.1"})]
    expected = mannwhitneyu(blurred, noisy).statistic / (len(blurred) * len(noisy))
    assert way.told_apart("blur:2", *kinds) == pytest.approx(expected)


def test_accuracies_are_counts_of_right_answers():
    overlaps, judge = fabricated(TELLING), judge_at(0.35, 0.6)
    assert judge.accuracy(overlaps, "blur:2").mean == pytest.approx(6 / 7)  # one blurred input scores 0.2
    assert judge.accuracy(overlaps, "noise:0.1").mean == pytest.approx(6 / 7)  # one blurred input scores 0.7
    assert judge.label_accuracy(overlaps).mean == pytest.approx(6 / 7)  # it is the same one
    assert judge.recognised(overlaps.having("blur:2"), "blur:2").mean == pytest.approx(2 / 3)
    assert judge.labels(overlaps)[5] == "noise:0.1"


def test_what_hides_what_comes_from_the_calibration():
    hidden = Calibration(0.35, Logistic(0.35, 10), 1.0, ("noise:0.1",))
    judge = judge_at(0.35, 0.6, {"blur:2": hidden, "noise:0.1": Calibration(0.6, Logistic(0.6, 10), 1.0)})
    assert judge.hidden_by("blur:2") == ["noise:0.1"]
    assert judge.hidden_by("noise:0.1") == []
    assert judge.verdict(fabricated(TELLING).inputs[2]).unseen == ("blur:2",)
