# SPDX-License-Identifier: Apache-2.0
"""Classifying a folder with the filters of a run folder, calibrated on the run's own images."""

import shutil

import pytest
import torch
from PIL import Image

from filterlens import FAIG, ModelPair
from filterlens.attribution.quadrature import Quadrature
from filterlens.attribution.result import Attribution, save_attributions
from filterlens.data.photographs import photograph, square
from filterlens.data.samples import as_samples
from filterlens.diagnosis.calibration import calibrate_on_images, calibration_inputs
from filterlens.diagnosis.overlap import Reading, input_magnitudes, overlap_scores
from filterlens.files import read_json, write_json
from filterlens.jobs.classify import CACHE, classify_images, filters_of_run, rankings_of
from filterlens.jobs.pairs import describe_pair
from filterlens.run.folder import RUN, SCORES
from tests.noting import Noting
from tests.small_srresnet import save_small_pair

CPU = torch.device("cpu")
BLUR, NOISE = "blur:2", "noise:0.1"


def save_png(path, pixels):
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)


def attributed(pair, path):
    return FAIG(pair, precision="fp32", quadrature=Quadrature(nodes=2)).attribute(path, [BLUR, NOISE])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run folder of a narrow SRResNet and one 72x80 image."""
    folder = tmp_path_factory.mktemp("made")
    save_small_pair(folder, scale=2, features=8, blocks=1)
    save_png(folder / "astronaut.png", square(photograph("astronaut"), 80, 60, 180)[:, :72])
    run = folder / "run"
    run.mkdir()
    pair = ModelPair.load(folder / "baseline.safetensors", folder / "target.safetensors")
    found = attributed(pair, folder / "astronaut.png")
    save_attributions(run / SCORES, [found])
    images = [sample.provenance() for sample in as_samples(folder / "astronaut.png")]
    settings = {"seed": 0, "resampler": "bicubic"}
    named = {"methods": ["faig"], "degradations": [BLUR, NOISE]}
    write_json(run / RUN, {"pair": describe_pair(pair), "images": images, "settings": named | settings})
    return folder


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made / "run", tmp_path / "run")


def test_inputs_for_calibration_have_none_one_or_two_degradations():
    kinds = {str(degradation): names for names, degradation in calibration_inputs([BLUR, NOISE, "jpeg:30", "blur:4"])}
    assert kinds["clean"] == frozenset() and kinds["blur:2+noise:0.1"] == {BLUR, NOISE}
    assert kinds["noise:0.1+jpeg:30"] == {NOISE, "jpeg:30"}
    assert len(kinds) == 1 + 4 + 5  # two strengths of blur cannot be joined


def test_thresholds_are_those_of_the_scores_of_the_degraded_image(made):
    pair = ModelPair.load(made / "baseline.safetensors", made / "target.safetensors")
    found = rankings_of(attributed(pair, made / "astronaut.png"))
    reading, (sample,) = Reading(nodes=2, precision="fp32"), as_samples(made / "astronaut.png")
    table = calibrate_on_images(pair, {10: found.selections(pair, 10)}, [sample], reading=reading)[10]
    sets, scores = found.selections(pair, 10), {}
    for names, degradation in calibration_inputs([BLUR, NOISE]):
        low = degradation.apply(sample.truth(2), 2)
        scores[names] = overlap_scores(input_magnitudes(pair, low, reading=reading), sets, 10)
    for name, each in table.items():
        right = [
            (score[name] >= each.threshold) == (name in names)
            for names, score in scores.items()
            if name not in names or names.isdisjoint(each.hidden_by)
        ]
        present = [name in names for names in scores if name not in names or names.isdisjoint(each.hidden_by)]
        sides = [[ok for ok, there in zip(right, present, strict=True) if there is side] for side in (True, False)]
        assert each.balanced_accuracy == pytest.approx(sum(sum(side) / len(side) for side in sides) / 2)


def test_a_run_is_calibrated_on_its_own_images_once(run):
    pair, found = filters_of_run(run, 10.0, CPU)
    assert 10.0 in found.calibrations and set(found.calibrations[10.0]) == {BLUR, NOISE}
    before = (run / CACHE).stat().st_mtime_ns
    assert filters_of_run(run, 10.0, CPU)[1].calibrations == found.calibrations
    assert (run / CACHE).stat().st_mtime_ns == before
    assert len(found.rankings[BLUR]) == len(pair.space)


def test_a_calibration_for_other_scores_is_not_used(run):
    filters_of_run(run, 10.0, CPU)
    before = (run / CACHE).read_bytes()
    scores = (run / SCORES).read_bytes()
    pair, found = filters_of_run(run, 10.0, CPU, calibrated=False)
    order = found.rankings[BLUR].flip(0).argsort().to(torch.float32)

    save_attributions(run / SCORES, [Attribution("faig", pair.space, {BLUR: order, NOISE: -order})])
    assert (run / SCORES).read_bytes() != scores
    filters_of_run(run, 10.0, CPU)
    assert (run / CACHE).read_bytes() != before


def test_without_its_images_a_run_is_not_calibrated_and_says_so(run):
    facts = read_json(run / RUN)
    facts["images"][0]["path"] = str(run / "gone.png")
    write_json(run / RUN, facts)
    progress = Noting()
    _, found = filters_of_run(run, 10.0, CPU, progress=progress)
    assert not found.calibrations and "cannot be read any more" in progress.notes[0]
    assert not (run / CACHE).exists()


def test_one_bad_image_loses_no_other_result(run, tmp_path):
    pair, found = filters_of_run(run, 10.0, CPU, calibrated=False)
    folder = tmp_path / "low"
    folder.mkdir()
    (folder / "a-damaged.png").write_bytes(b"no image")
    save_png(folder / "b-good.png", square(photograph("chelsea"), 24, 100, 150))
    save_png(folder / "c-tiny.png", square(photograph("chelsea"), 10, 100, 150))
    (folder / "notes.txt").write_text("text")
    progress = Noting()
    done = classify_images(folder, found.classifier(pair, 10.0, "paper", Reading(nodes=2)), progress)
    assert [each.verdict is None for each in done] == [True, False, True]
    assert "a-damaged.png" in done[0].left_out.reason and "10x10 LR pixels is too small" in done[2].left_out.reason
    assert done[1].seconds > 0 and progress.notes == ["no images, left alone: notes.txt"]
