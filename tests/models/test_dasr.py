# SPDX-License-Identifier: Apache-2.0
"""DASR against the published counts and its definition written down a second time."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network, save_network
from filterlens.models.dasr import DASR, depthwise
from filterlens.pair import ModelPair
from tests.models.two_branches import SMALL, random_network

Weights = Mapping[str, Tensor]


@pytest.mark.parametrize(
    ("scale", "parameters", "published"),
    [(2, 5_689_987, 5.69e6), (4, 5_837_699, 5.84e6)],
)
def test_the_parameter_counts_are_the_published_ones(scale: int, parameters: int, published: float) -> None:
    count = sum(parameter.numel() for parameter in DASR(scale).parameters())
    assert count == parameters
    assert count == pytest.approx(published, rel=0.01)


def conv(x: Tensor, weights: Weights, name: str, stride: int = 1) -> Tensor:
    weight = weights[f"{name}.weight"]
    return F.conv2d(x, weight, weights.get(f"{name}.bias"), stride=stride, padding=weight.shape[-1] // 2)


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def represented(x: Tensor, weights: Weights) -> Tensor:
    for number, stride in enumerate((1, 1, 2, 1, 2, 1)):
        name = f"encoder.layers.{number}"
        x = conv(x, weights, f"{name}.conv", stride)
        mean, variance, gain, offset = (
            weights[f"{name}.norm.{each}"][:, None, None] for each in ("running_mean", "running_var", "weight", "bias")
        )
        x = lrelu((x - mean) / (variance + 1e-5).sqrt() * gain + offset)
    return x.mean((2, 3))


def own_kernels(x: Tensor, kernels: Tensor) -> Tensor:
    """Nine shifted products, one kernel per sample and channel."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (1, 1, 1, 1))
    shifted = (
        padded[..., i : i + height, j : j + width] * kernels[..., i, j, None, None] for i in range(3) for j in range(3)
    )
    return sum(shifted, torch.zeros_like(x))


def adapted(x: Tensor, degradation: Tensor, weights: Weights, name: str) -> Tensor:
    kernels = lrelu(degradation @ weights[f"{name}.kernel.0.weight"].T) @ weights[f"{name}.kernel.2.weight"].T
    first = conv(lrelu(own_kernels(x, kernels.view(*x.shape[:2], 3, 3))), weights, f"{name}.conv")
    narrow = lrelu(conv(degradation[..., None, None], weights, f"{name}.ca.0"))
    return first + x / (1 + torch.exp(-conv(narrow, weights, f"{name}.ca.2")))


def block(x: Tensor, degradation: Tensor, weights: Weights, name: str) -> Tensor:
    y = lrelu(conv(lrelu(adapted(x, degradation, weights, f"{name}.da_conv1")), weights, f"{name}.conv1"))
    return x + conv(lrelu(adapted(y, degradation, weights, f"{name}.da_conv2")), weights, f"{name}.conv2")


def restored(x: Tensor, weights: Weights, groups: int, blocks: int, steps: list[int]) -> Tensor:
    mean = 255 * torch.tensor([0.4488, 0.4371, 0.4040]).double().view(3, 1, 1)
    x = 255 * x
    degradation = lrelu(represented(x, weights) @ weights["restorer.compress.weight"].T)
    shallow = y = conv(x - mean, weights, "restorer.head")
    for group in range(groups):
        before = y
        for number in range(blocks):
            y = block(y, degradation, weights, f"restorer.groups.{group}.blocks.{number}")
        y = before + conv(y, weights, f"restorer.groups.{group}.conv")
    y = shallow + conv(y, weights, "restorer.conv_body")
    for number, step in enumerate(steps):
        y = F.pixel_shuffle(conv(y, weights, f"restorer.upconvs.{number}"), step)
    return (conv(y, weights, "restorer.conv_last") + mean) / 255


@pytest.mark.parametrize(("scale", "steps"), [(2, [2]), (3, [3]), (4, [2, 2])])
@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
def test_it_computes_its_definition(scale: int, steps: list[int], size: tuple[int, int]) -> None:
    network = random_network("dasr", scale=scale, groups=2, blocks=2)
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    expected = restored(x, network.state_dict(), 2, 2, steps)
    torch.testing.assert_close(network(x), expected, rtol=1e-6, atol=1e-6)  # the constant mean is one of float32
    assert network.encoder(x).shape == (2, 4 * 8)
    torch.testing.assert_close(network.encoder(x), represented(255 * x, network.state_dict()), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("channels_last", [False, True])
def test_every_sample_and_channel_is_convolved_with_its_own_kernel(channels_last: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    kernels = torch.randn(3, 4, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    given = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    found, expected = depthwise(given, kernels), own_kernels(x, kernels)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert found.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    weights = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    for first, second in zip(*(torch.autograd.grad(y, (x, kernels), weights) for y in (found, expected)), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)


def test_gradients_reach_every_parameter() -> None:
    network = random_network("dasr")
    network(torch.rand(2, 3, 8, 9, dtype=torch.float64)).square().mean().backward()
    assert [name for name, parameter in network.named_parameters() if not parameter.grad.any()] == []


def test_the_range_of_pixel_values_inside_is_an_option() -> None:
    x = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    wide, narrow = random_network("dasr"), random_network("dasr", rgb_range=1.0)
    weights = {name: value.clone() for name, value in wide.state_dict().items()}
    for name in weights:
        if name.startswith("restorer.") and name.endswith(".bias"):
            weights[name] /= 255  # homogeneous activations: only offsets know the unit
        if name.startswith("encoder.layers.0.conv.weight"):
            weights[name] *= 255
    narrow.load_state_dict(weights)
    torch.testing.assert_close(narrow(x), wide(x), rtol=1e-9, atol=1e-9)


def test_the_mean_is_a_constant_and_no_parameter() -> None:
    assert not any("mean" in name and "running" not in name for name in DASR(features=8, groups=1).state_dict())


def test_a_pair_on_disk_keeps_the_running_statistics_and_runs_as_the_networks_do(tmp_path: Path) -> None:
    x = torch.rand(2, 3, 9, 8)
    networks = [build("dasr", **SMALL["dasr"]).train() for _ in range(2)]
    for number, network in enumerate(networks):
        network(x)  # moves the statistics
        save_network(tmp_path / f"{number}.safetensors", network.eval(), "dasr", SMALL["dasr"], {})
    loaded = load_network(tmp_path / "1.safetensors").network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in networks[1].state_dict().items())
    pair = ModelPair.load(tmp_path / "0.safetensors", tmp_path / "1.safetensors")
    networks[0].load_state_dict(
        {name: value for name, value in networks[1].state_dict().items() if "running" in name}, strict=False
    )  # along the path the statistics are the target's
    with torch.no_grad():
        torch.testing.assert_close(pair.run(pair.baseline, x), networks[0](x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(pair.run(pair.target, x), networks[1](x), rtol=1e-4, atol=1e-5)
