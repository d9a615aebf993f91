# SPDX-License-Identifier: Apache-2.0
"""Merged checkpoints: what any other program loads, under the base's own names, wrapper and types."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from filterlens import Adapter, FilterlensError, ModelPair, Selection, UsageError, adapt, load_network
from filterlens.jobs.adapter import merge_adapters
from filterlens.models.checkpoints import save_network
from filterlens.models.one_branch import SRResNet
from tests.small_srresnet import small_networks

OPTIONS = {"scale": 2, "features": 8, "blocks": 2}


def networks(half=False):
    return tuple(network.half().float() if half else network for network in small_networks(**OPTIONS))


@pytest.fixture
def adapter_file(tmp_path):
    return lambda baseline, target, name="adapter.safetensors": write_adapter(tmp_path / name, baseline, target)


def write_adapter(path, baseline, target):
    pair = ModelPair(baseline, target)
    Adapter.of(pair, [Selection(pair.space, torch.arange(0, len(pair.space), 7))]).save(path)
    return path


def expected(baseline, path, strength):
    return adapt(baseline, [(Adapter.load(path), strength)]).state_dict()


def plainly_loaded(weights):
    """Load as any program does: strictly, into the module."""
    network = SRResNet(**OPTIONS)
    network.load_state_dict(weights, strict=True)
    return network.state_dict()


def assert_equal(first, second):
    assert list(first) == list(second)
    for name in first:
        assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize("wrapper", ["", "params", "params_ema", "state_dict"])
def test_a_pickled_base_gives_a_pickled_file_under_its_own_wrapper(tmp_path, adapter_file, wrapper):
    baseline, target = networks()
    weights = baseline.state_dict()
    torch.save({wrapper: weights} if wrapper else weights, tmp_path / "base.pth")
    path = adapter_file(baseline, target)
    merge_adapters(str(tmp_path / "base.pth"), [f"{path}=0.8"], tmp_path / "merged.pth")
    content = torch.load(tmp_path / "merged.pth", weights_only=True)
    assert_equal(plainly_loaded(content[wrapper] if wrapper else content), expected(baseline, path, 0.8))
    assert_equal(load_network(tmp_path / "merged.pth").network.state_dict(), expected(baseline, path, 0.8))


def test_weights_before_averaging_and_optimisers_are_left_out_and_facts_are_kept(tmp_path, adapter_file):
    baseline, target = networks()
    raw, _ = networks()
    with torch.no_grad():
        raw.conv_hr.weight += 1
    content = {"params": raw.state_dict(), "params_ema": baseline.state_dict(), "iter": 7, "arch": {"name": "x"}}
    torch.save(content | {"optimizer": {"state": [torch.zeros(3)]}}, tmp_path / "base.pth")
    path = adapter_file(baseline, target)
    merge_adapters(str(tmp_path / "base.pth"), [f"{path}=1"], tmp_path / "merged.pth")
    merged = torch.load(tmp_path / "merged.pth", weights_only=True)
    assert list(merged) == ["iter", "arch", "params_ema"] and merged["arch"] == {"name": "x"}
    assert_equal(plainly_loaded(merged["params_ema"]), expected(baseline, path, 1))


def test_prefixes_of_data_parallel_training_are_kept(tmp_path, adapter_file):
    baseline, target = networks()
    prefixed = {f"module.{name}": tensor for name, tensor in baseline.state_dict().items()}
    torch.save({"params": prefixed}, tmp_path / "base.pth")
    path = adapter_file(baseline, target)
    merge_adapters(str(tmp_path / "base.pth"), [f"{path}=1"], tmp_path / "merged.pth")
    merged = torch.load(tmp_path / "merged.pth", weights_only=True)["params"]
    assert list(merged) == list(prefixed)
    unwrapped = {name.removeprefix("module."): tensor for name, tensor in merged.items()}
    assert_equal(plainly_loaded(unwrapped), expected(baseline, path, 1))


def test_a_safetensors_base_keeps_its_header_and_names_what_was_merged(tmp_path, adapter_file):
    baseline, target = networks()
    save_network(tmp_path / "base.safetensors", baseline, "srresnet", OPTIONS, {"role": "baseline"})
    path = adapter_file(baseline, target)
    merge_adapters(str(tmp_path / "base.safetensors"), [f"{path}=0.8"], tmp_path / "merged.safetensors")
    merged = load_network(tmp_path / "merged.safetensors")
    assert_equal(merged.network.state_dict(), expected(baseline, path, 0.8))
    assert merged.card["role"] == "baseline"
    assert merged.card["merged"]["adapters"] == [{"file": "adapter.safetensors", "strength": 0.8}]


def test_a_foreign_safetensors_base_keeps_its_metadata(tmp_path, adapter_file):
    baseline, target = networks()
    save_file(baseline.state_dict(), tmp_path / "base.safetensors", metadata={"author": "someone", "format": "pt"})
    path = adapter_file(baseline, target)
    merge_adapters(str(tmp_path / "base.safetensors"), [f"{path}=1"], tmp_path / "merged.safetensors")
    with safe_open(tmp_path / "merged.safetensors", framework="pt") as file:
        assert file.metadata()["author"] == "someone"
    assert_equal(plainly_loaded(load_file(tmp_path / "merged.safetensors")), dict(sorted_as(baseline, path)))


def sorted_as(baseline, path):
    return [(name, expected(baseline, path, 1)[name]) for name in plainly_loaded(baseline.state_dict())]


def test_the_other_form_can_be_asked_for(tmp_path, adapter_file):
    baseline, target = networks()
    save_network(tmp_path / "base.safetensors", baseline, "srresnet", OPTIONS, {})
    torch.save(baseline.state_dict(), tmp_path / "base.pth")
    path = adapter_file(baseline, target)
    merge_adapters(str(tmp_path / "base.safetensors"), [f"{path}=1"], tmp_path / "a.pth")
    merge_adapters(str(tmp_path / "base.pth"), [f"{path}=1"], tmp_path / "b.safetensors")
    for name in ("a.pth", "b.safetensors"):
        assert_equal(load_network(tmp_path / name).network.state_dict(), expected(baseline, path, 1))
    assert list(torch.load(tmp_path / "a.pth", weights_only=True)) == ["params"]


@pytest.mark.parametrize(("strength", "kind"), [(1, torch.float16), (0.3, torch.float32)])
def test_half_precision_stays_where_it_is_exact(tmp_path, adapter_file, strength, kind):
    baseline, target = networks(half=True)
    save_network(tmp_path / "base.safetensors", baseline, "srresnet", OPTIONS, {}, torch.float16)
    path = adapter_file(baseline, target)
    merge_adapters(str(tmp_path / "base.safetensors"), [f"{path}={strength}"], tmp_path / "m.safetensors")
    assert {tensor.dtype for tensor in load_file(tmp_path / "m.safetensors").values()} == {kind}
    assert_equal(load_network(tmp_path / "m.safetensors").network.state_dict(), expected(baseline, path, strength))
    merge_adapters(str(tmp_path / "base.safetensors"), [f"{path}=0.3"], tmp_path / "h.safetensors", values="fp16")
    assert {tensor.dtype for tensor in load_file(tmp_path / "h.safetensors").values()} == {torch.float16}


def test_weights_under_other_names_are_found_by_their_values(tmp_path, adapter_file):
    """A loader may rename what a file holds; the file's own names are written."""
    from filterlens.editing.merge import _names_of, replaced

    baseline, target = networks()
    renamed = {f"model.{name}x": tensor for name, tensor in baseline.state_dict().items()}
    path = adapter_file(baseline, target)
    edited = adapt(baseline, [(Adapter.load(path), 1)])
    merged = replaced(renamed, baseline, edited, tmp_path / "base.pth")
    assert list(merged) == list(renamed)
    for name, tensor in edited.state_dict().items():
        assert torch.equal(merged[f"model.{name}x"], tensor)
    twins = {"a": torch.zeros(3), "b": torch.zeros(3)}
    assert _names_of("c", torch.zeros(3), twins) == ["a", "b"]


