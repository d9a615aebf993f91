# SPDX-License-Identifier: Apache-2.0
"""A listing says what it leaves alone, and enters subfolders where asked."""

import os

import pytest
from PIL import Image, features

from filterlens.data.images import read_image
from filterlens.data.listing import find_images, shown
from filterlens.errors import FilterlensError


@pytest.fixture
def tree(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", "below/c.png", "below/deeper/d.png", "empty/readme", ".git/e.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "in" / "gone.png").symlink_to("nowhere")
    return tmp_path / "in"


def names(listing):
    return [path.relative_to(listing.root).as_posix() for path in listing.images]


def test_what_is_left_alone_is_told(tree):
    found = find_images(tree)
    assert names(found) == ["a.JPG", "b.png"]
    assert found.notes == [
        "no images, left alone: notes.txt",
        "broken links, left alone: gone.png",
        "subfolders with images, left alone without --recursive: below",
    ]


def test_all_images_are_found_in_subfolders(tree):
    found = find_images(tree, recursive=True)
    assert names(found) == ["a.JPG", "b.png", "below/c.png", "below/deeper/d.png"]
    assert found.notes == ["no images, left alone: notes.txt, empty/readme", "broken links, left alone: gone.png"]


def test_links_that_lead_round_in_circles_end(tree):
    (tree / "below" / "up").symlink_to(tree)
    (tree / "twice").symlink_to(tree / "below")
    assert names(find_images(tree, recursive=True)) == ["a.JPG", "b.png", "below/c.png", "below/deeper/d.png"]


def test_the_output_in_the_input_is_not_entered(tree):
    found = find_images(tree, recursive=True, leave_out=tree / "below")
    assert names(found) == ["a.JPG", "b.png"]
    assert "below" not in str(find_images(tree, leave_out=tree / "below").notes)


def test_two_images_of_one_stem_in_one_folder_are_refused_and_in_two_folders_not(tree):
    (tree / "below" / "b.png").touch()
    find_images(tree, recursive=True)
    (tree / "below" / "b.jpg").touch()
    with pytest.raises(FilterlensError, match="below' holds two images named 'b'"):
        find_images(tree, recursive=True)


def test_a_folder_whose_images_lie_below_is_told_where(tree):
    for name in ("a.JPG", "b.png"):
        (tree / name).unlink()
    with pytest.raises(FilterlensError, match=r"holds no image, but its subfolder '.*below' does.*--recursive"):
        find_images(tree)


def test_sources_that_are_nothing_say_what_they_are(tmp_path):
    (tmp_path / "link.png").symlink_to("nowhere")
    with pytest.raises(FilterlensError, match="broken link to 'nowhere'"):
        find_images(tmp_path / "link.png")
    with pytest.raises(FilterlensError, match=r"Image '.*x\.png' does not exist"):
        find_images(tmp_path / "x.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(FilterlensError, match="neither a file nor a folder"):
        find_images(tmp_path / "pipe.png")


def test_names_cannot_control_the_terminal():
    assert shown("a\x1b[2J\nb.png") == r"a\x1b[2J\nb.png" and shown("größe 大.png") == "größe 大.png"


@pytest.mark.parametrize(("suffix", "codec"), [("jfif", "jpg"), ("jp2", "jpg_2000"), ("avif", "avif"), ("tga", "zlib")])
def test_what_pillow_reads_is_an_image(tmp_path, suffix, codec):
    if codec not in {**features.modules, **features.codecs} or not features.check(codec):
        pytest.skip(f"this Pillow has no {codec}")
    Image.new("RGB", (8, 8), (200, 100, 50)).save(tmp_path / f"image.{suffix}")
    assert names(find_images(tmp_path)) == [f"image.{suffix}"]
    assert read_image(tmp_path / f"image.{suffix}").shape == (3, 8, 8)
