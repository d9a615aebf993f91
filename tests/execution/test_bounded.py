# SPDX-License-Identifier: Apache-2.0
"""Portions that do not fit are done again in smaller ones; nothing is lost or done twice."""

import weakref

import pytest
import torch

from filterlens.errors import FilterlensError
from filterlens.execution.bounded import Portions, TileLimit, joined
from filterlens.execution.tiling import Tiling

CPU = torch.device("cpu")


def halves(left: list[range]) -> list[range]:
    size = len(left[0]) // 2
    if not size:
        raise FilterlensError("nothing smaller")
    return [each[first : first + size] for each in left for first in range(0, len(each), size)]


@pytest.mark.parametrize("fits", [1, 2, 3, 5, 100])
def test_everything_is_done_once_however_little_fits(fits: int) -> None:
    portions, seen = Portions([range(8), range(8, 13)], halves, CPU), []
    for portion in portions:
        with portions.fitting():
            if len(portion) > fits:
                raise MemoryError
            seen += portion
        assert portions.done <= portions.count
    assert seen == list(range(13))
    assert portions.done == portions.count


def test_the_error_and_its_tensors_are_gone_before_smaller_portions_are_tried() -> None:
    alive: list[weakref.ref[torch.Tensor]] = []

    def smaller(left: list[int]) -> list[int]:
        assert alive[-1]() is None
        return [left[0] - 1]

    def greedy() -> None:
        tensor = torch.zeros(10)
        alive.append(weakref.ref(tensor))
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    portions = Portions([2], smaller, CPU)
    for portion in portions:
        with portions.fitting():
            if portion:
                greedy()
    assert len(alive) == 2 and portions.done == 1


def test_other_errors_and_the_last_word_pass() -> None:
    portions = Portions([range(1)], halves, CPU)
    with pytest.raises(ZeroDivisionError):
        for _ in portions:
            with portions.fitting():
                raise ZeroDivisionError
    with pytest.raises(FilterlensError, match="nothing smaller"):
        for _ in portions:
            with portions.fitting():
                raise MemoryError


def test_tiles_that_are_left_are_cut_smaller_and_finished_ones_are_kept() -> None:
    """The third tile does not fit: two stay, the rest comes in smaller ones, and the picture is whole."""
    images, ran = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(0)), []

    def run(window: torch.Tensor) -> torch.Tensor:
        if len(ran) == 2 and window[0, 0].numel() > 400:
            raise MemoryError
        ran.append(window[0, 0].numel())
        return window.repeat_interleave(2, -1).repeat_interleave(2, -2)

    notes: list[str] = []
    limit = TileLimit(800, lambda: Tiling(3, 2), CPU, note=notes.append)
    *steps, last = joined(limit.tiles(images), run, images)
    assert last.picture is not None and all(step.picture is None for step in steps)
    assert torch.equal(last.picture, images.repeat_interleave(2, -1).repeat_interleave(2, -2))
    assert max(ran[:2]) > 400 >= max(ran[2:])
    assert len(notes) == 1 and limit.most == 400
    assert (last.done, last.total) == (len(ran), len(ran))


def test_a_limit_below_the_smallest_tile_is_raised_to_it_unless_a_user_chose_it() -> None:
    images, tiling = torch.rand(1, 3, 50, 50), Tiling(5)
    limit = TileLimit(4, lambda: tiling, CPU)
    assert max(tile.pixels for tile in limit.tiles(images)._left) == limit.most == tiling.least**2
    with pytest.raises(FilterlensError, match="Allow tiles of 11 x 11"):
        TileLimit(4, lambda: tiling, CPU, fixed=True).tiles(images)


def test_a_network_that_cannot_be_cut_sees_the_image_whole_and_fails_with_a_remedy() -> None:
    images = torch.rand(1, 3, 50, 50)
    (tile,) = TileLimit(4, lambda: None, CPU).tiles(images)._left
    assert tile.window(images).shape == images.shape

    def run(window: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    with pytest.raises(FilterlensError, match=r"Out of memory on cpu at 2500 LR pixels\. Use smaller images"):
        list(joined(TileLimit(4, lambda: None, CPU).tiles(images), run, images))
