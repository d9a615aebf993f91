# SPDX-License-Identifier: Apache-2.0
"""Exact tiles: how an image is cut, and which networks may be cut at all."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from filterlens import UsageError
from filterlens.execution.tiling import Tiling, tiling_of
from filterlens.models.one_branch import SRCNNStyle, SRResNet

SIDES = st.integers(1, 300)
TILINGS = st.builds(Tiling, halo=st.integers(0, 24), multiple=st.sampled_from([1, 2, 4, 8]))


class Reducing(nn.Module):
    """An encoder that halves ``levels`` times and a decoder that doubles again, with skips; x2 at the end."""

    def __init__(self, levels=1):
        super().__init__()
        self.multiple = 2**levels
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(6, 6, 3, stride=2, padding=1) for _ in range(levels))
        self.up = nn.ModuleList(nn.Conv2d(6, 24, 3, padding=1) for _ in range(levels))
        self.last = nn.Conv2d(6, 12, 3, padding=1)

    def forward(self, x):
        height, width = x.shape[-2:]
        skips = [torch.tanh(self.first(F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))))]
        for conv in self.down:
            skips.append(torch.tanh(conv(skips[-1])))
        features = skips.pop()
        for conv in self.up:
            features = torch.tanh(F.pixel_shuffle(conv(features), 2)) + skips.pop()
        return F.pixel_shuffle(self.last(features), 2)[..., : 2 * height, : 2 * width]


class Strict(Reducing):
    """The same, but it refuses images that are no multiple of its grid."""

    def forward(self, x):
        if x.shape[-1] % self.multiple or x.shape[-2] % self.multiple:
            raise ValueError("sides must be multiples of the grid")
        return super().forward(x)


class Strided(nn.Module):
    """Cells of 4 × 4 pixels, which see their neighbours: what an output sees depends on its place in the cell."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 4, stride=4)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 3, 4, stride=4)

    def forward(self, x):
        height, width = x.shape[-2:]
        cells = torch.tanh(self.down(F.pad(x, (0, -width % 4, 0, -height % 4))))
        return self.up(self.middle(cells))[..., :height, :width]


class Pooled(nn.Module):
    """Each output pixel sees the mean of the whole image."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.conv(x) * x.mean((-2, -1), keepdim=True).sum(1, keepdim=True), 2)


class Flat(nn.Module):
    """Sees far up and down, little to the sides."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, (21, 3), padding=(10, 1))

    def forward(self, x):
        return self.conv(x)


class OneSided(nn.Module):
    """Sees some pixels to the left and others to the right."""

    def __init__(self, left, right):
        super().__init__()
        self.sides = (left, right)
        self.conv = nn.Conv2d(3, 3, (1, left + right + 1))

    def forward(self, x):
        return self.conv(F.pad(x, self.sides))


class Positioned(nn.Module):
    """Adds something that depends on where a pixel lies."""

    def forward(self, x):
        return x + torch.arange(x.shape[-1], dtype=x.dtype)


@given(SIDES, SIDES, TILINGS, st.integers(1, 300))
def test_cores_partition_the_image_and_windows_hold_the_halo_on_the_grid_within_the_limit(height, width, tiling, side):
    most_pixels = side * side
    try:
        tiles = tiling.split(height, width, most_pixels)
    except UsageError:
        assert side < tiling.least
        return
    count = torch.zeros(height, width, dtype=torch.int64)
    for tile in tiles:
        tile.place(count).add_(1)
        assert tile.pixels <= most_pixels
        for span, length in ((tile.rows, height), (tile.columns, width)):
            assert 0 <= span.first <= span.start < span.stop <= span.last <= length
            assert span.first % tiling.multiple == 0
            assert span.last % tiling.multiple == 0 or span.last == length
            assert span.first <= max(0, span.start - tiling.halo)
            assert span.last >= min(length, span.stop + tiling.halo)
    assert bool((count == 1).all())


