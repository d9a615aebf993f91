# SPDX-License-Identifier: Apache-2.0
"""What the tools around a network make of DAN and DASR, which share weights, predict kernels and see whole images."""

from functools import partial

import pytest
import torch

from filterlens.attribution import per_sample
from filterlens.attribution.faig import SquaredDistance
from filterlens.attribution.quadrature import Quadrature
from filterlens.execution.rematerialise import rematerialised
from filterlens.models.complexity import receptive_field
from filterlens.pair import ModelPair
from tests.models.two_branches import random_network

BOTH = pytest.mark.parametrize("architecture", ["dan", "dasr"])


def small_pair(architecture: str) -> ModelPair:
    baseline, other = (random_network(architecture, seed) for seed in (0, 1))
    target = random_network(architecture, seed=0)
    with torch.no_grad():
        for parameter, new in zip(target.parameters(), other.parameters(), strict=True):
            parameter.lerp_(new, 0.2)
    return ModelPair(baseline, target)


def images(pair: ModelPair) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = ((9, 12), (9 * pair.scale, 12 * pair.scale))
    x, truth = (torch.rand(3, 3, *size, generator=generator, dtype=torch.float64) for size in sizes)
    return x, truth


@BOTH
def test_they_see_the_whole_image_and_are_not_cut_into_tiles(architecture: str) -> None:
    assert receptive_field(random_network(architecture)) is None
    assert small_pair(architecture).tiling is None


@BOTH
def test_the_path_integral_of_the_gradient_is_the_change_of_the_loss(architecture: str) -> None:
    pair = small_pair(architecture)
    x, truth = images(pair)

    def loss(output: torch.Tensor) -> torch.Tensor:
        return ((output - truth) ** 2).sum()

    gradients = [
        weight * pair.differentiate(pair.at(alpha), x, loss)[1] for alpha, weight in Quadrature("gauss-legendre", 24)
    ]
    change = float(loss(pair.run(pair.target, x)) - loss(pair.run(pair.baseline, x)))
    assert float(sum(gradients, torch.tensor(0.0)) @ pair.change) == pytest.approx(change, rel=1e-3)


@BOTH
@pytest.mark.parametrize("way", [per_sample._one_by_one, per_sample._all_at_once])
def test_gradients_of_single_samples_are_those_of_each_sample_alone(architecture: str, way) -> None:
    pair = small_pair(architecture)
    x, truth = images(pair)
    found = way(pair, pair.at(0.3), x, truth, SquaredDistance(), "fp32")
    network = pair.network(pair.at(0.3))
    for row, image, wanted in zip(found, x, truth, strict=True):
        gradients = torch.autograd.grad(((network(image[None]) - wanted[None]) ** 2).sum(), list(network.parameters()))
        expected = torch.cat([each.flatten() for each in gradients])
        torch.testing.assert_close(row, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("architecture", "options"), [("dan", {"blocks": 4}), ("dasr", {"groups": 1, "blocks": 4})])
def test_blocks_that_forget_their_activations_give_the_same_gradients(architecture: str, options: dict) -> None:
    pair = ModelPair(*(random_network(architecture, seed, **options) for seed in (0, 1)))
    assert {len(blocks) for blocks in pair.blocks} >= {4}
    x, truth = images(pair)
    differentiate = partial(pair.differentiate, pair.target, x, lambda output: ((output - truth) ** 2).sum())
    _, expected = differentiate()
    with rematerialised(pair.blocks):
        _, found = differentiate()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@BOTH
def test_the_layout_of_the_input_changes_nothing_but_the_speed(architecture: str) -> None:
    network = random_network(architecture)
    x = torch.rand(2, 3, 10, 8, dtype=torch.float64)
    last = network.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, random_network(architecture)(x), rtol=1e-10, atol=1e-10)


@BOTH
def test_bf16_differs_from_fp32_by_its_rounding_only(architecture: str) -> None:
    network = random_network(architecture).float()
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        exact = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(x)
    error = float((rounded - exact).norm() / exact.norm())
    assert 1e-5 < error < 0.03
