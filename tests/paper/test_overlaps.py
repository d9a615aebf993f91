# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from filterlens.data.photographs import photograph, square
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.diagnosis.calibration import calibration_inputs
from filterlens.diagnosis.overlap import Reading, input_magnitudes
from filterlens.paper.overlaps import (
    Reader,
    calibration_samples,
    read_overlaps,
    whole_images,
)

KINDS = calibration_inputs(["blur:1", "noise:0.1"])
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
        for (percent, name), selection in reader.sets.items():
            expected = share_of_common_filters(magnitudes, selection, percent)
            assert scored.scores[percent, name] == pytest.approx(expected)


def test_an_image_is_read_as_the_classifier_reads_it(sample, reader, read):
    truth = sample.truth(2)
    for _, degradation in KINDS:
        lowered = degradation.apply(truth, 2, seed=0)
        magnitudes = input_magnitudes(reader.model.pair, lowered, truth, READING)
        (scored,) = [each for each in read[1].inputs if each.label == str(degradation)]
        expected = share_of_common_filters(magnitudes, reader.sets[5.0, "blur:1"], 5.0)
        assert scored.scores[5.0, "blur:1"] == pytest.approx(expected)


def test_a_whole_image_has_no_patches(laboratory, reader, sample):
    reading = Reading("target", nodes=2, precision="fp32", whole=True)
    patches, images = read_overlaps(laboratory, [reader], [sample], KINDS[:1], reading)
    assert not patches.inputs
    magnitudes = input_magnitudes(reader.model.pair, Degradation().apply(sample.truth(2), 2), None, reading)
    expected = share_of_common_filters(magnitudes, reader.sets[10.0, "blur:1"], 10.0)
    assert images.inputs[0].scores[10.0, "blur:1"] == pytest.approx(expected)


def test_what_was_read_is_not_read_again_but_other_filters_are(laboratory, reader, sample, read, monkeypatch):
    monkeypatch.setattr("filterlens.paper.overlaps.input_magnitudes", None)
    assert read_overlaps(laboratory, [reader], [sample], KINDS, READING) == read
    other = Reader(reader.model, dict.fromkeys(((5.0, "blur:1"), (5.0, "noise:0.1")), reader.sets[5.0, "blur:1"]))
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
