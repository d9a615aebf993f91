# SPDX-License-Identifier: Apache-2.0
"""The patches of an image lie inside it, evenly, and cover it where their number suffices."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from filterlens import UsageError
from filterlens.diagnosis.patches import cut_patches, patch_corners

sides = st.integers(64, 700)


@given(sides, sides, st.integers(1, 12))
def test_patches_lie_inside_and_are_never_more_than_allowed(height, width, most):
    corners = patch_corners(height, width, most=most)
    assert 1 <= len(corners) == len(set(corners)) <= most
    assert all(0 <= top <= height - 64 and 0 <= left <= width - 64 for top, left in corners)


@given(sides, sides, st.integers(1, 12))
def test_patches_are_symmetric_about_the_middle_of_the_image(height, width, most):
    corners = patch_corners(height, width, most=most)
    mirrored = {(height - 64 - top, width - 64 - left) for top, left in corners}
    for top, left in corners:  # rounding may move a patch by a pixel
        assert any(abs(top - y) <= 1 and abs(left - x) <= 1 for y, x in mirrored)


@given(st.integers(64, 128), st.integers(64, 128))
def test_four_patches_cover_an_image_of_up_to_twice_their_side(height, width):
    covered = torch.zeros(height, width, dtype=torch.bool)
    for top, left in patch_corners(height, width, most=4):
        covered[top : top + 64, left : left + 64] = True
    assert covered.all()


def test_a_square_image_has_one_patch_in_the_middle_of_each_quarter():
    assert patch_corners(256, 256, most=4) == [(32, 32), (32, 160), (160, 32), (160, 160)]


def test_a_wide_image_has_its_patches_in_a_row():
    assert patch_corners(64, 512, most=4) == [(0, 32), (0, 160), (0, 288), (0, 416)]


def test_an_image_of_one_patch_is_one_patch():
    assert patch_corners(64, 64) == [(0, 0)]


@pytest.mark.parametrize("size", [(63, 300), (300, 63), (20, 20)])
def test_an_image_with_a_smaller_side_is_judged_whole(size):
    image = torch.rand(1, 3, *size)
    assert torch.equal(cut_patches(image, patch_corners(*size)), image)


def test_patches_are_cut_at_their_corners():
    image = torch.arange(3 * 70 * 90).view(1, 3, 70, 90)
    cut = cut_patches(image, [(0, 5), (6, 26)])
    assert torch.equal(cut[0], image[0, :, 0:64, 5:69]) and torch.equal(cut[1], image[0, :, 6:70, 26:90])


def test_no_patch_is_not_legal():
    with pytest.raises(UsageError, match="0 patches"):
        patch_corners(100, 100, most=0)
