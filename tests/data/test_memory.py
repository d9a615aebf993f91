# SPDX-License-Identifier: Apache-2.0
"""Images that do not fit into memory are refused by their header."""

import zlib

import numpy as np
import pytest
from PIL import Image

from filterlens.data import images
from filterlens.data.images import read_image
from filterlens.data.pictures import read_picture
from filterlens.errors import FilterlensError
from tests.data.test_images import png_that_claims


@pytest.fixture
def little(monkeypatch):
    """A machine with half a gibibyte left."""
    monkeypatch.setattr(images, "memory_available", lambda: 2.0**29)


@pytest.mark.parametrize("read", [read_image, read_picture])
@pytest.mark.parametrize("bits", [1, 8, 16])
def test_a_large_image_is_refused_before_it_is_unpacked(tmp_path, little, monkeypatch, read, bits):
    content = bytearray(png_that_claims(10_000, 10_000))
    content[24] = bits
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4)
    (tmp_path / "large.png").write_bytes(content)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was unpacked"))
    monkeypatch.setattr("filterlens.data.pictures.read_deep_png", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(FilterlensError, match=r"large\.png' of 10000x10000 pixels would take about 2\.2 GiB.*0\.5 GiB"):
        read(tmp_path / "large.png")


def test_a_job_that_takes_more_says_so(tmp_path, little):
    Image.new("L", (3000, 3000)).save(tmp_path / "image.png")
    assert read_picture(tmp_path / "image.png").colours.shape == (1, 3, 3000, 3000)
    with pytest.raises(FilterlensError, match=r"0\.8 GiB.*, or try --x\."):
        read_picture(tmp_path / "image.png", bytes_per_pixel=100, remedy=", or try --x")


def test_small_images_never_ask_the_system(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "memory_available", lambda: 0.0)
    Image.fromarray(np.zeros((400, 400, 3), np.uint8)).save(tmp_path / "image.png")
    assert read_image(tmp_path / "image.png").shape == (3, 400, 400)
