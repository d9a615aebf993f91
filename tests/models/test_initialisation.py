# SPDX-License-Identifier: Apache-2.0
"""Networks without a skip begin as upsamplers, and every weight can learn."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.models.architectures import build
from filterlens.models.initialisation import start_near_identity

SIZES: dict[str, dict[str, Any]] = {
    "srcnn-style": {},
    "dan": {"features": 32, "blocks": 8, "estimator_blocks": 1},
    "dasr": {"features": 32, "groups": 1, "blocks": 5},
}


def started(architecture: str, scale: int) -> nn.Module:
    torch.manual_seed(0)
    network = build(architecture, scale=scale, **SIZES[architecture])
    start_near_identity(network)
    return network


def inner(images: Tensor) -> Tensor:
    """Without the borders, where convolutions see zeros."""
    return images[..., 8:-8, 8:-8]


def psnr(first: Tensor, second: Tensor) -> float:
    return float(-10 * (inner(first) - inner(second)).square().mean().log10())


@pytest.mark.parametrize("architecture", ["dan", "dasr"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_start_is_as_good_as_nearest_neighbour_upsampling(
    photograph: Tensor, architecture: str, scale: int
) -> None:
    lowered = F.interpolate(photograph, scale_factor=1 / scale, mode="bicubic", antialias=True).clamp(0, 1)
    nearest = psnr(F.interpolate(lowered, scale_factor=scale), photograph)
    with torch.no_grad():
        assert psnr(started(architecture, scale).eval()(lowered), photograph) > nearest
        torch.manual_seed(0)
        assert psnr(build(architecture, scale=scale, **SIZES[architecture]).eval()(lowered), photograph) < nearest - 10


@pytest.mark.parametrize("architecture", sorted(SIZES))
def test_gradients_reach_every_parameter(photograph: Tensor, architecture: str) -> None:
    network = started(architecture, 2)
    lowered = F.avg_pool2d(photograph, 2)[..., :16, :16]
    F.l1_loss(network(lowered), photograph[..., :32, :32]).backward()
    assert [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()] == []


def test_dans_estimator_begins_near_the_delta_kernels_code(photograph: Tensor) -> None:
    torch.manual_seed(0)
    network: Any = build("dan", **SIZES["dan"])
    network.set_basis(torch.randn(441, 10))
    start_near_identity(network)
    with torch.no_grad():
        codes = network.unroll(F.avg_pool2d(photograph, 2)).codes
    for code in codes:
        assert float((code - network.initial_code).norm()) < 0.1 * float(network.initial_code.norm())


def test_a_chain_gets_less_noise_and_ones_from_every_channel_to_all_its_sub_pixels() -> None:
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Conv2d(3, 5, 3), nn.LeakyReLU(), nn.Conv2d(5, 8, 5), nn.PixelShuffle(2))
    before = [chain[0].weight.detach().clone(), chain[2].weight.detach().clone()]
    start_near_identity(chain)
    first, second = 0.3 * before[0], 0.3 * before[1]
    for channel in range(3):
        first[channel, channel, 1, 1] += 1
    for row in range(8):
        second[row, row // 4, 2, 2] += 1
    assert torch.equal(chain[0].weight, first) and torch.equal(chain[2].weight, second)


def test_the_srcnn_style_network_starts_as_its_chain_does() -> None:
    network = started("srcnn-style", 2)
    torch.manual_seed(0)
    other = build("srcnn-style")
    start_near_identity(other.features)  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_srresnet_stays_as_it_is() -> None:
    network = build("srresnet", features=8, blocks=1)
    before = [parameter.clone() for parameter in network.parameters()]
    start_near_identity(network)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))