def test_inputs_are_never_overwritten_and_outputs_only_when_forced(tmp_path, adapter_file):
    baseline, target = networks()
    save_network(tmp_path / "base.safetensors", baseline, "srresnet", OPTIONS, {})
    path, base = adapter_file(baseline, target), str(tmp_path / "base.safetensors")
    merge_adapters(base, [f"{path}=1"], tmp_path / "m.safetensors")
    before = (tmp_path / "m.safetensors").read_bytes()
    with pytest.raises(FilterlensError, match="exists already"):
        merge_adapters(base, [f"{path}=0.5"], tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == before
    notes = []
    merge_adapters(base, [f"{path}=1"], tmp_path / "m.safetensors", note=notes.append)
    assert (tmp_path / "m.safetensors").read_bytes() == before and "holds this very network already" in notes[0]
    merge_adapters(base, [f"{path}=1"], tmp_path / "m.pth")
    merge_adapters(base, [f"{path}=1"], tmp_path / "m.pth", note=notes.append)
    with pytest.raises(FilterlensError, match="exists already"):
        merge_adapters(base, [f"{path}=0.5"], tmp_path / "m.pth")
    merge_adapters(base, [f"{path}=0.5"], tmp_path / "m.safetensors", force=True)
    assert (tmp_path / "m.safetensors").read_bytes() != before
    for input_file in (base, path):
        with pytest.raises(UsageError, match="is an input of this merge"):
            merge_adapters(base, [f"{path}=1"], type(tmp_path)(input_file), force=True)


def test_another_base_is_refused_and_forced_with_a_warning(tmp_path, adapter_file):
    baseline, target = networks()
    other = SRResNet(**OPTIONS)
    save_network(tmp_path / "other.safetensors", other, "srresnet", OPTIONS, {})
    path, base, notes = adapter_file(baseline, target), str(tmp_path / "other.safetensors"), []
    with pytest.raises(FilterlensError, match="belongs to another base"):
        merge_adapters(base, [f"{path}=1"], tmp_path / "m.safetensors")
    assert not (tmp_path / "m.safetensors").exists()
    merge_adapters(base, [f"{path}=1"], tmp_path / "m.safetensors", force=True, note=notes.append)
    assert len(notes) == 1 and notes[0].startswith("warning: ")


@pytest.mark.parametrize(
    ("adapters", "output", "values", "words"),
    [
        ([], "m.safetensors", "exact", "Nothing to merge"),
        (["a.safetensors=1"], "m.bin", "exact", "no known suffix"),
        (["a.safetensors=1"], "m.safetensors", "fp8", "Unknown type of values 'fp8'"),
        (["a.safetensors=strong"], "m.safetensors", "exact", "'strong' in 'a.safetensors=strong' is not a strength"),
    ],
)
def test_wrong_use_is_refused(tmp_path, adapters, output, values, words):
    with pytest.raises(UsageError, match=words):
        merge_adapters("srresnet-x2", adapters, tmp_path / output, values=values)
    assert not list(tmp_path.iterdir())
