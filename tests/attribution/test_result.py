# SPDX-License-Identifier: Apache-2.0
"""Results as files that others can read."""

import csv
import json
import math

import pytest
import torch
from torch import nn

from filterlens import FAIG, AbsoluteChange, Attribution, FilterlensError, Selection, UsageError
from filterlens.attribution.methods import attribute_with
from filterlens.attribution.result import load_attributions, save_attributions
from filterlens.filters import FilterSpace
from filterlens.tensors import HEADER, read_tensors, write_tensors
from tests.attribution.small_networks import make_pair, photographs

DEGRADATIONS = ["blur:1", "noise:0.1"]


@pytest.fixture
def attribution():
    _, _, pair = make_pair()
    return FAIG(pair).attribute(photographs(), DEGRADATIONS)


def test_saved_and_loaded_results_are_equal(attribution, tmp_path):
    attribution.save(tmp_path / "scores.safetensors")
    loaded = Attribution.load(tmp_path / "scores.safetensors")
    assert loaded.method == "faig" and loaded.space == attribution.space
    assert loaded.completeness == attribution.completeness
    assert dict(loaded.settings) == dict(attribution.settings)
    for name in DEGRADATIONS:
        assert torch.equal(loaded.of(name), attribution.of(name))
    beside = json.loads((tmp_path / "scores.json").read_text())
    assert beside["methods"]["faig"]["settings"]["quadrature"] == "adaptive"
    assert beside["methods"]["faig"]["completeness"][0]["gap"] >= 0


def test_several_methods_share_one_file(tmp_path):
    _, _, pair = make_pair()
    found = attribute_with(["faig", "ig", "random"], pair, photographs(1), DEGRADATIONS)
    save_attributions(tmp_path / "s.safetensors", list(found.values()))
    loaded = load_attributions(tmp_path / "s.safetensors")
    assert list(loaded) == ["faig", "ig", "random"]
    assert torch.equal(loaded["ig"].of("noise:0.1"), found["ig"].of("noise:0.1"))
    with pytest.raises(FilterlensError, match="holds 3 methods"):
        Attribution.load(tmp_path / "s.safetensors")


