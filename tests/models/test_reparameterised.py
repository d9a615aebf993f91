# SPDX-License-Identifier: Apache-2.0
"""Blocks that fuse their branches: the trained weights must count, or the network is refused."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterlens import FAIG, FilterlensError, FilterSpace, ModelPair, Quadrature
from filterlens.models.fitted import Needs, fitted


class Fusing(nn.Module):
    """A 3x3 and a 1x1 branch in training; one fused 3x3 kernel in evaluation."""

    def __init__(self, channels: int, error: float = 0.0) -> None:
        super().__init__()
        self.error = error
        self.wide, self.point = nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 1)
        self.fused = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        if self.training:
            return self.wide(x) + self.point(x)
        self.fused.weight.data = self.wide.weight.data + F.pad(self.point.weight.data, (1, 1, 1, 1)) + self.error
        self.fused.bias.data = self.wide.bias.data + self.point.bias.data
        return self.fused(x)


class Network(nn.Module):
    def __init__(self, error: float = 0.0) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.Sequential(Fusing(4, error), nn.Tanh(), nn.Dropout(0.5), Fusing(4, error))
        self.tail = nn.Conv2d(4, 3, 3, padding=1)
        self.never_called = nn.Conv2d(3, 3, 3)
        self.mean = nn.Conv2d(3, 3, 1).requires_grad_(False)

    def forward(self, x):
        return self.tail(self.blocks(self.head(self.mean(x))))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network()


def test_in_evaluation_the_trained_weights_would_not_count(network):
    """The trap itself: without help the branches get no gradient."""
    network.eval()(torch.rand(1, 3, 8, 8)).sum().backward()
    assert network.blocks[0].wide.weight.grad is None
    assert network.head.weight.grad is not None


def test_the_branches_count_and_the_output_is_the_fused_one(network):
    wrapped, x = fitted(network, 1, Needs()), torch.rand(1, 3, 9, 9)
    for mode in (wrapped, wrapped.eval(), wrapped.train().eval()):
        torch.testing.assert_close(mode(x), network.eval()(x), rtol=1e-5, atol=1e-6)
    wrapped(x).sum().backward()
    assert all(block.wide.weight.grad is not None for block in (wrapped.blocks[0], wrapped.blocks[3]))
    assert not wrapped.blocks[2].training  # dropout stays off


def test_fused_copies_and_frozen_weights_are_no_filters_but_named(network):
    space = FilterSpace(fitted(network, 1, Needs()))
    assert {"blocks.0.fused.weight", "blocks.3.fused.weight", "mean.weight"} <= set(space.left_out)
    names = [layer.name for layer in space.layers]
    assert names == [
        "head",
        "blocks.0.wide",
        "blocks.0.point",
        "blocks.3.wide",
        "blocks.3.point",
        "tail",
        "never_called",
    ]


def test_the_state_dict_keeps_its_names(network):
    assert set(fitted(network, 1, Needs()).state_dict()) == set(network.state_dict())


def test_copies_inside_a_pair_stay_right_and_attribution_is_complete(network):
    torch.manual_seed(1)
    target = Network()
    target.mean.load_state_dict(network.mean.state_dict())
    pair = ModelPair(fitted(network, 1, Needs()), fitted(target, 1, Needs()), scale=1)
    x = torch.rand(1, 3, 12, 12)
    for end, own in ((pair.baseline, network), (pair.target, target)):
        torch.testing.assert_close(pair.run(end, x), own.eval()(x).detach(), rtol=1e-5, atol=1e-6)
    found = FAIG(pair, quadrature=Quadrature("gauss-legendre", 24), precision="fp32").attribute(
        [torch.rand(3, 24, 24)], ["noise:0.1", "jpeg:30"]
    )
    assert found.completeness_gap < 1e-3
    scores, space = found.of("jpeg:30"), pair.space
    branch = space.layer("blocks.0.point")
    assert scores[branch.offset : branch.offset + branch.count].abs().sum() > 0
    idle = space.layer("never_called")
    assert scores[idle.offset : idle.offset + idle.count].abs().sum() == 0


def test_a_fused_weight_that_the_branches_do_not_give_is_refused():
    with pytest.raises(FilterlensError, match=r"'blocks\.0' \(Fusing\) computes with a fused weight.*Save the network"):
        fitted(Network(error=0.01), 1, Needs())


def test_a_block_that_writes_into_its_input_in_evaluation_is_differentiated_in_training_mode():
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, x):
            if self.training:
                return torch.cat([self.conv(x[:, :2]), x[:, 2:]], 1)
            x[:, :2] = self.conv(x[:, :2])
            return x

    network = nn.Sequential(nn.Conv2d(3, 4, 1), InPlace(), nn.Conv2d(4, 3, 1))
    wrapped, x = fitted(network, 1, Needs()), torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(wrapped(x), network.eval()(x))
    wrapped(x).sum().backward()
    assert wrapped[1].conv.weight.grad is not None


def test_a_network_that_its_owner_froze_altogether_is_taken_as_trainable():
    assert len(FilterSpace(fitted(nn.Sequential(nn.Conv2d(3, 3, 1)).requires_grad_(False), 1, Needs()))) == 9
