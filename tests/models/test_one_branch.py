# SPDX-License-Identifier: Apache-2.0
"""The one-branch networks against the published counts and against their definition written down a second time."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from filterlens import FilterSpace, load_network
from filterlens.errors import UsageError
from filterlens.models.architectures import ARCHITECTURES, build


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize(
    ("architecture", "scale", "parameters", "layers", "filters"),
    [
        ("srresnet", 2, 1_369_859, 36, 151_936),
        ("srresnet", 4, 1_517_571, 37, 168_320),  # the paper: 1.518 M
        ("srcnn-style", 2, 1_407_363, 9, 156_224),
    ],
)
def test_the_counts_are_those_of_the_paper(
    architecture: str, scale: int, parameters: int, layers: int, filters: int
) -> None:
    network = build(architecture, scale=scale)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert len(convolutions(network)) == layers
    assert sum(conv.out_channels * conv.in_channels for conv in convolutions(network)) == filters


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES.keys() - {"dncnn"}))
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_output_is_larger_by_the_scale(architecture: str, scale: int) -> None:
    with torch.no_grad():
        assert build(architecture, scale=scale)(torch.rand(2, 3, 5, 7)).shape == (2, 3, 5 * scale, 7 * scale)


def conv(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def shuffled(x: Tensor, step: int) -> Tensor:
    batch, channels, height, width = x.shape
    split = x.view(batch, channels // step**2, step, step, height, width)
    return split.permute(0, 1, 4, 2, 5, 3).reshape(batch, -1, height * step, width * step)


@pytest.mark.parametrize(("scale", "steps"), [(2, [2]), (3, [3]), (4, [2, 2])])
def test_srresnet_computes_its_definition(scale: int, steps: list[int]) -> None:
    network = build("srresnet", scale=scale, features=8, blocks=2).double()
    weights = {name: 0.3 * torch.randn_like(value) for name, value in network.state_dict().items()}
    network.load_state_dict(weights)
    x = torch.rand(2, 3, 6, 5, dtype=torch.float64)
    y = lrelu(conv(x, weights, "conv_first"))
    for block in range(2):
        y = y + conv(conv(y, weights, f"body.{block}.conv1").clamp(min=0), weights, f"body.{block}.conv2")
    for index, step in enumerate(steps, 1):
        y = lrelu(shuffled(conv(y, weights, f"upconv{index}"), step))
    y = conv(lrelu(conv(y, weights, "conv_hr")), weights, "conv_last")
    expected = y + F.interpolate(x, size=y.shape[-2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("scale", "layers", "steps"),
    [(2, (12, 15, 17), [2]), (3, (12, 15, 17), [3]), (4, (12, 15, 18, 20), [2, 2])],
)
def test_srcnn_style_computes_its_definition(scale: int, layers: tuple[int, ...], steps: list[int]) -> None:
    network = build("srcnn-style", scale=scale)
    weights = network.state_dict()
    x = torch.rand(1, 3, 6, 5)
    y = x
    for layer in (0, 2, 4, 6, 8, 10):
        y = lrelu(conv(y, weights, f"features.{layer}"))
    for layer, step in zip(layers, steps, strict=False):
        y = lrelu(shuffled(conv(y, weights, f"features.{layer}"), step))
    y = conv(lrelu(conv(y, weights, f"features.{layers[-2]}")), weights, f"features.{layers[-1]}")
    torch.testing.assert_close(network(x), y, rtol=1e-4, atol=1e-5)


def test_srresnet_without_its_last_layer_is_bilinear_upsampling() -> None:
    network = build("srresnet", scale=3, features=8, blocks=1)
    nn.init.zeros_(network.conv_last.weight)  # type: ignore[union-attr]
    ramp = torch.arange(6.0).expand(1, 3, 4, 6)
    expected = (torch.arange(18.0) - 1) / 3
    torch.testing.assert_close(network(ramp)[0, 0, 5], expected.clamp(0, 5))


def test_a_scale_that_no_network_has_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Scale 5 is not legal: .* 2, 3 or 4"):
        build("srresnet", scale=5)


def test_an_unknown_architecture_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        UsageError, match=r"'srresnt'. Did you mean 'srresnet'\? Legal: dan, dasr, dncnn, srcnn-style, srresnet"
    ):
        build("srresnt")


def test_an_option_that_the_architecture_lacks_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"option of srresnet 'block'. Did you mean 'blocks'"):
        build("srresnet", block=3)


def by_hand(x: Tensor, weights: dict[str, Tensor], layers: int) -> Tensor:
    y = x
    for layer in range(layers):
        y = F.conv2d(y, weights[f"model.{2 * layer}.weight"], weights[f"model.{2 * layer}.bias"], padding=1)
        y = torch.where(y > 0, y, 0) if layer < layers - 1 else y
    return x - y


def test_it_takes_what_a_plain_chain_predicts_off_the_image() -> None:
    torch.manual_seed(0)
    network, x = build("dncnn", features=6, layers=4), torch.rand(2, 3, 9, 13)
    with torch.no_grad():
        torch.testing.assert_close(network(x), by_hand(x, network.state_dict(), 4))


def test_counts_are_those_of_the_published_depth() -> None:
    network = build("dncnn")
    assert (
        sum(parameter.numel() for parameter in network.parameters())
        == 3 * 64 * 9 + 64 + 15 * (64 * 64 * 9 + 64) + 64 * 3 * 9 + 3
        == 557_443
    )
    assert (len(FilterSpace(network).layers), len(FilterSpace(network))) == (17, 61_824)


def test_it_begins_near_the_image_itself() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert (build("dncnn")(x) - x).abs().mean() < 0.3


def test_a_bare_state_dict_is_recognised_with_its_sizes(tmp_path: Path) -> None:
    save_file(build("dncnn", features=6, layers=5).state_dict(), tmp_path / "net.safetensors")
    loaded = load_network(tmp_path / "net.safetensors")
    assert (loaded.architecture, loaded.options) == ("dncnn", {"scale": 1, "features": 6, "layers": 5})


@pytest.mark.parametrize(("options", "message"), [({"scale": 2}, "its scale is 1"), ({"layers": 2}, "at least 3")])
def test_what_it_cannot_be_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build("dncnn", **options)
