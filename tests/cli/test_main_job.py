# SPDX-License-Identifier: Apache-2.0
"""The promised forms: commands, files, headers, JSON."""

import csv
import json

import pytest
import torch
from PIL import Image

from filterlens import ModelPair, substitute
from filterlens.attribution.methods import METHODS
from filterlens.attribution.result import load_attributions
from filterlens.data.images import read_image, to_float, to_uint8
from filterlens.degradations import Degradation


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_attribute_writes_the_promised_files(attribute):
    outcome, folder = attribute()
    assert outcome.code == 0, outcome.err
    rows = rows_of(folder / "filters.csv")
    assert list(rows[0]) == ["degradation", "layer", "out", "in", "score", "rank"]
    facts = json.loads((folder / "run.json").read_text())
    assert len(rows) == 2 * facts["pair"]["filters"]
    assert {row["degradation"] for row in rows} == {"blur:2", "noise:0.1"}
    assert facts["settings"]["methods"] == ["faig"] and facts["settings"]["seed"] == 0
    assert len(facts["pair"]["baseline"]["sha256"]) == 64
    assert all(entry["gap"] >= 0 for entry in facts["completeness"]) and len(facts["completeness"]) == 4
    assert {"torch", "python"} <= set(facts["versions"]) and facts["seconds"] > 0
    assert load_attributions(folder / "scores.safetensors")["faig"].degradations == ("blur:2", "noise:0.1")


