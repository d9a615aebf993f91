# SPDX-License-Identifier: Apache-2.0
"""The counter against counts by hand, and the number of blocks that matches them."""

import pytest
import torch
from torch import nn

from filterlens.errors import UsageError
from filterlens.models.architectures import build
from filterlens.models.complexity import complexity, matched_blocks


def srresnet_by_hand(scale: int, features: int, blocks: int) -> float:
    """Multiply-adds per LR pixel, layer by layer."""
    body = 3 * features * 9 + blocks * 2 * features**2 * 9
    tail, area = 0, 1
    for step in {2: [2], 3: [3], 4: [2, 2]}[scale]:
        tail += area * features**2 * step**2 * 9
        area *= step**2
    return body + tail + area * (features**2 + 3 * features) * 9


def conditional_block(features: int, conditions: int) -> int:
    """Its convolutions per pixel."""
    return ((features + conditions) ** 2 + (features + conditions) * features) * 9


def attention(features: int) -> int:
    """Its convolutions per image."""
    return 2 * features * (features // 16)


def dan_by_hand(scale: int, pixels: int) -> float:
    tail = {2: 64 * 256 * 9 + 4 * 64 * 3 * 9, 4: 5 * 64 * 256 * 9 + 16 * 64 * 3 * 9}[scale]
    restorer = 3 * 64 * 9 + 40 * conditional_block(64, 10) + 64 * 64 * 9 + tail
    estimator = 3 * 32 + 3 * 32 * 81 + 5 * conditional_block(32, 32) + 32 * 10 * 9
    return 4 * (restorer + estimator + (40 * attention(64) + 5 * attention(32)) / pixels)


def dasr_by_hand(scale: int, pixels: int) -> float:
    encoder = 9 * (3 * 64 + 64**2 + (64 * 128 + 128**2) / 4 + (128 * 256 + 256**2) / 16)
    adapted = 9 * 64 + 64**2  # the predicted depthwise kernels, and the convolution after them
    predicted = 64 * 64 + 64 * 576 + 2 * 64 * 8  # per image
    block = 2 * adapted + 2 * 64**2 * 9
    tail = {2: 64 * 256 * 9 + 4 * 64 * 3 * 9, 4: 5 * 64 * 256 * 9 + 16 * 64 * 3 * 9}[scale]
    restorer = 3 * 64 * 9 + 25 * block + 6 * 64**2 * 9 + tail
    return encoder + restorer + (256 * 64 + 50 * predicted) / pixels


@pytest.mark.parametrize(("scale", "features", "blocks"), [(2, 64, 16), (3, 8, 2), (4, 64, 16), (4, 16, 3)])
def test_an_srresnet_costs_what_its_layers_cost(scale: int, features: int, blocks: int) -> None:
    network = build("srresnet", scale=scale, features=features, blocks=blocks)
    counted = complexity(network)
    assert counted.multiply_adds == srresnet_by_hand(scale, features, blocks)
    assert counted.parameters == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("scale", "thousands"), [(2, 16_626), (4, 19_068)])
def test_dan_costs_four_restorers_and_four_estimators(scale: int, thousands: int) -> None:
    counted = complexity(build("dan", scale=scale), height=32, width=48).multiply_adds
    assert counted == pytest.approx(dan_by_hand(scale, 32 * 48), rel=1e-12)
    assert dan_by_hand(scale, 10**9) / 1000 == pytest.approx(thousands, abs=0.5)


@pytest.mark.parametrize(("scale", "thousands"), [(2, 2_603), (4, 3_214)])
def test_dasr_costs_its_convolutions_predicted_kernels_and_linear_layers(scale: int, thousands: int) -> None:
    counted = complexity(build("dasr", scale=scale), height=32, width=48).multiply_adds
    assert counted == pytest.approx(dasr_by_hand(scale, 32 * 48), rel=1e-12)
    assert dasr_by_hand(scale, 10**9) / 1000 == pytest.approx(thousands, abs=0.5)


def test_a_grouped_convolution_costs_its_groups_only() -> None:
    grouped = nn.Conv2d(3, 12, 5, padding=2, groups=3)
    assert complexity(grouped, height=4, width=7).multiply_adds == 12 * 25


def test_counting_leaves_the_network_where_it_is() -> None:
    network = build("dasr", features=8, groups=1, blocks=1).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    complexity(network)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("architecture", "scale", "blocks"), [("dasr", 2, 31), ("dasr", 4, 25), ("dan", 2, 221), ("dan", 4, 240)]
)
def test_the_peers_are_matched_by_so_many_blocks(architecture: str, scale: int, blocks: int) -> None:
    assert matched_blocks(complexity(build(architecture, scale=scale)).multiply_adds, scale) == blocks


@pytest.mark.parametrize("wanted", [1.0, 30_000.0, 71_000.0, 143_210.0])
def test_no_other_number_of_blocks_comes_nearer(wanted: float) -> None:
    distances = [abs(srresnet_by_hand(2, 16, blocks) - wanted) for blocks in range(1, 60)]
    assert matched_blocks(wanted, 2, features=16) == 1 + distances.index(min(distances))


@pytest.mark.parametrize("wanted", [0.0, -5.0, float("nan")])
def test_a_network_that_costs_nothing_is_refused(wanted: float) -> None:
    with pytest.raises(UsageError, match=f"{wanted} multiply-adds per pixel"):
        matched_blocks(wanted, 2)
