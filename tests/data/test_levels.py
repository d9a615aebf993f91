# SPDX-License-Identifier: Apache-2.0
"""Black and white follow from a file's type and tags, never from its brightest pixel."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from filterlens.data.images import read_image
from filterlens.data.pictures import read_picture
from filterlens.errors import FilterlensError

SHARES = np.random.default_rng(0).random((20, 30))
RGB = np.random.default_rng(1).random((20, 30, 3)).astype(np.float32)


def mean_of(path, notes=None):
    """The mean of what was read, in both ways to read, as a share of white."""
    notes = [] if notes is None else notes
    picture = read_picture(path, notes.append)
    image = read_image(path, notes.append)
    assert image.float().mean().item() / 255 == pytest.approx(picture.colours.mean().item(), abs=0.003)
    return picture.colours.mean().item()


@pytest.mark.parametrize("dtype", ["u2", ">u2", "i2", "u4", ">u4", "i4", ">i4", "i1", "u1", "f4", "f8", "f2"])
@pytest.mark.parametrize("brightest", [1.0, 0.5])
def test_gray_of_every_type_keeps_its_brightness(tmp_path, dtype, brightest):
    kind = np.dtype(dtype)
    white = 1 if kind.kind == "f" else np.iinfo(kind).max
    values = (SHARES * brightest * white).astype(kind)
    tifffile.imwrite(tmp_path / "image.tif", values, byteorder=">" if dtype[0] == ">" else "<")
    assert mean_of(tmp_path / "image.tif") == pytest.approx(SHARES.mean() * brightest, abs=0.005)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "u2"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("packed", [None, "zlib"])
def test_colours_of_every_type_are_read_as_they_lie(tmp_path, dtype, planes, packed):
    values = RGB.astype(dtype) if dtype[0] == "f" else (RGB * 65535).astype(dtype)
    values = values if planes == "contig" else np.moveaxis(values, -1, 0)
    tifffile.imwrite(tmp_path / "image.tif", values, photometric="rgb", planarconfig=planes, compression=packed)
    found = read_image(tmp_path / "image.tif").permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, RGB * 255, atol=1.01)


def test_white_may_be_zero(tmp_path):
    values = (SHARES * 65535).astype(np.uint16)
    tifffile.imwrite(tmp_path / "image.tif", values, photometric="miniswhite")
    assert mean_of(tmp_path / "image.tif") == pytest.approx(1 - SHARES.mean(), abs=0.005)


@pytest.mark.parametrize("most", [255, 4095, 65535])
def test_the_white_of_a_pgm_is_what_its_header_says(tmp_path, most):
    values = (SHARES * most).astype(">u2" if most > 255 else "u1")
    (tmp_path / "image.pgm").write_bytes(b"P5 30 20 %d\n" % most + values.tobytes())
    assert mean_of(tmp_path / "image.pgm") == pytest.approx(SHARES.mean(), abs=0.005)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bits_with_a_maximum_below_256_are_dark(tmp_path, suffix):
    values = (SHARES * 200).astype(np.uint16)
    if suffix == "pgm":
        (tmp_path / "image.pgm").write_bytes(b"P5 30 20 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(tmp_path / f"image.{suffix}")
    assert mean_of(tmp_path / f"image.{suffix}") == pytest.approx(SHARES.mean() * 200 / 65535, abs=0.002)


@pytest.mark.parametrize(
    ("most", "least", "note"), [(1.02, 0.0, True), (1.0005, 0.0, False), (1.0, -0.1, True), (1.0, -1e-6, False)]
)
def test_floats_a_little_outside_0_to_1_are_clipped_and_told(tmp_path, most, least, note):
    values = (least + SHARES * (most - least)).astype(np.float32)
    Image.fromarray(values).save(tmp_path / "image.tif")
    notes = []
    assert mean_of(tmp_path / "image.tif", notes) == pytest.approx(values.clip(0, 1).mean(), abs=0.003)
    assert bool(notes) is note and all("'image.tif': " in each and "are clipped" in each for each in notes)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.where(SHARES > 0.9, np.nan, SHARES).astype(np.float32), "NaN or infinity in .* %"),
        (np.where(SHARES > 0.9, -np.inf, SHARES).astype(np.float32), "NaN or infinity"),
        ((SHARES * 255).astype(np.float32), "outside 0 … 1"),
        ((SHARES * 255).astype(np.int32), "32-bit integers up to 25.*8 or 16 bits"),
        ((SHARES * 65535).astype(np.uint32), "32-bit integers"),
        (SHARES.astype(np.complex64), "kind that is not read"),
    ],
)
def test_values_that_cannot_be_meant_so_are_refused_by_name(tmp_path, values, words):
    tifffile.imwrite(tmp_path / "odd.tif", values)
    for read in (read_picture, read_image):
        with pytest.raises(FilterlensError, match=rf"odd\.tif.*{words}"):
            read(tmp_path / "odd.tif")


def test_premultiplied_floats_are_divided_by_their_opacity(tmp_path):
    alpha = (0.2 + 0.8 * SHARES[..., None]).astype(np.float32)
    values = np.concatenate([RGB * alpha, alpha], -1)
    tifffile.imwrite(tmp_path / "image.tif", values, photometric="rgb", extrasamples=["assocalpha"])
    picture = read_picture(tmp_path / "image.tif")
    np.testing.assert_allclose(picture.colours[0].permute(1, 2, 0), RGB, atol=0.003)
    np.testing.assert_allclose(picture.alpha[0, 0], alpha[..., 0], atol=0.003)


def test_a_cut_float_tiff_is_refused_by_name(tmp_path):
    tifffile.imwrite(tmp_path / "cut.tif", RGB, photometric="rgb")
    content = (tmp_path / "cut.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(FilterlensError, match=r"cut\.tif"):
        read_picture(tmp_path / "cut.tif")


def test_lab_is_shown_in_its_colours(tmp_path):
    Image.new("LAB", (4, 4), (255, 128, 128)).save(tmp_path / "white.tif")
    assert read_image(tmp_path / "white.tif").min() > 250
