# SPDX-License-Identifier: Apache-2.0
"""``filterlens restore``: tiles, throughput, JSON."""

import shutil
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def restore(run, images, checkpoints, tmp_path):
    def call(name, *more):
        return run("restore", images, tmp_path / name, "--model", checkpoints / "target.safetensors", *more)

    return call


def test_json_holds_files_and_throughput(restore, tmp_path):
    outcome = restore("high", "--json")
    assert outcome.code == 0, outcome.err
    value = outcome.json()
    assert value["files"] == [str(tmp_path / "high" / name) for name in ("astronaut.png", "chelsea.png")]
    assert value["megapixels"] == pytest.approx(2 * 128 * 128 / 1e6)
    assert value["megapixels_per_second"] == pytest.approx(value["megapixels"] / value["seconds"])


def test_text_names_the_throughput(restore, tmp_path):
    outcome = restore("high")
    assert outcome.out.startswith(f"2 images in {tmp_path / 'high'}: 0.0328 megapixels, ")
    assert outcome.out.endswith(" per second of network time\n")


def test_tiles_change_no_pixel(restore, tmp_path):
    assert restore("whole", "--tile", 0).code == restore("tiled", "--tile", 30).code == 0
    for name in ("astronaut.png", "chelsea.png"):
        assert (tmp_path / "tiled" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(("tile", "words"), [(-1, "A tile of -1 pixels is not legal"), (10, "15 x 15 LR pixels")])
def test_a_tile_that_is_not_legal_is_wrong_use(restore, tile, words):
    outcome = restore("high", "--tile", tile)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("error: ") and words in outcome.err


def test_bad_images_are_named_at_the_end_and_in_the_json(run, images, checkpoints, tmp_path):
    source = tmp_path / "low"
    shutil.copytree(images, source)
    (source / "bad.png").write_bytes(b"")
    (source / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    model = ["--model", checkpoints / "target.safetensors"]
    outcome = run("restore", source, tmp_path / "high", *model, "--json")
    assert outcome.code == 1
    value = outcome.json()
    assert [Path(path).name for path in value["files"]] == ["astronaut.png", "chelsea.png"] and not value["kept"]
    assert [Path(failure["image"]).name for failure in value["failures"]] == ["bad.png", "cut.jpg"]
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and "bad.png" in errors[0] and "cut.jpg" in errors[1]
    again = run("restore", source, tmp_path / "high", *model, "--json").json()
    assert again["kept"] == again["files"] == value["files"] and again["megapixels"] == 0
    strict = run("restore", source, tmp_path / "other", *model, "--strict")
    assert strict.code == 1 and strict.err.count("error: ") == 1 and "bad.png" in strict.err
    low = run("degrade", source, tmp_path / "lower", "--degradation", "blur:2", "--json")
    assert low.code == 1 and len(low.json()["files"]) == len(low.json()["failures"]) == 2


def test_an_image_beyond_memory_is_refused_with_the_option_that_tries_it(run, checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr("filterlens.data.images.memory_available", lambda: 1e6)
    monkeypatch.setattr("filterlens.data.images._ALWAYS", 0)
    Image.new("RGB", (200, 100)).save(tmp_path / "large.png")
    words = ["restore", tmp_path / "large.png", tmp_path / "high", "--model", checkpoints / "target.safetensors"]
    outcome = run(*words)
    assert outcome.code == 1
    for part in ("large.png' of 200x100 pixels", "GiB of memory", "--max-megapixels"):
        assert part in outcome.err
    assert not (tmp_path / "high").exists()
    assert run(*words, "--max-megapixels", 179).code == 0
