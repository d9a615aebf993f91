# SPDX-License-Identifier: Apache-2.0
"""``filterlens classify`` recognises what was done to a photograph, and says what is wrong with others."""

import csv

import pytest
from PIL import Image

from filterlens.data.images import to_float, to_uint8
from filterlens.data.photographs import photograph, square
from filterlens.degradations import Degradation

KINDS = {"a": "clean", "b": "blur:2", "c": "noise:0.1"}


@pytest.fixture(scope="module")
def low(tmp_path_factory):
    """64x64 LR pixels of the astronaut: clean, blurred and noisy."""
    folder = tmp_path_factory.mktemp("low")
    truth = to_float(square(photograph("astronaut"), 128, 20, 160))
    for name, kind in KINDS.items():
        pixels = to_uint8(Degradation.parse(kind).apply(truth, 2))
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("pair", ["srresnet-x2", "srcnn-style-x2"])
def test_the_shipped_pair_recognises_clean_blur_and_noise(run, low, tmp_path, pair):
    outcome = run("classify", low, "--pair", pair, "--json", "--csv", tmp_path / "out.csv")
    assert outcome.code == 0, outcome.err
    value = outcome.json()
    assert [entry["label"] for entry in value["images"]] == list(KINDS.values())
    assert all(entry["confidence"] > 0.6 for entry in value["images"]), value
    clean, blurred, noisy = (entry["scores"] for entry in value["images"])
    assert blurred["blur:2"] > clean["blur:2"] > noisy["blur:2"] and noisy["noise:0.1"] > clean["noise:0.1"]
    assert value["images"][2]["unseen"] == ["blur:2"]  # noise of the trained strength hides blur
    with (tmp_path / "out.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == list(KINDS.values())
    assert float(rows[1]["overlap blur:2"]) == pytest.approx(blurred["blur:2"], rel=1e-5)


def test_text_names_label_confidence_and_overlaps(run, low):
    outcome = run("classify", low / "c.png", "--percent", 2, "--whole")
    header, row = outcome.out.splitlines()
    assert header.split() == ["image", "label", "confidence", "overlap", "blur:2", "overlap", "noise:0.1"]
    assert row.split()[:2] == ["c.png", "noise:0.1"] and row.endswith("blur:2 cannot be seen beneath it")


def test_a_bad_image_is_named_and_the_others_are_judged(run, low, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "bad.png").write_bytes((low / "a.png").read_bytes()[:100])
    (folder / "good.png").write_bytes((low / "b.png").read_bytes())
    outcome = run("classify", folder, "--json")
    assert outcome.code == 1
    value = outcome.json()
    assert [entry["label"] for entry in value["images"]] == ["blur:2"]
    assert [failure["image"] for failure in value["failures"]] == [str(folder / "bad.png")]
    assert outcome.err.splitlines()[-1].startswith("error: ") and "bad.png" in outcome.err


def test_a_run_folder_is_calibrated_on_its_own_images(run, attribute, images):
    _, folder = attribute()
    outcome = run("classify", images, "--run", folder, "--percent", 5, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json()["threshold_set"] == "calibrated"
    paper = run("classify", images, "--run", folder, "--percent", 5, "--thresholds", "paper", "--json").json()
    assert paper["thresholds"] == {"blur:2": 0.5, "noise:0.1": 0.6}
    assert all(entry["confidence"] is None for entry in paper["images"])


def test_an_image_that_is_too_small_is_told(run, tmp_path):
    Image.new("RGB", (15, 40), "gray").save(tmp_path / "tiny.png")
    outcome = run("classify", tmp_path / "tiny.png")
    assert outcome.code == 1
    assert "tiny.png: An image of 15x40 LR pixels is too small" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["--thresholds", "papre"], 2, "Did you mean 'paper'"),
        (["--pair", "srresnet-x3"], 2, "Did you mean 'srresnet-x2'"),
        (["--pair", "srresnet-x2", "--run", "r"], 2, "not both"),
        (["--percent", "1.5"], 2, "not calibrated, only 0.5, 1, 2, 3, 5 %"),
        (["--percent", "30", "--thresholds", "paper"], 2, "--run"),
        (["--percent", "nan", "--thresholds", "paper"], 2, "not a percentage"),
        (["--precision", "fp8"], 2, "Legal: auto, bf16, fp32"),
        (["--run", "nowhere"], 1, "no run folder"),
    ],
)
def test_wrong_use_is_told(run, low, arguments, code, part):
    outcome = run("classify", low, *arguments)
    assert outcome.code == code and part in outcome.err, outcome.err


def test_a_missing_folder_is_told(run, tmp_path):
    outcome = run("classify", tmp_path / "none")
    assert outcome.code == 1 and "does not exist" in outcome.err


def test_a_table_that_something_else_wrote_is_kept(run, low, tmp_path):
    words = ["classify", low / "a.png", "--csv", tmp_path / "out.csv"]
    (tmp_path / "out.csv").write_text("a letter")
    outcome = run(*words)
    assert outcome.code == 1 and "exists already" in outcome.err and "--force" in outcome.err
    assert (tmp_path / "out.csv").read_text() == "a letter"
    assert run(*words, "--force").code == 0
    assert run(*words).code == 0, "its own table is replaced"
    with (tmp_path / "out.csv").open("a") as stream:
        stream.write("a remark\n")
    assert run(*words).code == 1


def test_subfolders_are_judged_and_strict_stops_at_a_bad_image(run, low, tmp_path):
    (tmp_path / "mixed" / "below").mkdir(parents=True)
    (tmp_path / "mixed" / "a.png").write_bytes(b"")
    (tmp_path / "mixed" / "below" / "b.png").write_bytes((low / "b.png").read_bytes())
    found = run("classify", tmp_path / "mixed", "--recursive", "--json")
    assert found.code == 1 and len(found.json()["images"]) == len(found.json()["failures"]) == 1
    strict = run("classify", tmp_path / "mixed", "--recursive", "--strict")
    assert strict.code == 1 and not strict.out and "a.png" in strict.err


@pytest.mark.parametrize("more", [(), ("--run", "somewhere", "--thresholds", "paper")])
def test_pairs_calibrate_the_ranking_of_a_run(run, low, more):
    outcome = run("classify", low, "--pairs", "rain=LQ,GT", *more)
    assert outcome.code == 2 and "--pairs gives images to calibrate on: it goes with --run" in outcome.err
