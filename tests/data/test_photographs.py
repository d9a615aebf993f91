# SPDX-License-Identifier: Apache-2.0
"""The photographs that ship are those of scikit-image, pixel by pixel, and their terms are stated."""

from importlib.resources import files

import numpy as np
import pytest
import skimage.data
import torch

from filterlens.data import photographs
from filterlens.data.photographs import PHOTOGRAPHS, photograph, square
from filterlens.errors import FilterlensError, UsageError


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_photograph_is_scikit_images_own(name):
    pixels = photograph(name)
    assert (pixels.dtype, pixels.is_contiguous()) == (torch.uint8, True)
    np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), getattr(skimage.data, name)())


def test_every_file_that_ships_is_named_with_its_terms():
    folder = files("filterlens.data").joinpath("shipped")
    stated = folder.joinpath("README.md").read_text(encoding="utf-8")
    shipped = {each.name for each in folder.iterdir() if each.is_file()} - {"README.md"}
    assert shipped == set(PHOTOGRAPHS.values())
    assert all(f"| `{name}` |" in stated for name in shipped)


def test_an_unknown_photograph_names_the_nearest_one():
    with pytest.raises(UsageError, match="Did you mean 'coffee'"):
        photograph("cofee")


def test_a_missing_file_says_how_to_get_it_back(monkeypatch):
    monkeypatch.setitem(photographs.PHOTOGRAPHS, "rocket", "gone.jpg")
    with pytest.raises(FilterlensError, match=r"gone\.jpg' is missing\. Install filterlens again"):
        photograph("rocket")


def test_a_square_lies_inside_the_photograph():
    image = photograph("chelsea")
    assert torch.equal(square(image, 8, 10, 20), image[:, 10:18, 20:28])
    with pytest.raises(FilterlensError, match=r"square of 64 at \(290, 0\)"):
        square(image, 64, 290, 0)
