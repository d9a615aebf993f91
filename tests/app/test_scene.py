# SPDX-License-Identifier: Apache-2.0
"""What the network is given, and what of a visitor's files is refused."""

import struct
import zlib

import pytest
import torch
from PIL import Image

from filterlens.app.scene import Handling, make_scene, read_upload
from filterlens.degradations import Degradation
from filterlens.errors import FilterlensError, UsageError


@pytest.fixture
def picture(photograph):
    return (photograph[0] * 255).round().to(torch.uint8)


@pytest.mark.parametrize(
    ("handling", "written"),
    [
        (Handling(), "clean"),
        (Handling(blur=2), "blur:2"),
        (Handling(noise=0.1, quality=30), "noise:0.1+jpeg:30"),
        (Handling(blur=1.5, noise=0.05, quality=99), "blur:1.5+noise:0.05+jpeg:99"),
    ],
)
def test_sliders_are_the_degradation_of_that_name(picture, handling, written):
    scene = make_scene("face", picture, handling, 2)
    expected = Degradation.parse(written).apply(scene.truth, 2)
    assert scene.degradation == written
    assert torch.equal(scene.image, expected)


def test_the_truth_is_the_picture_cut_to_a_multiple_of_the_scale(picture):
    scene = make_scene("face", picture[:, :95, :119], Handling(), 2)
    assert torch.equal((scene.truth[0] * 255).round().to(torch.uint8), picture[:, :94, :118])
    assert scene.image.shape == (1, 3, 47, 59)


def test_a_picture_that_is_degraded_already_goes_in_untouched(picture):
    scene = make_scene("face", picture, Handling(lowered=True, blur=3), 2)
    assert torch.equal((scene.image[0] * 255).round().to(torch.uint8), picture)
    assert (scene.truth, scene.degradation) == (None, None)


@pytest.mark.parametrize(
    ("lowered", "side", "legal"), [(False, 31, False), (False, 32, True), (True, 15, False), (True, 16, True)]
)
def test_too_small_is_said_with_the_least_size(picture, lowered, side, legal):
    if legal:
        make_scene("face", picture[:, :side, :40], Handling(lowered), 2)
        return
    with pytest.raises(UsageError, match=f"'face' has 40×{side} pixels; the app needs at least {side + 1}×{side + 1}"):
        make_scene("face", picture[:, :side, :40], Handling(lowered), 2)


def test_the_limit_is_on_the_result():
    wide = torch.zeros(3, 20, 450_000, dtype=torch.uint8)  # 9 megapixels, four times as many after enlarging
    make_scene("strip", torch.zeros(3, 32, 45_000, dtype=torch.uint8), Handling(True), 2)
    with pytest.raises(UsageError, match="result of 900000×40 pixels; the app takes 16 megapixels"):
        make_scene("strip", wide, Handling(True), 2)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM"])
def test_photographs_of_all_usual_kinds_are_read(tmp_path, picture, kind):
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / "cup", kind)
    assert read_upload(tmp_path / "cup").shape == picture.shape


@pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO", "TGA", "PCX"])
def test_other_kinds_are_refused_whatever_they_call_themselves(tmp_path, picture, kind):
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / "cup.png", kind)
    with pytest.raises(FilterlensError, match=r"^'cup\.png' is not an image that the app reads. Send a picture as PNG"):
        read_upload(tmp_path / "cup.png")


def test_what_is_no_image_is_refused_without_telling_where_it_lay(tmp_path):
    (tmp_path / "evil.png").write_bytes(b"#!/bin/sh\nrm -rf /")
    with pytest.raises(FilterlensError, match=r"^'evil\.png' is not an image") as caught:
        read_upload(tmp_path / "evil.png")
    assert str(tmp_path) not in str(caught.value)


def png_header(width, height):
    """A PNG of that size by its header, with nothing behind it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\x00\x00\x00\x00IEND\xaeB`\x82"


def test_a_bomb_is_refused_by_its_header(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_header(60_000, 60_000))
    with pytest.raises(
        UsageError, match=r"'bomb\.png' has more pixels than any photograph; the app takes 16 megapixels"
    ):
        read_upload(tmp_path / "bomb.png")
    (tmp_path / "large.png").write_bytes(png_header(5000, 5000))
    with pytest.raises(UsageError, match=r"'large\.png' means a result of 5000×5000 pixels"):
        read_upload(tmp_path / "large.png")


def test_a_damaged_file_is_refused(tmp_path, picture):
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    assert torch.equal(read_upload(tmp_path / "whole.png"), picture)
    with pytest.raises(FilterlensError, match=r"Cannot read image 'half\.png'"):
        read_upload(tmp_path / "half.png")
