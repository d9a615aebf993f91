# SPDX-License-Identifier: Apache-2.0
"""Named image sets: what the catalogue says, where sets are found, and how a copy is recognised."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from filterlens.data.catalogue import CATALOGUE, ImageSet, data_root, find_set, named
from filterlens.data.images import read_image
from filterlens.data.verification import pixel_digest, verify
from filterlens.errors import FilterlensError, UsageError

SHARED = Path(__file__).parents[3] / "shared" / "data"
HERE = {"set5": "eval/set5", "set14": "eval/set14", "bsds100": "eval/bsds100", "cid22-val": "val/cid22"}


def write_images(folder, names, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for name in names:
        Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(folder / name)
    return folder


def with_pixels(folder, **facts):
    pixels = {path.stem: pixel_digest(read_image(path)) for path in sorted(folder.iterdir())}
    return ImageSet("mine", "Mine", len(pixels), "CC0", "https://example.org", pixels=pixels, **facts)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch, tmp_path):
    monkeypatch.delenv("FILTERLENS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=list(CATALOGUE))
def test_every_entry_is_whole(entry):
    assert entry.title and entry.licence and entry.images > 0 and entry.page.startswith("http")
    assert not entry.pixels or len(entry.pixels) == entry.images == len(set(entry.pixels.values()))
    for source in entry.sources:
        assert source.addresses and all(address.startswith("http") for address in source.addresses)
        digits = {"sha256": 64, "md5": 32}
        if source.checksum:
            kind, _, value = source.checksum.partition(":")
            assert re.fullmatch(f"[0-9a-f]{{{digits[kind]}}}", value)


@pytest.mark.parametrize("name", HERE)
def test_the_standard_sets_are_recognised_by_their_pixels(name):
    if not (SHARED / HERE[name]).is_dir():
        pytest.skip(f"no copy of {name} beside the checkout")
    found = verify(named(name), find_set(name, SHARED))
    assert found.passed and found.by_pixels, str(found)


def test_the_digest_is_of_size_and_pixels_alone(tmp_path):
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = hashlib.sha256(b"3x2:" + pixels.tobytes()).hexdigest()[:32]
    assert pixel_digest(read_image(tmp_path / "a.png")) == expected


def test_a_copy_under_other_names_and_formats_is_the_same_set(tmp_path):
    original = write_images(tmp_path / "a", ["x.png", "y.png"])
    entry = with_pixels(original)
    (tmp_path / "b").mkdir()
    Image.open(original / "x.png").save(tmp_path / "b" / "img_002.bmp")
    Image.open(original / "y.png").save(tmp_path / "b" / "img_001.webp", lossless=True)
    assert verify(entry, tmp_path / "b").passed
    assert verify(entry, tmp_path / "b").digest == verify(entry, original).digest


def test_one_changed_pixel_is_noticed_and_named(tmp_path):
    folder = write_images(tmp_path / "a", ["x.png", "y.png"])
    entry = with_pixels(folder)
    pixels = np.array(Image.open(folder / "y.png"))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(folder / "y.png")
    found = verify(entry, folder)
    assert not found.passed
    assert found.missing == ("y",) and found.strangers == ("y.png",)
    assert "missing y" in str(found) and "other pixels in y.png" in str(found)


def test_an_image_that_is_there_twice_is_noticed(tmp_path):
    folder = write_images(tmp_path / "a", ["x.png", "y.png"])
    entry = with_pixels(folder)
    Image.open(folder / "x.png").save(folder / "again.png")
    found = verify(entry, folder)
    assert not found.passed and len(found.strangers) == 1 and not found.missing


def test_without_pixels_the_number_and_the_size_decide(tmp_path):
    folder = write_images(tmp_path / "a", ["x.png", "y.png"])
    assert verify(ImageSet("mine", "Mine", 2, "CC0", "http://x"), folder).passed
    assert not verify(ImageSet("mine", "Mine", 3, "CC0", "http://x"), folder).passed
    assert verify(ImageSet("mine", "Mine", 2, "CC0", "http://x", longest=12), folder).passed
    small = verify(ImageSet("mine", "Mine", 2, "CC0", "http://x", longest=24), folder)
    assert not small.passed and "longer side is not 24" in str(small)


def test_the_root_is_what_is_given_then_the_variable_then_the_cache(monkeypatch, tmp_path):
    assert data_root() == tmp_path / "cache" / "filterlens" / "data"
    monkeypatch.setenv("FILTERLENS_DATA", str(tmp_path / "env"))
    assert data_root() == tmp_path / "env"
    assert data_root(tmp_path / "given") == tmp_path / "given"


@pytest.mark.parametrize("folder", ["set14", "Set14", "eval/set14", "VAL/SET14"])
def test_a_set_is_found_at_the_root_or_one_level_deeper_in_any_case(tmp_path, folder):
    expected = write_images(tmp_path / folder, ["a.png"])
    assert find_set("SET14", tmp_path) == expected


def test_a_folder_of_ones_own_is_found_by_name_and_an_empty_one_is_not(tmp_path):
    expected = write_images(tmp_path / "train" / "mine", ["a.png"])
    assert find_set("mine", tmp_path) == find_set("train/mine", tmp_path) == expected
    (tmp_path / "eval" / "set5").mkdir(parents=True)
    with pytest.raises(FilterlensError, match="Set5"):
        find_set("set5", tmp_path)


def test_other_folder_names_of_a_set(tmp_path):
    expected = write_images(tmp_path / "val" / "cid22", ["a.png"])
    write_images(tmp_path / "train" / "cid22", ["b.png"])
    assert find_set("cid22-val", tmp_path) == expected


def test_a_missing_set_says_where_it_was_looked_for_and_how_to_get_it(tmp_path):
    with pytest.raises(FilterlensError) as caught:
        find_set("set14", tmp_path)
    for part in (str(tmp_path), "filterlens data get set14", named("set14").page, "copy your own", "FILTERLENS_DATA"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(FilterlensError, match="cannot be fetched by a command"):
        find_set("manga109", tmp_path)
    with pytest.raises(UsageError, match="Did you mean 'set14'"):
        find_set("set41", tmp_path)


def test_the_commands_list_where_and_check(tmp_path, monkeypatch, capsys):
    from filterlens.cli.data import data
    from filterlens.data import catalogue

    folder = write_images(tmp_path / "mine", ["x.png", "y.png"])
    monkeypatch.setitem(catalogue.CATALOGUE, "mine", with_pixels(folder))

    def run(*words):
        data([*words, "--data", str(tmp_path), "--json"], prog_name="data", standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    assert {row["name"]: row["folder"] for row in run("list")["sets"]}["mine"] == str(folder)
    assert run("where", "mine")["folder"] == str(folder)
    assert run("check", "mine")["passed"] is True
    Image.new("RGB", (3, 3)).save(folder / "x.png")
    with pytest.raises(FilterlensError, match=r"other pixels in x\.png"):
        run("check", "mine")