@given(SIDES, SIDES, TILINGS, st.integers(1, 3))
def test_window_core_and_place_fit_together(height, width, tiling, scale):
    whole = torch.arange(height * width * scale**2).view(height * scale, width * scale)
    rebuilt = torch.full_like(whole, -1)
    image = whole[::scale, ::scale]
    for tile in tiling.split(height, width, max(tiling.least**2, height * width // 5)):
        assert tile.window(image).numel() == tile.pixels
        rows, columns = (slice(span.first * scale, span.last * scale) for span in (tile.rows, tile.columns))
        tile.place(rebuilt, scale).copy_(tile.core(whole[rows, columns], scale))
    assert torch.equal(rebuilt, whole)


def test_an_image_within_the_limit_is_one_tile():
    (tile,) = Tiling(35).split(40, 50, 2000)
    assert (tile.pixels, tile.rows.stop, tile.columns.stop) == (2000, 40, 50)


def test_a_tile_smaller_than_its_halo_is_refused_with_the_least_that_is_legal():
    tiling = Tiling(halo=9, multiple=4)
    assert tiling.least == 12 + 4 + 12
    with pytest.raises(UsageError, match=r"783 LR pixels.*sees up to 9.*28 x 28"):
        tiling.split(500, 500, 28 * 28 - 1)
    assert max(tile.pixels for tile in tiling.split(500, 500, 28 * 28)) == 28 * 28


def test_the_cut_with_the_least_work_is_taken():
    best = sum(tile.pixels for tile in Tiling(8).split(100, 200, 64 * 64))
    for step_down in range(1, 100):
        for step_across in range(1, 200):
            if min(step_down + 16, 100) * min(step_across + 16, 200) <= 64 * 64:
                down = sum(min(s + step_down + 8, 100) - max(0, s - 8) for s in range(0, 100, step_down))
                across = sum(min(s + step_across + 8, 200) - max(0, s - 8) for s in range(0, 200, step_across))
                assert best <= down * across


def test_a_large_image_is_cut_at_once():
    tiles = Tiling(35).split(20_000, 30_000, 256 * 256)
    assert max(tile.pixels for tile in tiles) <= 256 * 256


@pytest.mark.parametrize(
    ("network", "scale", "halo", "multiple"),
    [
        (SRResNet(2, 8, 2), 2, 7, 1),  # 1 + 2·2 + 1 in LR pixels, 2 in HR pixels
        (SRResNet(3, 8, 2), 3, 7, 1),
        (SRCNNStyle(2), 2, 8, 1),  # 7 in LR pixels, 2 in HR pixels
        (Flat(), 1, 10, 1),
        (OneSided(0, 5), 1, 5, 1),
        (OneSided(5, 0), 1, 5, 1),
        (nn.Conv2d(3, 3, 1), 1, 0, 1),
        (nn.Conv2d(3, 3, 3, padding=4, dilation=4), 1, 4, 1),
        (nn.Sequential(nn.Conv2d(3, 48, 4, stride=4), nn.PixelShuffle(4)), 1, 0, 4),
        (Strided(), 1, 4, 4),
        (nn.Conv2d(3, 3, 3, padding=111, dilation=111), 1, 111, 1),
    ],
)
def test_halo_and_multiple_are_those_of_the_architecture(network, scale, halo, multiple):
    torch.manual_seed(0)
    assert tiling_of(network, scale) == Tiling(halo, multiple)


@pytest.mark.parametrize("kind", [Reducing, Strict])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_network_that_reduces_is_cut_on_its_grid(kind, levels):
    torch.manual_seed(0)
    found = tiling_of(kind(levels), 2)
    assert found is not None and found.multiple == 2**levels


@pytest.mark.parametrize(
    "network", [Pooled(), Positioned(), nn.Conv2d(1, 1, 1), nn.Conv2d(3, 3, 3, padding=112, dilation=112)]
)
def test_networks_that_cannot_be_cut_exactly_are_known(network):
    assert tiling_of(network, 2 if isinstance(network, Pooled) else 1) is None


def test_tiles_of_cells_are_exact():
    torch.manual_seed(0)
    network, x = Strided().double(), torch.rand(1, 3, 61, 75, dtype=torch.float64)
    tiling = tiling_of(network, 1)
    rebuilt = torch.full_like(x, torch.nan)
    with torch.no_grad():
        for tile in tiling.split(61, 75, 24 * 24):
            tile.place(rebuilt).copy_(tile.core(network(tile.window(x))))
        torch.testing.assert_close(rebuilt, network(x), rtol=0, atol=1e-12)


def test_the_network_is_left_as_it_was():
    network = SRResNet(2, 8, 1).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tiling_of(network, 2)
    assert network.training and all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.conv_first.weight.dtype == torch.float32
