# SPDX-License-Identifier: Apache-2.0
"""Adapters as files: small, without loss, and nothing in a foreign one is trusted."""

import json
import pickle

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from filterlens import Adapter, FilterlensError, ModelPair, Selection, UsageError, adapt
from filterlens.editing.adapter import load_adapter, save_adapter
from tests.attribution.small_networks import make_pair
from tests.editing.test_adapter import flat, some


def half_pair():
    """Networks whose weights are float16 numbers, as checkpoints in half precision give them."""
    baseline, target, _ = make_pair()
    baseline, target = (network.half().float() for network in (baseline, target))
    return baseline, target, ModelPair(baseline, target)


@pytest.fixture
def written(tmp_path):
    baseline, _, pair = half_pair()
    adapter = Adapter.of(pair, [some(pair.space, 12)], {"degradations": ["blur:2"]})
    adapter.save(tmp_path / "adapter.safetensors")
    return tmp_path / "adapter.safetensors", adapter, baseline


def header_of(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["filterlens"])


def changed(path, tensors=None, header=None):
    """Write the file again with other tensors or another header."""
    with safe_open(path, framework="pt") as file:
        text = file.metadata()["filterlens"]
    content = load_file(path) | (tensors or {})
    save_file(content, path, metadata={"filterlens": json.dumps(json.loads(text) | (header or {}))})


@pytest.mark.parametrize("make", [make_pair, half_pair])
def test_an_adapter_comes_back_as_it_was(tmp_path, make):
    baseline, _, pair = make()
    adapter = Adapter.of(pair, [some(pair.space, 12)], {"degradations": ["blur:2"], "percent": 1.0})
    save_adapter(tmp_path / "a.safetensors", adapter)
    again = Adapter.load(tmp_path / "a.safetensors")
    assert again.card == adapter.card
    assert torch.equal(again.selection(pair.space).mask, adapter.selection(pair.space).mask)
    assert torch.equal(flat(adapt(baseline, [(again, 0.7)])), flat(adapt(baseline, [(adapter, 0.7)])))


@pytest.mark.parametrize(
    ("make", "kinds"),
    [(make_pair, (torch.float32, torch.float64)), (half_pair, (torch.float16, torch.float16))],
    ids=["float32 weights changed in float64", "half precision"],
)
def test_exact_values_take_the_smallest_type_that_holds_them(tmp_path, make, kinds):
    pair = make()[2]
    Adapter.of(pair, [some(pair.space, 12)]).save(tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    assert (tensors["baseline"].dtype, tensors["target"].dtype) == kinds
    assert tensors["indices"].dtype == torch.int32 and len(tensors["indices"]) == 12


def test_the_two_ends_choose_their_types_apart(tmp_path):
    baseline, target, _ = half_pair()
    with torch.no_grad():
        target.first.weight += 1e-5
        target.second.weight += 1e-5
    pair = ModelPair(baseline, target)
    Adapter.of(pair, [some(pair.space, 12)]).save(tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    assert (tensors["baseline"].dtype, tensors["target"].dtype) == (torch.float16, torch.float32)


def test_rounded_values_stay_near_and_leave_the_base_alone_at_its_neutral_strength(tmp_path):
    baseline, target, pair = make_pair()
    adapter = Adapter.of(pair, [some(pair.space, 12)])
    adapter.save(tmp_path / "a.safetensors", "fp16")
    rounded = Adapter.load(tmp_path / "a.safetensors")
    assert torch.equal(flat(adapt(baseline, [(rounded, 0)])), flat(baseline))
    assert torch.equal(flat(adapt(target, [(rounded, 1)])), flat(target))
    difference = flat(adapt(baseline, [(rounded, 1)])) - flat(adapt(baseline, [(adapter, 1)]))
    assert 0 < difference.abs().max() <= 2**-11 * flat(target).abs().max()
    torch.testing.assert_close(  # the exact and the rounded file of one target are no contradiction
        flat(adapt(baseline, [(adapter, 1), (rounded, 1)])), flat(adapt(baseline, [(adapter, 1)]))
    )


def test_unknown_and_too_small_types_are_refused(tmp_path):
    pair = make_pair()[2]
    adapter = Adapter.of(pair, [some(pair.space, 3)])
    with pytest.raises(UsageError, match="Did you mean 'fp16'"):
        adapter.save(tmp_path / "a.safetensors", "fp61")
    adapter.pieces[0].target[0, 0] = 1e6
    with pytest.raises(FilterlensError, match="do not fit fp16"):
        adapter.save(tmp_path / "a.safetensors", "fp16")
    assert not list(tmp_path.iterdir())


def refused(path, words):
    with pytest.raises(FilterlensError, match=words) as caught:
        load_adapter(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i: i.index_fill(0, torch.tensor([0]), -1), "filter -1 .* is out of range"),
        (lambda i: i.index_fill(0, torch.tensor([len(i) - 1]), 2**31 - 1), "filter 2147483647 .* is out of range"),
        (lambda i: i.index_copy(0, torch.tensor([1]), i[:1]), "repeated or not in order"),
        (lambda i: i[[1, 0, *range(2, len(i))]], "repeated or not in order"),
        (lambda i: i[:-1], "holds 11 numbers, not 12"),
        (lambda i: i.long(), "not int32"),
        (lambda i: i.view(3, 4), "not flat"),
    ],
)
def test_indices_that_cannot_be_are_refused(written, change, words):
    path, *_ = written
    changed(path, {"indices": change(load_file(path)["indices"]).contiguous()})
    refused(path, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.index_fill(0, torch.tensor([5]), float("nan")), "'target' holds NaN or infinity"),
        (lambda v: v.index_fill(0, torch.tensor([5]), float("inf")), "'target' holds NaN or infinity"),
        (lambda v: v[:-1], "'target' holds"),
        (lambda v: v.to(torch.int8), "of type torch.int8"),
        (lambda v: v.unsqueeze(0), "not flat"),
    ],
)
def test_values_that_cannot_be_are_refused(written, change, words):
    path, *_ = written
    changed(path, {"target": change(load_file(path)["target"]).contiguous()})
    refused(path, words)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"shape": [8, 3, 3]}, "'baseline' holds 236 numbers, not 212"),
        ({"shape": [8, 3, 3, 5, 7, 11], "filters": 25}, "do not fit"),
        ({"shape": [8, 3, -3, -3]}, "positive integers"),
        ({"shape": []}, "do not fit"),
        ({"filters": 0}, "positive integers"),
        ({"filters": 1e3}, "positive integers"),
        ({"here": 10**12}, "do not fit"),
        ({"here": True}, "positive integers"),
        ({"name": 7}, "names no weight"),
    ],
)
def test_layouts_that_cannot_be_are_refused(written, entry, words):
    path, *_ = written
    weights = header_of(path)["weights"]
    changed(path, header={"weights": [weights[0] | entry, *weights[1:]]})
    refused(path, words)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"weights": []}, "names no weight"),
        ({"weights": "all"}, "intact adapter"),
        ({"weights": [3]}, "intact adapter"),
        ({"weights": [{}]}, "intact adapter"),
        ({"card": [1]}, "card is no JSON object"),
        ({"kind": "network"}, "is no adapter"),
        ({"format": 99}, "has format 99, but this version reads 1"),
        ({"format": "\x1b[2J" + "x" * 500}, r"has format \[2Jx+…"),
    ],
)
def test_headers_that_cannot_be_are_refused(written, header, words):
    path, *_ = written
    changed(path, header=header)
    refused(path, words)
    with pytest.raises(FilterlensError) as caught:
        load_adapter(path)
    assert len(str(caught.value)) < 600 and str(caught.value).isprintable()


