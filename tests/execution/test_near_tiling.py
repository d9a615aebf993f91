# SPDX-License-Identifier: Apache-2.0
"""Tiles that agree with the whole image as far as anyone can see."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterlens.data.images import to_float
from filterlens.data.photographs import photograph, square
from filterlens.execution.near_tiling import HALOS, TOLERANCE, near_tiling_of
from filterlens.execution.tiled_network import TiledNetwork
from filterlens.execution.tiling import Tiling, tiling_of
from tests.execution.test_tiling import Pooled

CPU = torch.device("cpu")
REACH = 127


class Fading(nn.Module):
    """Every output is a mean over 255 × 255 pixels whose weights fade exponentially: ``rate ** distance``."""

    def __init__(self, rate, side=8):
        super().__init__()
        self.side = side
        weights = rate ** torch.arange(-REACH, REACH + 1).abs().double()
        self.weights = nn.Parameter((weights / weights.sum()).float())

    def forward(self, x):
        line = self.weights.to(x).expand(3, 1, 1, -1)
        across = F.conv2d(F.pad(x, (REACH, REACH, 0, 0)), line, groups=3)
        return F.conv2d(F.pad(across, (0, 0, REACH, REACH)), line.transpose(-1, -2), groups=3)


class Gridded(Fading):
    """The same on an image in which every cell of a grid has its mean added, as attention in windows has."""

    def forward(self, x):
        cells = F.avg_pool2d(x, self.side, ceil_mode=True, count_include_pad=False)
        cells = F.interpolate(cells, scale_factor=float(self.side))
        return super().forward(x + cells[..., : x.shape[-2], : x.shape[-1]])


class Weighing(Fading):
    """Weighs channels by means over the whole image, as channel attention does."""

    def forward(self, x):
        return super().forward(x) * torch.sigmoid(super().forward(x).mean((-2, -1), keepdim=True))


def beyond(network, halo):
    """The most that pixels of [0, 1] beyond a halo, on both sides, can change an output along one axis."""
    return float(2 * network.weights[REACH + halo + 1 :].detach().sum())


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.87, 0.9])
def test_the_halo_follows_from_how_fast_the_influence_fades(rate):
    network = Fading(rate)
    assert tiling_of(network, 1) is None
    found = near_tiling_of(network, 1)
    used = HALOS[HALOS.index(found.tiling.halo) - 1]
    suffices = [halo for halo in HALOS if beyond(network, halo) <= TOLERANCE]
    assert used <= suffices[0]  # random pixels change it by less than the worst ones
    assert found.error <= beyond(network, used)
    assert beyond(network, found.tiling.halo) <= 2 * TOLERANCE


def test_where_the_influence_fades_too_slowly_there_is_none():
    assert near_tiling_of(Fading(0.97), 1) is None


@pytest.mark.parametrize("network", [Pooled(), Weighing(0.5)], ids=["pooled", "channel attention"])
def test_what_depends_on_the_whole_image_is_noticed(network):
    scale = 2 if isinstance(network, Pooled) else 1
    assert near_tiling_of(network.eval(), scale) is None


def test_a_grid_is_kept_to_and_a_coarser_one_is_noticed():
    assert near_tiling_of(Gridded(0.5, 8), 1).tiling == Tiling(32, 16)
    assert near_tiling_of(Gridded(0.5, 16), 1).tiling == Tiling(32, 16)
    assert near_tiling_of(Gridded(0.5, 32), 1) is None


def test_a_network_that_refuses_strips_has_none():
    class Square(Fading):
        def forward(self, x):
            assert x.shape[-1] == x.shape[-2]
            return super().forward(x)

    assert near_tiling_of(Square(0.5), 1) is None


@pytest.mark.parametrize("network", [Fading(0.8), Gridded(0.5)], ids=["fading", "gridded"])
def test_a_photograph_in_tiles_is_the_photograph_whole_and_the_user_is_told(network):
    notes = []
    picture = to_float(square(photograph("coffee"), 240, 60, 180))
    tiled = TiledNetwork(network, CPU, tile=160, note=notes.append)
    counted = []
    tiled._network.register_forward_hook(lambda module, inputs, output: counted.append(inputs[0].shape[-2:].numel()))
    torch.testing.assert_close(tiled(picture), network(picture).detach(), rtol=0, atol=TOLERANCE)
    assert sum(pixels <= 160**2 and pixels > 9000 for pixels in counted) >= 4
    assert len(notes) == 1
    assert "agree with the whole image to" in notes[0]
    assert "--tile 0" in notes[0]
    TiledNetwork(network, CPU, tile=0, note=notes.append)(picture)
    assert len(notes) == 1
