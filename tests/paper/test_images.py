# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from filterlens import FilterlensError, UsageError
from filterlens.data.samples import Sample
from filterlens.paper.images import Library, evenly, squares
from filterlens.paper.settings import ImageChoice

PLAIN = torch.arange(3 * 20 * 31).reshape(3, 20, 31)


def sample(name="plain"):
    return Sample(name, lambda: PLAIN)


def test_one_square_is_the_centre():
    (cut,) = squares(sample(), 10, 1)
    assert torch.equal(cut.read(), PLAIN[:, 5:15, 10:20])


def test_four_squares_are_the_corners():
    corners = [each.read()[0, 0, 0] for each in squares(sample(), 8, 4)]
    assert corners == [PLAIN[0, 0, 0], PLAIN[0, 0, 23], PLAIN[0, 12, 0], PLAIN[0, 12, 23]]


def test_squares_have_names_of_their_own():
    assert [each.name for each in squares(sample("a"), 8, 3)] == ["a-1", "a-2", "a-3"]


def test_an_image_smaller_than_a_square_is_named():
    with pytest.raises(FilterlensError, match="'plain' is 31x20, smaller than a square of 24"):
        squares(sample(), 24, 1)[0].read()


def test_thinning_takes_the_first_and_spreads_evenly():
    names = [sample(str(index)) for index in range(10)]
    assert [each.name for each in evenly(names, 3)] == ["0", "3", "6"]
    assert evenly(names, None) == names
    assert evenly(names, 20) == names


def test_shipped_photographs_need_no_disk():
    found = Library().samples(ImageChoice(set="photographs", only=("coffee",), crop=64))
    assert [each.read().shape for each in found] == [(3, 64, 64)]


def test_a_missing_set_says_how_to_get_it(tmp_path):
    with pytest.raises(FilterlensError, match="filterlens data get set14"):
        Library(tmp_path).samples(ImageChoice(set="set14"))


def test_an_unknown_set_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"'nowhere'.*photographs.*set14"):
        Library().samples(ImageChoice(set="nowhere"))


def test_an_unknown_image_gets_the_nearest_name():
    with pytest.raises(UsageError, match="Did you mean 'coffee'"):
        Library().samples(ImageChoice(set="photographs", only=("cofee",)))