def test_a_weight_named_twice_is_refused(written):
    path, *_ = written
    weights = header_of(path)["weights"]
    changed(path, header={"weights": [weights[0], weights[0] | {"here": weights[1]["here"]}]})
    refused(path, "one twice")


def test_missing_truncated_and_foreign_files_are_refused(written, tmp_path):
    path, *_ = written
    refused(tmp_path / "none.safetensors", "does not exist. `filterlens adapter export`")
    whole = path.read_bytes()
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path, "not an intact adapter")
    save_file({"weight": torch.zeros(3)}, path)
    refused(path, "is no adapter")


def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "executed"), "w")

    for name in ("evil.pth", "evil.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps(Evil()))
        refused(tmp_path / name, "not an intact adapter")
    assert not (tmp_path / "executed").exists()


def test_names_that_climb_out_of_a_folder_are_only_names(written, tmp_path):
    path, _, baseline = written
    weights = header_of(path)["weights"]
    changed(path, header={"weights": [weights[0] | {"name": "../../climbed"}, *weights[1:]]})
    climbing = load_adapter(path)
    with pytest.raises(FilterlensError, match=r"edits '\.\./\.\./climbed', which the base does not have"):
        adapt(baseline, [(climbing, 1)], any_base=True)
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["adapter.safetensors"]


def test_damaged_bytes_never_end_in_a_foreign_error(written):
    path, *_ = written
    whole, dice = path.read_bytes(), torch.Generator().manual_seed(0)
    outcomes = set()
    for _ in range(300):
        content = bytearray(whole)
        for place in torch.randint(0, min(len(content), 2500), (3,), generator=dice).tolist():
            content[place] = int(torch.randint(0, 256, (1,), generator=dice))
        path.write_bytes(content)
        try:
            load_adapter(path)
            outcomes.add("read")
        except FilterlensError:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_one_percent_is_below_three_percent_of_the_checkpoint_for_all_shipped_pairs(tmp_path):
    from filterlens.diagnosis.found_filters import load_found_filters
    from filterlens.models.pretrained import filters_file, pair_files, pair_names

    for name in pair_names():
        pair = ModelPair.pretrained(name)
        found = load_found_filters(filters_file(name), pair)
        for degradation, selection in found.selections(pair, 1.0).items():
            Adapter.of(pair, [selection]).save(tmp_path / "a.safetensors")
            share = (tmp_path / "a.safetensors").stat().st_size / pair_files(name)[1].stat().st_size
            assert share < 0.03, (name, degradation, share)
            print(name, degradation, len(selection), (tmp_path / "a.safetensors").stat().st_size, f"{share:.4%}")


def test_an_empty_selection_gives_no_file(tmp_path):
    pair = make_pair()[2]
    with pytest.raises(UsageError, match="would be empty"):
        Adapter.of(pair, [Selection.top(pair.space, torch.rand(len(pair.space)), 0.1)])