def test_same_seed_same_files_and_another_seed_other_scores(attribute):
    first, second, third = (attribute("--seed", seed, name=name)[1] for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert (first / "filters.csv").read_bytes() == (second / "filters.csv").read_bytes()
    assert (first / "filters.csv").read_bytes() != (third / "filters.csv").read_bytes()


def test_mask_writes_the_own_cross_matrix_of_the_method_and_the_controls(attribute, run, images):
    _, folder = attribute("--method", "faig", "--method", "ig")
    outcome = run("mask", folder, "--images", images, "--percent", 1, "--percent", 5)
    assert outcome.code == 0, outcome.err
    rows = rows_of(folder / "damage.csv")
    assert ",".join(rows[0]) == "method,percent,masked,input,distance,distance_reference,psnr,ssim,removal,preservation"
    controls = {"random", "random-layer-matched", "random-magnitude-matched"}
    methods = {"faig", "ig", "change-absolute", "change-relative", *controls}
    assert {row["method"] for row in rows} == methods
    assert len(rows) == len(methods) * 2 * 2 * 3
    for row in rows:
        assert (row["removal"] != "") == (row["masked"] == row["input"])
        assert (row["preservation"] == "") == (row["masked"] == row["input"])
    assert json.loads((folder / "mask.json").read_text())["held_out"] is False
    assert "removed" in outcome.out and "kept" in outcome.out


def test_a_row_of_damage_equals_editing_by_hand(attribute, run, images, checkpoints):
    _, folder = attribute()
    run("mask", folder, "--images", images / "chelsea.png", "--percent", 10, "--no-controls")
    (row,) = (
        each for each in rows_of(folder / "damage.csv") if (each["masked"], each["input"]) == ("blur:2", "noise:0.1")
    )
    pair = ModelPair.load(checkpoints / "baseline.safetensors", checkpoints / "target.safetensors")
    edited = substitute(pair, load_attributions(folder / "scores.safetensors")["faig"].select("blur:2", 10))
    inputs = Degradation.parse("noise:0.1").apply(to_float(read_image(images / "chelsea.png")), 2)
    with torch.no_grad():
        outputs = [network(inputs) for network in (edited, pair.network(pair.target), pair.network(pair.baseline))]
    kept = 1 - float((outputs[0] - outputs[1]).square().sum() / (outputs[2] - outputs[1]).square().sum())
    assert float(row["preservation"]) == pytest.approx(kept, rel=1e-3)


def test_report_is_written_beside_the_run(attribute, run, images):
    _, folder = attribute()
    run("mask", folder, "--images", images, "--percent", 5)
    outcome = run("report", folder, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json()["report"] == str(folder / "report.html")
    assert "blur:2" in (folder / "report.html").read_text()


def test_json_is_one_object_on_standard_output(attribute, run, images):
    outcome, folder = attribute("--json")
    assert outcome.json()["run"] == str(folder) and outcome.json()["completeness_gap"] >= 0
    judged = run("mask", folder, "--images", images, "--percent", 5, "--json")
    assert judged.json()["damage"].endswith("damage.csv")


def test_every_method_by_name_and_all_of_them(attribute):
    outcome, folder = attribute("--method", "all")
    assert outcome.code == 0, outcome.err
    assert list(load_attributions(folder / "scores.safetensors")) == list(METHODS)


def test_reference_protocol_is_recorded(attribute):
    outcome, folder = attribute("--protocol", "reference", "--nodes", "3")
    assert outcome.code == 0, outcome.err
    settings = json.loads((folder / "run.json").read_text())["settings"]
    assert (settings["protocol"], settings["resampler"], settings["quadrature"]) == ("reference", "bilinear", "right")


def test_degrade_writes_what_the_library_computes_and_never_overwrites(run, images, tmp_path):
    outcome = run("degrade", images, tmp_path / "low", "--degradation", "blur:2+noise:0.1", "--seed", 3)
    assert outcome.code == 0, outcome.err
    truth = to_float(read_image(images / "chelsea.png"))
    expected = to_uint8(Degradation.parse("blur:2+noise:0.1").apply(truth, 2, seed=3))
    assert torch.equal(read_image(tmp_path / "low" / "chelsea.png"), expected)
    again = run("degrade", images, tmp_path / "low", "--degradation", "blur:2")
    assert again.code == 1 and "--force" in again.err
    assert run("degrade", images, tmp_path / "low", "--degradation", "blur:2", "--force").code == 0


def test_degrade_sorts_several_degradations_into_folders(run, images, tmp_path):
    outcome = run("degrade", images, tmp_path / "low", "--degradation", "blur:2", "--degradation", "jpeg:30", "--json")
    assert len(outcome.json()["files"]) == 4
    assert (tmp_path / "low" / "jpeg:30" / "astronaut.png").is_file()


def test_restore_doubles_the_size_and_can_lack_a_function(attribute, run, images, checkpoints, tmp_path):
    _, folder = attribute()
    run("degrade", images, tmp_path / "low", "--degradation", "noise:0.1")
    whole = run("restore", tmp_path / "low", tmp_path / "whole", "--model", checkpoints / "target.safetensors")
    assert whole.code == 0, whole.err
    lacking = run(
        "restore", tmp_path / "low", tmp_path / "less", "--run", folder, "--without", "noise:0.1", "--percent", 20
    )
    assert lacking.code == 0, lacking.err
    same = run(
        "restore", tmp_path / "low", tmp_path / "same", "--run", folder, "--without", "noise:0.1", "--strength", 1
    )
    assert same.code == 0
    pictures = {name: read_image(tmp_path / name / "chelsea.png") for name in ("whole", "less", "same")}
    assert pictures["whole"].shape == (3, 64, 64)
    assert not torch.equal(pictures["whole"], pictures["less"])
    assert torch.equal(pictures["whole"], pictures["same"])


def test_images_of_every_kind_are_read(attribute, images, tmp_path):
    folder = tmp_path / "kinds"
    folder.mkdir()
    photo = Image.open(images / "chelsea.png")
    photo.convert("L").save(folder / "gray.png")
    photo.convert("L").convert("I;16").save(folder / "gray16.png")
    photo.convert("RGBA").save(folder / "alpha.png")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    outcome, _ = attribute(where=folder)
    assert outcome.code == 0, outcome.err
    assert "4 images" in outcome.out
