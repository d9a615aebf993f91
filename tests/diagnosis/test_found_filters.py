# SPDX-License-Identifier: Apache-2.0
"""The file of found filters: what comes back is what went in, and it fits its pair alone."""

import json
import math

import pytest
import torch

from filterlens import FilterlensError, ModelPair, UsageError
from filterlens.diagnosis.calibration import Calibration, Logistic
from filterlens.diagnosis.found_filters import FoundFilters, load_found_filters, save_found_filters
from filterlens.models.pretrained import filters_file, pair_names
from filterlens.tensors import HEADER, read_tensors, write_tensors
from tests.attribution.small_networks import make_pair

BLUR, NOISE = "blur:2", "noise:0.1"


@pytest.fixture
def pair():
    made = make_pair()[2]
    made.facts = {"baseline": {"sha256": "b" * 64}, "target": {"sha256": "t" * 64}}
    return made


@pytest.fixture
def found():
    blur, noise = Calibration(0.25, Logistic(0.3, 9.5), 0.99, (NOISE,)), Calibration(0.5, Logistic(0.5, 8), 1.0)
    rankings = {BLUR: torch.arange(20).flip(0), NOISE: torch.arange(20) + 30}
    return FoundFilters(rankings, {10.0: {BLUR: blur, NOISE: noise}}, {"pair": "small"})


def test_what_comes_back_is_what_went_in(tmp_path, pair, found):
    save_found_filters(tmp_path / "f.safetensors", found, pair)
    loaded = load_found_filters(tmp_path / "f.safetensors", pair)
    assert loaded.calibrations == found.calibrations and loaded.provenance == found.provenance
    assert all(torch.equal(loaded.rankings[name], ranking) for name, ranking in found.rankings.items())


def test_another_pair_is_refused(tmp_path, pair, found):
    save_found_filters(tmp_path / "f.safetensors", found, pair)
    pair.facts["target"] = {"sha256": "x" * 64}
    with pytest.raises(FilterlensError, match="another target"):
        load_found_filters(tmp_path / "f.safetensors", pair)


def test_a_missing_or_damaged_file_is_told(tmp_path, pair, found):
    path = tmp_path / "f.safetensors"
    with pytest.raises(FilterlensError, match="do not exist"):
        load_found_filters(path, pair)
    save_found_filters(path, found, pair)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(FilterlensError, match="not an intact file"):
        load_found_filters(path, pair)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda header, tensors: tensors[BLUR].fill_(3), "names a filter twice or one that is none of the"),
        (lambda header, tensors: tensors[BLUR][:1].fill_(10**6), "names a filter twice or one that is none of the"),
        (lambda header, tensors: tensors.update({BLUR: torch.rand(20)}), "is torch.float32 of shape"),
        (lambda header, tensors: tensors.update({BLUR: tensors[BLUR][:0]}), "names a filter twice or one that is none"),
        (lambda header, tensors: header.update(pair=3), "pair: Input should be a valid dictionary"),
        (lambda header, tensors: header.pop("calibrations"), "calibrations: Field required"),
        (lambda header, tensors: header["calibrations"][0].update(percent=math.nan), "calibrations → 0 → percent"),
        (
            lambda header, tensors: header["calibrations"][0]["degradations"][BLUR].update(threshold=math.inf),
            f"{BLUR} → threshold: Input should be a finite number",
        ),
    ],
)
def test_every_number_of_the_file_is_checked(tmp_path, pair, found, change, words):
    path = tmp_path / "f.safetensors"
    save_found_filters(path, found, pair)
    tensors, header = read_tensors(path, "", "")
    change(header, tensors)
    write_tensors(path, tensors, {HEADER: json.dumps(header)})
    with pytest.raises(FilterlensError, match=rf"not an intact file of found filters \(.*{words}"):
        load_found_filters(path, pair)


def test_a_pair_that_was_not_loaded_from_files_keeps_nothing(tmp_path, pair, found):
    pair.facts = {}
    with pytest.raises(UsageError, match="not loaded from files"):
        save_found_filters(tmp_path / "f.safetensors", found, pair)


def test_the_classifier_takes_the_best_of_the_ranking_and_the_calibrated_thresholds(pair, found):
    made = found.classifier(pair, 10)
    count = len(pair.space) // 10
    assert made.selections[BLUR].indices.tolist() == list(range(19, 19 - count, -1))
    assert made.thresholds == {BLUR: 0.25, NOISE: 0.5}
    assert found.classifier(pair, 5, "paper").thresholds == {BLUR: 0.5, NOISE: 0.6}


def test_percentages_that_are_not_possible_or_not_calibrated_are_told(pair, found):
    with pytest.raises(UsageError, match="only 10 %"):
        found.classifier(pair, 5)
    for percent in (0.01, 90, 101, -1, float("nan")):
        with pytest.raises(UsageError, match=r"not possible here|not a percentage"):
            found.classifier(pair, percent, "paper")


@pytest.mark.parametrize("name", pair_names())
def test_every_shipped_pair_has_its_filters_with_calibration_and_provenance(name):
    pair = ModelPair.pretrained(name)
    shipped = load_found_filters(filters_file(name), pair)
    assert {len(ranking) for ranking in shipped.rankings.values()} == {len(pair.space) * 5 // 100}
    for table in shipped.calibrations.values():
        assert set(table) == set(shipped.rankings)
        assert all(0 < each.threshold < 1 and each.curve.slope > 0 for each in table.values())
    assert {"settings", "discovery_images", "calibration_images", "reading"} <= set(shipped.provenance)
    assert filters_file(name).stat().st_size < 200_000
