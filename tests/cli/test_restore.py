# SPDX-License-Identifier: Apache-2.0
"""``filterlens restore``: tiles, throughput, JSON."""

import pytest


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
