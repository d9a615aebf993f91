# SPDX-License-Identifier: Apache-2.0
"""A network on images of any size: the same result in tiles, and less memory where it runs out."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterlens import FilterlensError, UsageError
from filterlens.execution.tiled_network import TiledNetwork
from filterlens.models.one_branch import SRCNNStyle, SRResNet
from tests.execution.test_tiling import Pooled, Reducing

CPU = torch.device("cpu")


def image(height, width, dtype=torch.float64):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(3), dtype=dtype)


class Counting(nn.Module):
    """Remembers on how many pixels a network and its copies are run; raises an error above a limit."""

    def __init__(self, network, limit=10**9, error=None):
        super().__init__()
        self.network, self.limit, self.error = network, limit, error
        self.pixels = []

    def __deepcopy__(self, memo):
        twin = Counting(copy.deepcopy(self.network, memo), self.limit, self.error)
        twin.pixels = self.pixels
        return twin

    def forward(self, x):
        pixels = x.shape[-2] * x.shape[-1]
        if pixels > self.limit:
            raise self.error
        self.pixels.append(pixels)
        return self.network(x)


NETWORKS = [
    pytest.param(lambda: SRResNet(2, 8, 2), 31, id="srresnet-x2"),
    pytest.param(lambda: SRResNet(3, 8, 2), 31, id="srresnet-x3"),
    pytest.param(lambda: SRCNNStyle(2), 33, id="srcnn-style-x2"),
    pytest.param(lambda: SRCNNStyle(3), 33, id="srcnn-style-x3"),
    pytest.param(lambda: Reducing(1), 33, id="reducing-by-2"),
    pytest.param(lambda: Reducing(2), 60, id="reducing-by-4"),
]


@pytest.mark.parametrize(("height", "width"), [(61, 47), (15, 99)])
@pytest.mark.parametrize(("make", "tile"), NETWORKS)
def test_an_image_in_tiles_equals_the_whole_image(make, tile, height, width):
    torch.manual_seed(0)
    network = make().double()
    counting = Counting(network)
    x = image(height, width)
    found = TiledNetwork(counting, CPU, tile=tile)(x)
    with torch.no_grad():
        torch.testing.assert_close(found, network(x), rtol=0, atol=1e-12)
    assert (height * width in counting.pixels) == (height * width <= tile * tile)


def test_only_images_above_the_limit_are_cut():
    counting = Counting(SRResNet(2, 8, 2))
    tiled = TiledNetwork(counting, CPU, tile=40)
    tiled(image(40, 40, torch.float32))
    assert counting.pixels == [1600]


def test_a_network_that_sees_everything_is_run_on_the_whole_image():
    network = Pooled().double()
    x = image(40, 50)
    with torch.no_grad():
        torch.testing.assert_close(TiledNetwork(network, CPU, tile=20)(x), network(x), rtol=0, atol=1e-12)


def test_without_tiles_everything_is_run_whole():
    counting = Counting(SRResNet(2, 8, 2))
    TiledNetwork(counting, CPU, tile=0)(image(50, 50, torch.float32))
    assert counting.pixels == [2500]


def test_bf16_in_tiles_equals_bf16_whole_within_its_rounding():
    torch.manual_seed(0)
    network = SRResNet(2, 8, 2)
    x = image(61, 47, torch.float32)
    whole, tiled = (TiledNetwork(network, CPU, precision="bf16", tile=tile)(x) for tile in (0, 31))
    assert whole.dtype == tiled.dtype == torch.float32
    torch.testing.assert_close(tiled, whole, rtol=2**-7, atol=2**-7)
    with torch.no_grad():
        assert not torch.equal(whole, network(x))


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 16777216 bytes."),
    ],
)
def test_tiles_become_half_as_large_where_memory_runs_out_and_stay_so(error):
    torch.manual_seed(0)
    network = SRResNet(2, 8, 2).double()
    counting, notes = Counting(network, limit=2500, error=error), []
    tiled = TiledNetwork(counting, CPU, note=notes.append)
    x = image(90, 100)
    with torch.no_grad():
        torch.testing.assert_close(tiled(x), network(x), rtol=0, atol=1e-12)
    assert notes == [
        "out of memory with 9000 LR pixels at once: going on in tiles of 4500",
        "out of memory with 4500 LR pixels at once: going on in tiles of 2250",
    ]
    tiled(x)
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("network", "tile", "words"),
    [
        (SRResNet(2, 8, 2), 0, "at 9000 LR pixels, without tiles. Try --tile 512"),
        (SRResNet(2, 8, 16), 80, "at 9000 LR pixels, even in tiles of 5041. Use smaller"),
        (Pooled(), None, "at 9000 LR pixels, and tiles are not exact for this network. Use smaller images"),
    ],
)
def test_where_no_tile_is_small_enough_the_error_says_what_to_do(network, tile, words):
    counting = Counting(network.double(), limit=5000, error=MemoryError())
    tiled = TiledNetwork(counting, CPU, tile=tile)
    with pytest.raises(FilterlensError, match=f"Out of memory on cpu.*{words}"):
        tiled(image(90, 100))


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="size mismatch"):
        TiledNetwork(Counting(SRResNet(2, 8, 1), limit=1, error=RuntimeError("size mismatch")), CPU)(image(9, 9))


def test_tiles_that_are_not_legal_are_refused():
    with pytest.raises(UsageError, match="A tile of -1 pixels is not legal"):
        TiledNetwork(SRResNet(2, 8, 1), CPU, tile=-1)
    with pytest.raises(UsageError, match=r"too small.*15 x 15"):
        TiledNetwork(SRResNet(2, 8, 2), CPU, tile=14)(image(40, 40))


def test_time_and_pixels_are_counted_over_all_images():
    tiled = TiledNetwork(SRResNet(2, 8, 1), CPU)
    for side in (10, 20):
        tiled(image(side, side, torch.float32))
    assert tiled.megapixels == pytest.approx((20 * 20 + 40 * 40) / 1e6)
    assert tiled.seconds > 0


def test_the_users_network_is_left_as_it_was():
    network = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.PixelShuffle(2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = TiledNetwork(network, CPU, tile=8)(image(20, 20, torch.float32))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(found, network.eval()(image(20, 20, torch.float32)), rtol=1e-5, atol=1e-6)


def test_a_network_without_parameters_is_restored_too():
    class Bilinear(nn.Module):
        def forward(self, x):
            return F.interpolate(x, scale_factor=2, mode="bilinear")

    x = image(40, 50, torch.float32)
    torch.testing.assert_close(TiledNetwork(Bilinear(), CPU, tile=20)(x), Bilinear()(x))
