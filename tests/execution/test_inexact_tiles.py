# SPDX-License-Identifier: Apache-2.0
"""Near tiles agree with the whole image as far as anyone can see; seams are blended only where asked for, smoothly."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterlens import FilterlensError, UsageError
from filterlens.data.images import to_float
from filterlens.data.photographs import photograph, square
from filterlens.execution.inexact_tiles import HALOS, TOLERANCE, blended, near_tiling_of, windows
from filterlens.execution.tiled_network import TiledNetwork
from filterlens.execution.tiling import Tiling, tiling_of
from filterlens.models.one_branch import SRResNet
from tests.execution.test_tiled_network import CPU, Counting, image
from tests.execution.test_tiling import Pooled

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


class Whole(nn.Module):
    """Depends on the mean of all that it sees: x2, and every tile is shifted by its own mean."""

    def forward(self, x):
        return F.interpolate(x, scale_factor=2) + x.mean((2, 3), keepdim=True)


@pytest.mark.parametrize("length", [10, 20, 21, 33, 57, 100])
@pytest.mark.parametrize(("side", "overlap"), [(20, 1), (20, 10), (16, 5)])
def test_windows_cover_everything_and_share_enough(length, side, overlap):
    parts = windows(length, side, overlap)
    assert parts[0].start == 0 and parts[-1].stop == length
    assert all(part.stop - part.start <= side for part in parts)
    for first, second in pairwise(parts):
        assert first.stop - second.start == first.fade_out == second.fade_in >= overlap
    assert parts[0].fade_in == parts[-1].fade_out == 0


@pytest.mark.parametrize("size", [(33, 57), (20, 41), (64, 10)])
def test_where_tiles_agree_blending_changes_nothing(size):
    x = image(*size)
    doubled = blended(lambda part: F.interpolate(part, scale_factor=2), x, scale=2, most_pixels=400, overlap=7)
    torch.testing.assert_close(doubled, F.interpolate(x, scale_factor=2), rtol=0, atol=1e-6)


def test_a_seam_is_a_straight_line_from_one_tile_to_the_other():
    """Two tiles of constant 0 and 1: the blend rises by equal steps over the overlap, as the formula says."""
    values = iter((0.0, 1.0))
    found = blended(
        lambda part: torch.full_like(part, next(values)), torch.zeros(1, 3, 8, 24), scale=1, most_pixels=256, overlap=8
    )[0, 0, 0]
    expected = [0.0] * 8 + [(step + 0.5) / 8 for step in range(8)] + [1.0] * 8
    torch.testing.assert_close(found, torch.tensor(expected))


def test_no_jump_remains_at_the_seams():
    torch.manual_seed(0)
    x = torch.cumsum(torch.rand(1, 3, 1, 59, dtype=torch.float64), -1).expand(1, 3, 59, 59) / 59
    cut = blended(Whole(), x, scale=2, most_pixels=900, overlap=1)
    faded = blended(Whole(), x, scale=2, most_pixels=900, overlap=15)
    jump = lambda y: y.diff(dim=-1).abs().max()  # noqa: E731
    assert jump(faded) < 0.5 * jump(cut)


def test_blending_is_not_used_unless_asked_for():
    network, x = Pooled().double(), image(40, 50)
    with torch.no_grad():
        whole = network(x)
    torch.testing.assert_close(TiledNetwork(network, CPU, tile=20)(x), whole, rtol=0, atol=1e-12)
    notes = []
    tiled = TiledNetwork(network, CPU, tile=20, blend=5, note=notes.append)
    assert not torch.allclose(tiled(x), whole)
    tiled(x)
    assert len(notes) == 1 and "seams are blended" in notes[0]


def test_exact_tiles_are_exact_even_where_blending_is_allowed():
    torch.manual_seed(0)
    network, x = SRResNet(2, 8, 2).double(), image(61, 47)
    with torch.no_grad():
        torch.testing.assert_close(TiledNetwork(network, CPU, tile=31, blend=8)(x), network(x), rtol=0, atol=1e-12)


def test_blended_tiles_become_smaller_where_memory_runs_out():
    counting = Counting(Pooled().double(), limit=2500, error=MemoryError())
    tiled = TiledNetwork(counting, CPU, blend=8)
    assert tiled(image(90, 100)).shape[-1] == 100 * tiled.scale
    assert max(counting.pixels) <= 2500
    tight = TiledNetwork(Counting(Pooled().double(), limit=1050, error=MemoryError()), CPU, blend=20)
    with pytest.raises(FilterlensError, match="even in tiles of 1600"):
        tight(image(90, 100))


def test_overlaps_that_are_not_legal_are_refused():
    with pytest.raises(UsageError, match="An overlap of -1 pixels"):
        TiledNetwork(Pooled(), CPU, blend=-1)
    with pytest.raises(UsageError, match="An overlap of 11 LR pixels does not suit tiles of 20: from 1 to 10"):
        blended(Whole(), image(40, 50), scale=2, most_pixels=400, overlap=11)
