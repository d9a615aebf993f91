# SPDX-License-Identifier: Apache-2.0
"""Devices and precisions by name."""

import pytest
import torch

from filterlens.errors import UsageError
from filterlens.execution.hardware import autocast, resolve_device, resolve_precision, widest_float
from filterlens.execution.memory import memory_for_activations

CPU = torch.device("cpu")


def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == CPU


def test_every_process_of_a_launcher_gets_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    for rank, expected in (("0", "cuda:0"), ("1", "cuda:1"), ("2", "cuda:0")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert {resolve_device("auto"), resolve_device("cuda")} == {torch.device(expected)}
        assert resolve_device("cuda:1") == torch.device("cuda:1") and resolve_device("cpu") == CPU


def test_an_apple_gpu_is_taken_by_name_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"'mps' was asked for.*--device cpu"):
        resolve_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("mps").type == "mps" and resolve_device("auto") == CPU
    with pytest.raises(UsageError, match="'mps:1' was asked for"):
        resolve_device("mps:1")


def test_an_apple_gpu_computes_in_float32_and_sums_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    apple = torch.device("mps")
    assert widest_float(apple) == torch.float32 and widest_float(CPU) == torch.float64
    assert resolve_precision("auto", apple) == "fp32"
    monkeypatch.setattr("filterlens.execution.hardware._mps_has_bf16", lambda: False)
    with pytest.raises(UsageError, match="no bfloat16 on this Apple GPU"):
        resolve_precision("bf16", apple)
    assert memory_for_activations(apple) > 0


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no Apple GPU")
def test_a_network_runs_on_an_apple_gpu_as_on_a_cpu() -> None:
    from filterlens.execution.tiled_network import TiledNetwork
    from filterlens.models.one_branch import SRResNet

    network, image = SRResNet(2, 8, 1).double(), torch.rand(1, 3, 40, 50)
    here, there = (TiledNetwork(network, torch.device(name), tile=30)(image).float() for name in ("cpu", "mps"))
    torch.testing.assert_close(here, there, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["gpu", "", "meta", "cuda:x"])
def test_an_unknown_device_is_refused_with_the_legal_ones(name: str) -> None:
    with pytest.raises(UsageError, match=f"Unknown device '{name}'. Legal: auto, cpu, cuda"):
        resolve_device(name)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="'cuda:99' was asked for"):
        resolve_device("cuda:99")


def test_a_precision_is_taken_by_name_or_by_what_the_device_is_fast_at(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_precision("bf16", CPU) == "bf16"
    assert resolve_precision("fp32", CPU) == "fp32"
    for is_fast, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr("filterlens.execution.hardware.has_fast_bf16", lambda device, is_fast=is_fast: is_fast)
        assert resolve_precision("auto", CPU) == expected


def test_an_unknown_precision_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"'fp23'. Did you mean 'fp32'"):
        resolve_precision("fp23", CPU)


def test_autocast_computes_in_bf16_and_leaves_the_weights_as_they_are() -> None:
    layer = torch.nn.Conv2d(3, 3, 3)
    with autocast(CPU, "bf16"):
        assert layer(torch.rand(1, 3, 8, 8)).dtype == torch.bfloat16
    with autocast(CPU, "fp32"):
        assert layer(torch.rand(1, 3, 8, 8)).dtype == torch.float32
    assert layer.weight.dtype == torch.float32
