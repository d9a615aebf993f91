# SPDX-License-Identifier: Apache-2.0
"""Blended seams: only where asked for, smooth, and never where exact tiles exist."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterlens import FilterlensError, UsageError
from filterlens.execution.blending import blended, windows
from filterlens.execution.tiled_network import TiledNetwork
from filterlens.models.one_branch import SRResNet
from tests.execution.test_tiled_network import CPU, Counting, image
from tests.execution.test_tiling import Pooled


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
