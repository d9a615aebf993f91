# SPDX-License-Identifier: Apache-2.0
"""What nobody sees has no part in what somebody sees."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from filterlens.data.beyond_pillow import write_deep_png
from filterlens.data.pictures import filled, read_picture

YELLOW = (255, 255, 0)


def half(alpha=0, colour=(0, 0, 0)):
    """Yellow on the left, hidden black on the right."""
    pixels = np.zeros((12, 12, 4), np.uint8)
    pixels[:, :6], pixels[:, 6:] = (*YELLOW, 255), (*colour, alpha)
    return pixels


def saved(folder, kind):
    pixels = half()
    if kind == "RGBA":
        Image.fromarray(pixels).save(folder / "image.png")
    elif kind == "RGBA of 16 bits":
        write_deep_png(folder / "image.png", pixels.astype(np.uint16) * 257, {})
    elif kind == "LA":
        Image.fromarray(pixels[..., [0, 3]]).save(folder / "image.png")
    else:
        image = Image.fromarray((pixels[..., 3] == 0).astype(np.uint8)).convert("P")
        image.putpalette([*YELLOW, 0, 0, 0])
        image.save(folder / "image.png", transparency=1)
    return folder / "image.png"


@pytest.mark.parametrize("kind", ["RGBA", "RGBA of 16 bits", "LA", "palette"])
def test_no_black_comes_from_beneath_transparency(tmp_path, kind):
    picture = read_picture(saved(tmp_path, kind))
    larger = picture.restored(F.interpolate(picture.seen, scale_factor=2, mode="bicubic"))
    pixels = larger.pixels(8)
    visible = pixels[..., -1] > 0
    assert visible[:, 12:].any(), "the edge is soft, so something is drawn on the hidden side"
    assert (pixels[visible][:, :-1] == (YELLOW if kind != "LA" else 255)).all()


def test_visible_pixels_are_seen_exactly_and_the_file_stays_as_it_is(tmp_path):
    dice = np.random.default_rng(0)
    pixels = dice.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    pixels[..., 3] = dice.choice([0, 1, 128, 255], (20, 30))
    Image.fromarray(pixels).save(tmp_path / "image.png")
    picture = read_picture(tmp_path / "image.png")
    visible = picture.alpha[0, 0] > 0
    assert torch.equal(picture.seen[..., visible], picture.colours[..., visible])
    assert not torch.equal(picture.seen, picture.colours)
    np.testing.assert_array_equal(picture.pixels(), pixels)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_opaque_and_empty_pictures_are_seen_as_they_are(alpha):
    colours = torch.rand(1, 3, 5, 6)
    assert filled(colours, torch.full((1, 1, 5, 6), alpha)) is colours
