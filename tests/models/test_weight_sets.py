# SPDX-License-Identifier: Apache-2.0
"""Weights are found under every usual key and prefix, by one rule for all files; averages come first."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from filterlens.errors import FilterlensError
from filterlens.models.architectures import build
from filterlens.models.checkpoints import LoadedNetwork, load_network

SMALL = {"scale": 2, "features": 8, "blocks": 2}

Weights = dict[str, Tensor]

AVERAGES = (
    "params_ema", "params-ema", "ema", "EMA", "model_ema", "ema_state_dict", "state_dict_ema", "ema_model", "net_g_ema",
    "g_ema", "netG_ema", "generator_ema", "emaModel", "modelEMA", "ema_params", "ema_0.9999", "state_dict.ema",
    "averaged_model", "EMA_state_dict", "shadow", "ema_weights", "ema_generator", "network_ema", "model.ema",
    "student_ema",
)  # fmt: skip
KEYS = (
    "params", "state_dict", "model_state_dict", "model", "net_g", "netG", "generator", "network", "net", "weights",
    "state_dicts", "G", "my_own_key", "modelState", "MODEL",
)  # fmt: skip
PREFIXES = (
    "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod.", "model.", "net.", "netG.", "generator.",
    "net_g.", "network.", "backbone.", "module.module.", "model.net.module.", "sr_net.", "my_wrapper.inner.",
    "params.", "state_dict.",
)  # fmt: skip


@pytest.fixture
def weights() -> Weights:
    torch.manual_seed(0)
    return {name: value.clone() for name, value in build("srresnet", **SMALL).state_dict().items()}


def others(weights: Weights) -> Weights:
    return {name: value + 1 for name, value in weights.items()}


def prefixed(weights: Weights, prefix: str) -> Weights:
    return {prefix + name: value for name, value in weights.items()}


def write(folder: Path, content: Any, kind: str = "pth") -> Path:
    path = folder / f"net.{kind}"
    if kind == "safetensors":
        save_file(flat(content), path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind != "old.pth")
    return path


def flat(content: Any, prefix: str = "") -> Weights:
    """The same in a safetensors file: no containers, but dots."""
    result: Weights = {}
    for name, value in content.items():
        inner = {f"{prefix}{name}": value.clone()} if isinstance(value, Tensor) else flat(value, f"{prefix}{name}.")
        result |= inner
    return result


def holds(loaded: LoadedNetwork, weights: Weights) -> bool:
    state = loaded.network.state_dict()
    return list(state) == list(weights) and all(torch.equal(state[name], weights[name]) for name in weights)


ALL_FILES = pytest.mark.parametrize("kind", ["pth", "old.pth", "safetensors"])


@ALL_FILES
@pytest.mark.parametrize("key", AVERAGES)
def test_an_average_is_preferred_under_every_usual_name_and_it_is_said(
    tmp_path: Path, weights: Weights, key: str, kind: str
) -> None:
    if kind == "safetensors" and "." in key:
        key = key.replace(".", "_")
    for content in ({"params": others(weights), key: weights}, {key: weights, "params": others(weights)}):
        loaded = load_network(write(tmp_path, content, kind))
        assert holds(loaded, weights)
        assert any(f"took the moving average '{key}', not 'params'" in note for note in loaded.notes), loaded.notes


def test_an_average_is_preferred_to_weights_that_lie_bare_beside_it(tmp_path: Path, weights: Weights) -> None:
    loaded = load_network(write(tmp_path, others(weights) | {"ema": weights}))
    assert holds(loaded, weights)
    assert loaded.notes == ("took the moving average 'ema', not those without a key",)


@ALL_FILES
@pytest.mark.parametrize("averaged", ["net_g_ema", "ema_model.module", "model_ema"])
def test_an_average_among_the_names_of_one_dictionary_is_preferred(
    tmp_path: Path, weights: Weights, averaged: str, kind: str
) -> None:
    content = {"state_dict": prefixed(others(weights), "net_g.") | prefixed(weights, f"{averaged}.")}
    loaded = load_network(write(tmp_path, content, kind))
    assert holds(loaded, weights)
    assert "took the moving average" in loaded.notes[0]


def test_an_average_that_does_not_fit_is_said(tmp_path: Path, weights: Weights) -> None:
    without_dots = {name.replace(".", ""): value for name, value in others(weights).items()}
    loaded = load_network(write(tmp_path, {"state_dict": prefixed(weights, "model.") | prefixed(without_dots, "ema.")}))
    assert holds(loaded, weights)
    assert "not 'state_dict.ema'; the moving average in the file does not fit" in loaded.notes[0]


@pytest.mark.parametrize("word", ["schema", "cinema", "emanate", "optimizer_ema", "discriminator_ema", "net_d_ema"])
def test_words_that_only_contain_ema_and_averages_of_other_things_are_no_averages(
    tmp_path: Path, weights: Weights, word: str
) -> None:
    assert holds(load_network(write(tmp_path, {word: others(weights), "params": weights})), weights)


@ALL_FILES
@pytest.mark.parametrize("key", KEYS)
def test_weights_are_found_under_any_key_beside_what_trainings_keep(
    tmp_path: Path, weights: Weights, key: str, kind: str
) -> None:
    moments = {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2)}}
    beside = {"optimizer": {"state": moments, "param_groups": [{"lr": 1e-4, "params": [0]}]}, "epoch": 3, "loss": 0.1}
    content = {"epoch": 3, "step": torch.tensor(7), key: weights} | beside
    if kind == "safetensors":
        content = {"step": torch.tensor(7), key: weights, "optimizer": moments}
    loaded = load_network(write(tmp_path, content, kind))
    assert holds(loaded, weights)
    assert (loaded.architecture, loaded.options) == ("srresnet", SMALL)


@ALL_FILES
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_of_all_names_is_taken_off_in_every_file_and_it_is_said(
    tmp_path: Path, weights: Weights, prefix: str, kind: str
) -> None:
    loaded = load_network(write(tmp_path, prefixed(weights, prefix), kind))
    assert holds(loaded, weights)
    assert loaded.notes == (f"took '{prefix}' off the names of the weights",)
    inside = load_network(write(tmp_path, {"state_dict": prefixed(weights, prefix)}))
    assert holds(inside, weights) and inside.notes == loaded.notes


@ALL_FILES
def test_names_that_fit_with_their_common_beginning_keep_it(tmp_path: Path, kind: str) -> None:
    network = build("dncnn", features=4, layers=3)
    for prefix in ("", "model.", "module."):
        loaded = load_network(write(tmp_path, prefixed(network.state_dict(), prefix), kind))
        assert holds(loaded, dict(network.state_dict()))
        assert len(loaded.notes) == bool(prefix)


def test_weights_under_their_own_names_need_no_note(tmp_path: Path, weights: Weights) -> None:
    for content in (weights, {"params": weights}, {"state_dict": weights, "epoch": 2}, {"params_ema": weights}):
        assert load_network(write(tmp_path, content)).notes == ()


def parallel(network: nn.Module) -> dict[str, Any]:
    return nn.DataParallel(network).state_dict()


def compiled(network: nn.Module) -> dict[str, Any]:
    return torch.compile(network).state_dict()  # type: ignore[no-any-return]


def compiled_parallel(network: nn.Module) -> dict[str, Any]:
    return torch.compile(nn.DataParallel(network)).state_dict()  # type: ignore[no-any-return]


def averaged(network: nn.Module) -> dict[str, Any]:
    return torch.optim.swa_utils.AveragedModel(network).state_dict()


def lightning(network: nn.Module) -> dict[str, Any]:
    state = prefixed(network.state_dict(), "net_g.") | {"net_d.0.weight": torch.ones(1, 3, 3, 3)}
    state |= {"perceptual.mean": torch.zeros(3), "perceptual.vgg.0.weight": torch.ones(2, 3, 3, 3)}
    return {
        "epoch": 2, "global_step": 5, "pytorch-lightning_version": "2.0", "state_dict": state,
        "loops": {}, "callbacks": {},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}], "lr_schedulers": [],
    }  # fmt: skip


def counted(network: nn.Module) -> dict[str, Any]:
    counters = {
        f"{name}.{word}": torch.zeros(1) for name in ("conv_first", "body.0") for word in ("total_ops", "total_params")
    }
    return network.state_dict() | counters | {"total_ops": torch.zeros(1), "total_params": torch.zeros(1)}


def ema_pytorch(network: nn.Module) -> dict[str, Any]:
    state = prefixed(others(dict(network.state_dict())), "online_model.") | prefixed(network.state_dict(), "ema_model.")
    return state | {"initted": torch.tensor(True), "step": torch.tensor(9)}


def parameters(network: nn.Module) -> dict[str, Any]:
    return dict(network.named_parameters())


def by_bytes(network: nn.Module) -> dict[Any, Any]:
    return {name.encode(): value for name, value in network.state_dict().items()}


def nested(network: nn.Module) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in network.state_dict().items():
        module, _, kind = name.rpartition(".")
        result.setdefault(module, {})[kind] = value
    return result


def in_a_list(network: nn.Module) -> Any:
    return [network.state_dict(), {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}, 7]


def basicsr_state(network: nn.Module) -> dict[str, Any]:
    return {"models": {"network_g": network.state_dict(), "network_d": {"conv.weight": torch.ones(1, 3, 3, 3)}}}


def non_tensors_among(network: nn.Module) -> dict[str, Any]:
    return network.state_dict() | {"epoch": 3, "arch": "srresnet", "best": None, "history": [1.0, 2.0]}


@pytest.mark.parametrize(
    "form",
    [
        parallel, compiled, compiled_parallel, averaged, lightning, counted, ema_pytorch, parameters, by_bytes, nested,
        in_a_list, basicsr_state, non_tensors_among,
    ],
)  # fmt: skip
def test_what_trainings_really_write_loads(tmp_path: Path, form: Callable[[nn.Module], Any]) -> None:
    torch.manual_seed(0)
    network = build("srresnet", **SMALL)
    loaded = load_network(write(tmp_path, form(network)))
    assert holds(loaded, dict(network.state_dict()))


def test_what_lies_beside_the_weights_among_their_names_is_said(tmp_path: Path) -> None:
    loaded = load_network(write(tmp_path, lightning(build("srresnet", **SMALL))))
    assert loaded.notes == ("took 'net_g.' off the names of the weights", "left out 'net_d', 'perceptual'")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_load_as_float32(tmp_path: Path, weights: Weights, kind: torch.dtype) -> None:
    stored = {name: value.to(kind) for name, value in weights.items()}
    for file in ("pth", "safetensors"):
        assert holds(load_network(write(tmp_path, stored, file)), {name: each.float() for name, each in stored.items()})


def test_of_two_sets_that_fit_and_have_no_usual_name_none_is_guessed(tmp_path: Path, weights: Weights) -> None:
    path = write(tmp_path, {"first": weights, "second": others(weights)})
    with pytest.raises(FilterlensError, match="under 'first' and under 'second', and no usual name says which"):
        load_network(path)


def test_the_choice_is_logged_for_whoever_listens(
    tmp_path: Path, weights: Weights, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, {"params": others(weights), "params-ema": weights})
    with caplog.at_level(logging.INFO, "filterlens"):
        load_network(path)
    assert caplog.messages == [f"'{path}': took the moving average 'params-ema', not 'params'"]


def test_containers_within_themselves_and_within_each_other_end(tmp_path: Path, weights: Weights) -> None:
    content: dict[str, Any] = {"params": weights}
    content["self"] = content
    inner: dict[str, Any] = {"x": 1}
    for _ in range(40):
        inner = {"a": inner, "b": inner}
    content["deep"] = inner
    assert holds(load_network(write(tmp_path, content)), weights)


def test_a_prefixed_file_in_which_a_tensor_is_missing_names_that_tensor(tmp_path: Path, weights: Weights) -> None:
    del weights["conv_hr.weight"]
    path = write(tmp_path, prefixed(weights, "module."))
    with pytest.raises(FilterlensError, match=r"does not fit srresnet: missing: conv_hr\.weight\.$"):
        load_network(path)
