# SPDX-License-Identifier: Apache-2.0
"""The attribution job and what follows it, for any number of degradations."""

import json

import pytest
import torch
from torch import nn

from filterlens import FilterlensError, ModelPair
from filterlens.attribution.result import as_scores
from filterlens.report.build import build_report
from filterlens.workflow.attribute import attribute_to_folder
from filterlens.workflow.mask import mask_to_folder
from filterlens.workflow.run_folder import describe_pair
from tests.attribution.small_networks import make_pair, photographs
from tests.noting import Noting


@pytest.fixture
def pair():
    _, _, pair = make_pair()
    pair.facts = {role: {"path": role, "sha256": role, "card": {}} for role in ("baseline", "target")}
    pair.facts |= {"architecture": "curved", "options": {"scale": 2}}
    return pair


IMAGES = dict(zip(("one", "two"), photographs(2, 40, 36), strict=True))


@pytest.mark.parametrize(
    "degradations", [["blur:1"], ["blur:1", "noise:0.1", "jpeg:30"], ["blur:1+noise:0.1", "poisson:100", "clean"]]
)
def test_one_or_many_degradations_go_all_the_way_to_the_report(pair, degradations, tmp_path):
    attribute_to_folder(pair, IMAGES, degradations, tmp_path)
    mask_to_folder(tmp_path, {"three": photographs(1, 40, 36, seed=9)[0]}, percents=[10], pair=pair)
    page = build_report(tmp_path).read_text()
    assert all(degradation in page for degradation in degradations)
    inputs = len({*degradations, "clean"})
    rows = (tmp_path / "damage.csv").read_text().splitlines()
    assert len(rows) == 1 + 6 * len(degradations) * inputs


def test_a_new_ranking_never_stands_beside_an_old_proof(pair, tmp_path):
    attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.1"], tmp_path)
    mask_to_folder(tmp_path, IMAGES, percents=[10], pair=pair)
    build_report(tmp_path)
    (tmp_path / "notes.txt").write_text("the user's own")
    attribute_to_folder(pair, IMAGES, ["blur:1", "noise:0.2"], tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"run.json", "scores.safetensors", "scores.json", "filters.csv", "distribution.csv", "notes.txt"}


def test_a_scale_of_one_with_receptive_field_check(pair, tmp_path):
    with pytest.raises(FilterlensError, match=r"'tiny' is 8x8.*receptive field of 7"):
        attribute_to_folder(pair, {"tiny": photographs(1, 8, 8)[0]}, ["noise:0.1", "clean"], tmp_path)


def test_nobody_is_asked_for_images_as_large_as_a_huge_receptive_field(tmp_path):
    """Deep networks could see hundreds of pixels; the outer ones hardly count."""
    torch.manual_seed(0)
    networks = [nn.Sequential(*(nn.Conv2d(3, 3, 17, padding=8) for _ in range(7))) for _ in "bt"]  # sees 113
    deep, told = ModelPair(*networks, scale=1), Noting()
    deep.facts = {role: {"path": role, "sha256": role, "card": {}} for role in ("baseline", "target")}
    image = {"a": photographs(1, 48, 60)[0]}
    attribute_to_folder(deep, image, ["noise:0.1"], tmp_path, methods=["change-absolute"], progress=told)
    assert any("1 of 1 images are smaller than the network's receptive field of 113" in note for note in told.notes)
    with pytest.raises(FilterlensError, match=r"receptive field of 113.*at least 48 pixels"):
        attribute_to_folder(deep, {"a": photographs(1, 47, 60)[0]}, ["noise:0.1"], tmp_path)


def test_scores_that_are_not_finite_are_an_error():
    with pytest.raises(FilterlensError, match="not finite"):
        as_scores(torch.tensor([1.0, float("inf")]), torch.float32)


def test_the_record_names_every_layer_and_what_was_left_out(pair):
    record = describe_pair(pair)
    assert [layer["name"] for layer in record["layers"]] == ["first", "second"]
    assert sum(layer["filters"] for layer in record["layers"]) == record["filters"]
    json.dumps(record)
