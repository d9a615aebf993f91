# SPDX-License-Identifier: Apache-2.0
"""Networks that ask for sizes or one channel, or fuse branches, take any RGB image and keep their weights."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from filterlens import FAIG, FilterlensError, FilterSpace, ModelPair, Quadrature
from filterlens.execution.tiled_network import TiledNetwork
from filterlens.models.any_image import Needs, padded, scale_and_needs, taking_any_image


class Picky(nn.Module):
    """Refuses sizes that are no multiples, too small, or not square; x2."""

    def __init__(self, multiple: int = 8, minimum: int = 16, square: bool = False, channels: int = 3) -> None:
        super().__init__()
        self.multiple, self.minimum, self.square = multiple, minimum, square
        self.conv = nn.Conv2d(channels, 4 * channels, 3, padding=1)

    def forward(self, x):
        height, width = x.shape[-2:]
        if height % self.multiple or width % self.multiple or min(height, width) < self.minimum:
            raise ValueError("size")
        if self.square and height != width:
            raise ValueError("not square")
        return F.pixel_shuffle(self.conv(x), 2)


def test_any_size_goes_through_and_legal_sizes_are_untouched():
    network = Picky()
    wrapped = taking_any_image(network, 2, Needs(8, 16))
    x = torch.rand(2, 3, 24, 32)
    assert torch.equal(wrapped(x), network(x))
    for height, width in ((5, 40), (17, 33), (1, 1)):
        assert wrapped(torch.rand(1, 3, height, width)).shape == (1, 3, 2 * height, 2 * width)


def test_what_is_padded_is_reflected_and_cut_back():
    network = Picky()
    x = torch.rand(1, 3, 20, 29)
    expected = network(F.pad(x, (0, 3, 0, 4), "reflect"))[..., :40, :58]
    assert torch.equal(taking_any_image(network, 2, Needs(8, 16))(x), expected)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 60), st.integers(0, 60))
def test_padding_keeps_the_image_and_reflects_as_far_as_it_can(height, width, below, right):
    x = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))
    y = padded(x, height + below, width + right)
    assert y.shape == (1, 1, height + below, width + right)
    assert torch.equal(y[..., :height, :width], x)
    for step in range(1, min(right, width - 1) + 1):
        assert torch.equal(y[..., :height, width - 1 + step], x[..., width - 1 - step])


def test_parameter_names_and_the_given_network_stay():
    network = Picky().train()
    before = copy.deepcopy(network.state_dict())
    wrapped = taking_any_image(network, 2, Needs(8, 16))
    assert list(wrapped.state_dict()) == list(before)
    assert FilterSpace(wrapped) == FilterSpace(network)
    assert type(network) is Picky
    assert network.training
    assert isinstance(wrapped, Picky)
    with torch.no_grad():
        wrapped.conv.weight.zero_()
    assert torch.equal(network.conv.weight, before["conv.weight"])


def test_gradients_and_copies_go_through_a_pair():
    torch.manual_seed(0)
    pair = ModelPair(taking_any_image(Picky(), 2, Needs(8, 16)), taking_any_image(Picky(), 2, Needs(8, 16)), scale=2)
    x = torch.rand(1, 3, 13, 21)
    truth = torch.rand(1, 3, 26, 42)
    value, gradient = pair.differentiate(pair.at(0.5), x, lambda output: F.mse_loss(output, truth))
    network = pair.network(pair.at(0.5))
    loss = F.mse_loss(network(x), truth)
    loss.backward()
    torch.testing.assert_close(value, loss.detach())
    torch.testing.assert_close(gradient, torch.cat([each.grad.flatten() for each in network.parameters()]))


def test_a_gray_network_restores_every_colour_channel_for_itself():
    network = Picky(1, 1, channels=1)
    wrapped = taking_any_image(network, 2, Needs(channels=1))
    x = torch.rand(2, 3, 9, 7)
    expected = torch.cat([network(x[:, channel : channel + 1]) for channel in range(3)], 1)
    torch.testing.assert_close(wrapped(x), expected)


def test_a_network_that_writes_into_its_input_does_not_change_the_users_image():
    class Writes(Picky):
        def forward(self, x):
            x *= 255
            return super().forward(x)

    x = torch.rand(1, 3, 16, 16)
    before = x.clone()
    with torch.no_grad():
        taking_any_image(Writes(), 2, Needs(8, 16))(x)
    assert torch.equal(x, before)


def test_rows_stay_rows_where_a_training_asks_for_channels_last():
    wrapped = taking_any_image(Picky(), 2, Needs(8, 16)).to("cpu", memory_format=torch.channels_last)
    assert wrapped.conv.weight.is_contiguous()


def test_a_network_that_fails_says_so_by_name():
    with pytest.raises(FilterlensError, match="Picky fails on an image of 16x16: size"):
        taking_any_image(Picky(5), 2, Needs())


def test_a_network_without_a_gradient_is_refused():
    class Cut(Picky):
        def forward(self, x):
            return super().forward(x).detach()

    with pytest.raises(FilterlensError, match="Cut cannot be differentiated"):
        taking_any_image(Cut(1, 1), 2, Needs())


@pytest.mark.parametrize(
    ("multiple", "minimum", "square", "channels"),
    [(1, 1, False, 3), (8, 16, False, 3), (7, 7, False, 3), (12, 36, True, 3), (4, 32, False, 1), (64, 64, True, 1)],
)
def test_needs_are_found_by_trying(multiple, minimum, square, channels):
    network = Picky(multiple, minimum, square, channels).eval()
    assert scale_and_needs(network, "it") == (2, Needs(multiple, minimum, square, channels))


def test_a_network_that_shrinks_odd_images_needs_even_ones():
    class Halves(nn.Module):
        def forward(self, x):
            return F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0)

    assert scale_and_needs(Halves(), "it") == (1, Needs(2, 2))


@pytest.mark.parametrize("output", ["a text", torch.zeros(1, 5, 64, 64), torch.zeros(1, 3, 65, 65)])
def test_a_network_that_returns_no_image_says_what_it_returned(output):
    class Other(nn.Module):
        def forward(self, x):
            return output

    with pytest.raises(FilterlensError, match=r"it takes no image.*(str|\(5, 64, 64\)|\(3, 65, 65\))"):
        scale_and_needs(Other(), "it")


@pytest.fixture(scope="module")
def strided():
    """Networks that reduce inside by 4, for sizes that are multiples of 4."""
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 4, 4), nn.Tanh(), nn.Conv2d(8, 8, 3, padding=1),
            nn.ConvTranspose2d(8, 3, 4, 4),
        )  # fmt: skip
        made.append(taking_any_image(network, 1, Needs(4, 4)).double())
    return made


def test_a_padded_network_is_never_cut_into_wrong_tiles(strided):
    x = torch.rand(1, 3, 93, 107, dtype=torch.float64)
    with torch.no_grad():
        whole = strided[0](x)
    torch.testing.assert_close(TiledNetwork(strided[0], torch.device("cpu"), tile=48)(x), whole)


def test_a_padded_network_has_the_same_scores_with_little_memory(strided):
    pair = ModelPair(*strided, scale=1)
    x = torch.rand(3, 93, 107, dtype=torch.float64)
    rule = Quadrature("gauss-legendre", 2)
    whole, tiled = (FAIG(pair, quadrature=rule, memory=memory).attribute([x], ["blur:2"]) for memory in (1.0, 3e-3))
    torch.testing.assert_close(tiled.of("blur:2"), whole.of("blur:2"))
    assert whole.completeness_gap < 0.05


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
    wrapped, x = taking_any_image(network, 1, Needs()), torch.rand(1, 3, 9, 9)
    for mode in (wrapped, wrapped.eval(), wrapped.train().eval()):
        torch.testing.assert_close(mode(x), network.eval()(x), rtol=1e-5, atol=1e-6)
    wrapped(x).sum().backward()
    assert all(block.wide.weight.grad is not None for block in (wrapped.blocks[0], wrapped.blocks[3]))
    assert not wrapped.blocks[2].training  # dropout stays off


def test_fused_copies_and_frozen_weights_are_no_filters_but_named(network):
    space = FilterSpace(taking_any_image(network, 1, Needs()))
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
    assert set(taking_any_image(network, 1, Needs()).state_dict()) == set(network.state_dict())


def test_copies_inside_a_pair_stay_right_and_attribution_is_complete(network):
    torch.manual_seed(1)
    target = Network()
    target.mean.load_state_dict(network.mean.state_dict())
    pair = ModelPair(taking_any_image(network, 1, Needs()), taking_any_image(target, 1, Needs()), scale=1)
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
        taking_any_image(Network(error=0.01), 1, Needs())


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
    wrapped, x = taking_any_image(network, 1, Needs()), torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(wrapped(x), network.eval()(x))
    wrapped(x).sum().backward()
    assert wrapped[1].conv.weight.grad is not None


def test_a_network_that_its_owner_froze_altogether_is_taken_as_trainable():
    assert len(FilterSpace(taking_any_image(nn.Sequential(nn.Conv2d(3, 3, 1)).requires_grad_(False), 1, Needs()))) == 9
