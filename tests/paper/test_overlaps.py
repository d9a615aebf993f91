# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from filterlens.data.photographs import photograph, square
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.diagnosis.calibration import Calibration, Logistic
from filterlens.diagnosis.classify import Classifier
from filterlens.diagnosis.overlap import Reading, input_magnitudes
from filterlens.filters import Selection
from filterlens.jobs.calibrate import calibration_kinds
from filterlens.paper.experiments.classification.recognition import Judge, area, mean_overlap, pooled_mean, told_apart
from filterlens.paper.overlaps import (
    Overlaps,
    Reader,
    Scored,
    calibration_samples,
    read_overlaps,
    whole_images,
)
from tests.paper.conftest import tiny_pair

KINDS = calibration_kinds(["blur:1", "noise:0.1"])
PERCENTS = [5.0, 10.0]
READING = Reading("truth", nodes=2, precision="fp32", patches=4)


@pytest.fixture(scope="module")
def sample():
    image = square(photograph("rocket"), 160, 100, 120)
    return Sample("rocket", lambda: image)


@pytest.fixture(scope="module")
def reader(laboratory):
    model = laboratory.target("tiny")
    return Reader.of(model, laboratory.attribute(model, ["faig"], laboratory.finding)["faig"], PERCENTS)


@pytest.fixture(scope="module")
def read(laboratory, reader, sample):
    return read_overlaps(laboratory, [reader], [sample], KINDS, READING)


def share_of_common_filters(magnitudes, selection, percent):
    count = int(len(magnitudes) * percent / 100)
    mine = set(np.argsort(-magnitudes.numpy(), kind="stable")[:count].tolist())
    return len(mine & set(selection.indices.tolist())) / count


def test_a_patch_has_the_share_of_its_top_filters_that_are_among_those_found(sample, reader, read):
    truth = sample.truth(2)
    lowered = Degradation.parse("noise:0.1").apply(truth, 2, seed=0)
    patches = read[0].of_kind(frozenset({"noise:0.1"})).inputs
    places = [(top, left) for top in (0, 16) for left in (0, 16)]  # 80 pixels: four patches of 64 in the corners
    assert len(patches) == 4
    for scored, (top, left) in zip(patches, places, strict=True):
        inputs = lowered[..., top : top + 64, left : left + 64]
        truths = truth[..., 2 * top : 2 * top + 128, 2 * left : 2 * left + 128]
        magnitudes = input_magnitudes(reader.model.pair, inputs, truths, READING)
        for (percent, name), selection in reader.filters.items():
            expected = share_of_common_filters(magnitudes, selection, percent)
            assert scored.scores[percent, name] == pytest.approx(expected)


def test_an_image_is_read_as_the_classifier_reads_it(sample, reader, read):
    truth = sample.truth(2)
    for _, degradation in KINDS:
        lowered = degradation.apply(truth, 2, seed=0)
        magnitudes = input_magnitudes(reader.model.pair, lowered, truth, READING)
        (scored,) = [each for each in read[1].inputs if each.label == str(degradation)]
        expected = share_of_common_filters(magnitudes, reader.filters[5.0, "blur:1"], 5.0)
        assert scored.scores[5.0, "blur:1"] == pytest.approx(expected)


def test_a_whole_image_has_no_patches(laboratory, reader, sample):
    reading = Reading("target", nodes=2, precision="fp32", whole=True)
    patches, images = read_overlaps(laboratory, [reader], [sample], KINDS[:1], reading)
    assert not patches.inputs
    magnitudes = input_magnitudes(reader.model.pair, Degradation().apply(sample.truth(2), 2), None, reading)
    expected = share_of_common_filters(magnitudes, reader.filters[10.0, "blur:1"], 10.0)
    assert images.inputs[0].scores[10.0, "blur:1"] == pytest.approx(expected)


def test_what_was_read_is_not_read_again_but_other_filters_are(laboratory, reader, sample, read, monkeypatch):
    monkeypatch.setattr("filterlens.paper.overlaps.input_magnitudes", None)
    assert read_overlaps(laboratory, [reader], [sample], KINDS, READING) == read
    other = Reader(reader.model, dict.fromkeys(((5.0, "blur:1"), (5.0, "noise:0.1")), reader.filters[5.0, "blur:1"]))
    with pytest.raises(TypeError):
        read_overlaps(laboratory, [other], [sample], KINDS, READING)


def test_images_come_whole_and_calibration_never_sees_a_judged_one(make_laboratory, common, tmp_path):
    cut = {"*": common.judge["*"].model_copy(update={"crop": 32, "squares": 2})}
    laboratory = make_laboratory(tmp_path, judge=cut)
    judged = whole_images(laboratory, "tiny", None)
    assert [sample.read().shape[-1] for sample in judged] == [48, 48]
    training = calibration_samples(laboratory, 1)
    assert len(training) == 1
    assert not {each.fingerprint() for each in training} & {each.fingerprint() for each in judged}


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


def test_the_mean_counts_every_input_the_same_and_spreads_over_target_models():
    overlaps = fabricated(TELLING, seeds=(0, 1, 2))
    found = mean_overlap(overlaps, 1.0, "blur:2", 200)
    means = [np.mean([row[2] for row in TELLING]) + 0.01 * seed for seed in (0, 1, 2)]
    assert found.mean == pytest.approx(np.mean(means))
    assert found.sd == pytest.approx(np.std(means, ddof=1))
    assert found.low <= found.mean <= found.high
    assert pooled_mean(overlaps, [1.0] * len(overlaps.inputs)).mean == 1


def test_the_area_is_the_probability_of_the_right_order():
    blurred = [row[2] for row in TELLING if row[1] == "blur:2"]
    rest = [row[2] for row in TELLING if row[1] != "blur:2"]
    expected = mannwhitneyu(blurred, rest).statistic / (len(blurred) * len(rest))
    assert area(fabricated(TELLING), 1.0, "blur:2").mean == pytest.approx(expected)
    noisy = [row[2] for row in TELLING if row[1] == "noise:0.1"]
    kinds = [frozenset({"blur:2"}), frozenset({"noise:0.1"})]
    expected = mannwhitneyu(blurred, noisy).statistic / (len(blurred) * len(noisy))
    assert told_apart(fabricated(TELLING), 1.0, "blur:2", kinds) == pytest.approx(expected)


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