def test_the_table_writes_whole_rows_as_pytorch_does(tmp_path):
    space = FilterSpace(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Linear(5, 3)))
    found = Attribution(method="faig", space=space, scores={"blur:1": torch.arange(9.0)}, settings={})
    found.to_csv(tmp_path / "filters.csv")
    with (tmp_path / "filters.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    addresses = [f"{row['layer']}.weight[{row['out']}, {row['in']}]" for row in rows]
    assert addresses[:4] == ["1.weight[2, :]", "1.weight[1, :]", "1.weight[0, :]", "0.weight[1, 2]"]
    assert [space.index(address) for address in addresses] == list(range(8, -1, -1))


def test_csv_holds_every_filter_once_with_its_rank(attribution, tmp_path):
    attribution.to_csv(tmp_path / "filters.csv")
    with (tmp_path / "filters.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["degradation", "layer", "out", "in", "score", "rank"]
    assert len(rows) == 2 * len(attribution.space)
    blur = [row for row in rows if row["degradation"] == "blur:1"]
    assert [int(row["rank"]) for row in blur] == list(range(1, len(blur) + 1))
    assert len({(row["layer"], row["out"], row["in"]) for row in blur}) == len(attribution.space)
    for row in blur[:5]:
        index = attribution.space.index(f"{row['layer']}.weight[{row['out']}, {row['in']}]")
        assert float(row["score"]) == pytest.approx(float(attribution.of("blur:1")[index]), rel=1e-7)
    scores = [float(row["score"]) for row in blur]
    assert scores == sorted(scores, reverse=True)


def test_selecting_an_unknown_degradation_names_the_known_ones(attribution):
    with pytest.raises(UsageError, match=r"blur:1, noise:0\.1"):
        attribution.select("jpeg:30", 1)


def test_damaged_and_missing_files_are_named(tmp_path):
    with pytest.raises(FilterlensError, match="filterlens attribute"):
        Attribution.load(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(FilterlensError, match="not an intact score file"):
        Attribution.load(tmp_path / "bad.safetensors")


def spoilt_scores(path, change_header=None, change_tensors=None):
    """Write an intact score file with one thing changed."""
    _, _, pair = make_pair()
    AbsoluteChange(pair).attribute([], ["blur:2", "noise:0.1"]).save(path)
    tensors, header = read_tensors(path, "", "")
    for change, value in ((change_header, header), (change_tensors, tensors)):
        if change:
            change(value)
    write_tensors(path, tensors, {HEADER: json.dumps(header)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t["change-absolute/blur:2"].fill_(math.nan), r"'blur:2' hold NaN or infinity in 72 of 72 places"),
        (lambda t: t["change-absolute/blur:2"][3:4].fill_(-math.inf), "in 1 of 72 places"),
        (lambda t: t.update({"change-absolute/blur:2": torch.rand(10)}), r"'blur:2' are \(10,\), but there are 72"),
        (lambda t: t.update({"change-absolute/blur:2": torch.rand(72, 1)}), r"are \(72, 1\)"),
        (lambda t: t.pop("change-absolute/noise:0.1"), "the array 'change-absolute/noise:0.1' is missing"),
    ],
)
def test_scores_that_are_not_one_finite_number_per_filter_are_never_believed(tmp_path, change, words):
    spoilt_scores(tmp_path / "scores.safetensors", change_tensors=change)
    with pytest.raises(
        FilterlensError, match=rf"scores\.safetensors' is not an intact score file .*{words}.*attribute"
    ):
        load_attributions(tmp_path / "scores.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h.pop("layers"), "layers: Field required"),
        (lambda h: h.update(layers=[]), "layers: List should have at least 1 item"),
        (lambda h: h.update(layers="x" * 10_000), "layers: Input should be a valid list"),
        (lambda h: h["layers"][1].update(offset=0), "do not follow one another"),
        (lambda h: h["layers"][1].update(name="first"), "a layer is named twice"),
        (
            lambda h: h["layers"][0].update(out_channels="8"),
            "layers → 0 → out_channels: Input should be a valid int",
        ),
        (lambda h: h["layers"][0].update(out_channels=10**12), "layers → 0 → out_channels"),
        (lambda h: h["layers"][0].update(kernel=[0, 3]), "layers → 0 → kernel → 0"),
        (lambda h: h.update(methods={}), "methods"),
        (lambda h: h["methods"]["change-absolute"].update(settings=None), "methods → change-absolute → settings"),
        (
            lambda h: h["methods"]["change-absolute"].update(completeness=[{}]),
            "completeness → 0 → image: Field",
        ),
    ],
)
def test_a_header_is_checked_and_the_place_named(tmp_path, change, words):
    spoilt_scores(tmp_path / "scores.safetensors", change_header=change)
    with pytest.raises(FilterlensError, match=rf"not an intact score file .*{words}") as caught:
        load_attributions(tmp_path / "scores.safetensors")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_what_a_newer_version_adds_to_a_header_is_passed_over(tmp_path):
    spoilt_scores(
        tmp_path / "scores.safetensors", change_header=lambda h: h.update(more=1) or h["layers"][0].update(x=1)
    )
    assert load_attributions(tmp_path / "scores.safetensors")["change-absolute"].degradations == ("blur:2", "noise:0.1")


def test_an_attribution_has_one_finite_score_per_filter():
    _, _, pair = make_pair()
    for scores in (torch.full((72,), math.nan), torch.rand(71), [0.0] * 72, torch.rand(72) > 0.5):
        with pytest.raises(FilterlensError, match="The scores for 'blur:2'"):
            Attribution("own", pair.space, {"blur:2": scores})
        with pytest.raises(FilterlensError, match="The scores"):
            Selection.top(pair.space, scores, 50)


@pytest.mark.parametrize("percent", [math.nan, math.inf, True, "1", None, -1, 100.5])
def test_what_is_no_percentage_selects_nothing(percent):
    _, _, pair = make_pair()
    with pytest.raises(UsageError, match="is not a percentage of filters"):
        Selection.top(pair.space, torch.rand(72), percent)
