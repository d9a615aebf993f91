# SPDX-License-Identifier: Apache-2.0
"""Networks of gray images, of RGB, and of RGB with a map: channels are measured, and everything works with them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterlens import FilterlensError, ModelPair, UsageError
from filterlens.attribution.engine import Engine
from filterlens.attribution.per_sample import patch_magnitudes
from filterlens.attribution.quadrature import Quadrature
from filterlens.diagnosis.overlap import Reading, input_magnitudes
from filterlens.evaluation.function_distance import function_distance
from filterlens.execution.inexact_tiles import near_tiling_of
from filterlens.execution.tiled_network import TiledNetwork
from filterlens.metrics import psnr, ssim
from filterlens.models.complexity import complexity, receptive_field
from tests.odd_networks import Plain, ends
from tests.oracles import faig_by_hand

KINDS = [(1, 1, 1), (2, 1, 1), (1, 4, 3), (2, 3, 1), (1, 1, 3), (1, 2, 2), (1, 6, 3), (1, 9, 3), (1, 12, 3)]


@pytest.mark.parametrize(("scale", "into", "out"), KINDS)
def test_channels_are_measured_with_the_scale(scale, into, out):
    pair = ModelPair(*ends(Plain, scale, into, out))
    assert (pair.scale, pair.channels_in, pair.channels_out) == (scale, into, out)
    images = torch.rand(2, into, 10, 12, dtype=torch.float64)
    assert pair.run(pair.target, images).shape == (2, out, 10 * scale, 12 * scale)
    with pytest.raises(
        UsageError, match=rf"shape \(batch, {into}, height, width\), not torch.float64 of \(1, 5, 8, 8\)"
    ):
        pair.run(pair.target, torch.rand(1, 5, 8, 8, dtype=torch.float64))


def test_rgb_is_taken_where_a_network_takes_any_number_of_channels():
    class Any(Plain):
        def forward(self, x):
            return super().forward(x.mean(1, keepdim=True).expand(-1, 3, -1, -1))

    pair = ModelPair(*ends(Any))
    assert (pair.channels_in, pair.channels_out) == (3, 3)


@pytest.mark.parametrize(("scale", "into", "out"), KINDS[:5])
def test_scores_of_any_channels_are_those_by_hand(scale, into, out):
    baseline, target = ends(Plain, scale, into, out)
    pair = ModelPair(baseline, target)
    images, truth = torch.rand(1, into, 9, 8).double(), torch.rand(1, out, 9 * scale, 8 * scale).double()
    wanted = faig_by_hand(baseline, target, images, truth, magnitudes=True)
    found = patch_magnitudes(pair, images, truth, quadrature=Quadrature("gauss-legendre", 16))[0]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(("scale", "into", "out"), KINDS[:4])
def test_tiles_halo_and_size_are_measured_with_the_channels(scale, into, out):
    baseline, target = ends(Plain, scale, into, out)
    pair = ModelPair(baseline, target)
    assert pair.tiling.halo == 2
    assert receptive_field(target, into) == 5 and near_tiling_of(target, scale, channels=into) is not None
    counted = complexity(target, channels=into).multiply_adds
    assert counted == 9 * (into * 6 + 6 * out * scale**2)
    images = torch.rand(1, into, 40, 50, dtype=torch.float64)
    whole = pair.run(pair.target, images)
    for blend in (0, 2):
        tiled = TiledNetwork(target, torch.device("cpu"), tile=16, blend=blend, channels=into)
        torch.testing.assert_close(tiled(images), whole, rtol=1e-9, atol=1e-9)
    engine = Engine(pair, "fp32", memory=1e5)  # forces tiles
    truth = torch.zeros_like(whole)
    loss = lambda output, reference: (output - reference).square().sum()  # noqa: E731
    value, gradient = engine.loss_and_gradient(pair.target, images, truth, loss)
    once, wanted = pair.differentiate(pair.target, images, lambda output: output.square().sum())
    torch.testing.assert_close(value, once, rtol=1e-9, atol=0)
    torch.testing.assert_close(gradient, wanted, rtol=1e-8, atol=1e-8)


def test_blended_seams_know_the_channels():
    class Whole(Plain):
        def forward(self, x):
            return super().forward(x) + x.mean()

    network = ends(Whole, 1, 1, 1)[0]
    tiled = TiledNetwork(network, torch.device("cpu"), tile=16, blend=2, channels=1)
    assert tiled(torch.rand(1, 1, 40, 50).double()).shape == (1, 1, 40, 50)


def test_an_input_is_judged_by_a_network_of_its_channels():
    pair = ModelPair(*ends(Plain, 1, 1, 1))
    shares = input_magnitudes(pair, torch.rand(1, 1, 64, 64).double(), reading=Reading(objective="target"))
    assert float(shares.sum()) == pytest.approx(1)
    with pytest.raises(UsageError, match=r"must have the shape \(1, 1, height, width\)"):
        input_magnitudes(pair, torch.rand(1, 3, 64, 64).double())


def test_measures_of_gray_images_are_those_of_their_one_channel():
    first, second = torch.rand(1, 1, 24, 24), torch.rand(1, 1, 24, 24)
    squares = ((first * 255).round() / 255 - (second * 255).round() / 255).double()[..., 2:-2, 2:-2].square().mean()
    for channel in ("rgb", "y"):
        assert float(psnr(first, second, crop=2, channel=channel)) == pytest.approx(float(-10 * squares.log10()), 1e-5)
        assert 0 < float(ssim(first, first, crop=2, channel=channel)) <= 1
    three = first.expand(-1, 3, -1, -1), second.expand(-1, 3, -1, -1)
    torch.testing.assert_close(function_distance(first, second), function_distance(*three), rtol=1e-4, atol=1e-5)


def test_a_network_that_takes_no_image_says_what_happened_to_an_rgb_one():
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Conv2d(5, 3, 1)

        def forward(self, x):
            return F.relu(self.last(x))

    with pytest.raises(FilterlensError, match=r"cannot be measured: .*\(1, 3, 16, 24\)"):
        ModelPair(*ends(Rows))
