# SPDX-License-Identifier: Apache-2.0
"""Networks that ask for sizes or one channel take any RGB image, and are otherwise as they were."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from filterlens import FAIG, FilterlensError, FilterSpace, ModelPair, Quadrature
from filterlens.jobs.restore import Restorer
from filterlens.models.fitted import Needs, fitted, padded
from filterlens.models.probing import scale_and_needs


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
    wrapped = fitted(network, 2, Needs(8, 16))
    x = torch.rand(2, 3, 24, 32)
    assert torch.equal(wrapped(x), network(x))
    for height, width in ((5, 40), (17, 33), (1, 1)):
        assert wrapped(torch.rand(1, 3, height, width)).shape == (1, 3, 2 * height, 2 * width)


def test_what_is_padded_is_reflected_and_cut_back():
    network = Picky()
    x = torch.rand(1, 3, 20, 29)
    expected = network(F.pad(x, (0, 3, 0, 4), "reflect"))[..., :40, :58]
    assert torch.equal(fitted(network, 2, Needs(8, 16))(x), expected)


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
    wrapped = fitted(network, 2, Needs(8, 16))
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
    pair = ModelPair(fitted(Picky(), 2, Needs(8, 16)), fitted(Picky(), 2, Needs(8, 16)), scale=2)
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
    wrapped = fitted(network, 2, Needs(channels=1))
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
        fitted(Writes(), 2, Needs(8, 16))(x)
    assert torch.equal(x, before)


def test_rows_stay_rows_where_a_training_asks_for_channels_last():
    wrapped = fitted(Picky(), 2, Needs(8, 16)).to("cpu", memory_format=torch.channels_last)
    assert wrapped.conv.weight.is_contiguous()


def test_a_network_that_fails_says_so_by_name():
    with pytest.raises(FilterlensError, match="Picky fails on an image of 16x16: size"):
        fitted(Picky(5), 2, Needs())


def test_a_network_without_a_gradient_is_refused():
    class Cut(Picky):
        def forward(self, x):
            return super().forward(x).detach()

    with pytest.raises(FilterlensError, match="Cut cannot be differentiated"):
        fitted(Cut(1, 1), 2, Needs())


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
        made.append(fitted(network, 1, Needs(4, 4)).double())
    return made


def test_a_padded_network_is_never_cut_into_wrong_tiles(strided):
    x = torch.rand(1, 3, 93, 107, dtype=torch.float64)
    with torch.no_grad():
        whole = strided[0](x)
    torch.testing.assert_close(Restorer(strided[0], torch.device("cpu"), tile=48)(x), whole)


def test_a_padded_network_has_the_same_scores_with_little_memory(strided):
    pair = ModelPair(*strided, scale=1)
    x = torch.rand(3, 93, 107, dtype=torch.float64)
    rule = Quadrature("gauss-legendre", 2)
    whole, tiled = (FAIG(pair, quadrature=rule, memory=memory).attribute([x], ["blur:2"]) for memory in (1.0, 3e-3))
    torch.testing.assert_close(tiled.of("blur:2"), whole.of("blur:2"))
    assert whole.completeness_gap < 0.05
