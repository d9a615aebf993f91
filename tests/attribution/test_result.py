# SPDX-License-Identifier: Apache-2.0
"""Results as files that others can read."""

import csv
import json

import pytest
import torch
from torch import nn

from filterlens import FAIG, Attribution, FilterlensError, UsageError
from filterlens.attribution.methods import attribute_with
from filterlens.attribution.result import load_attributions, save_attributions
from filterlens.filters import FilterSpace
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
