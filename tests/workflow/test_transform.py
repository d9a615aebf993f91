# SPDX-License-Identifier: Apache-2.0
"""Folders in, folders out: restored images of any size, read ahead and written behind."""

import errno
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from filterlens import FilterlensError
from filterlens.data.images import read_image, to_float, to_uint8
from filterlens.models.srresnet import SRResNet
from filterlens.workflow.transform import degrade_folder, restore_folder
from tests.noting import Noting

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path, noise_images):
    source = tmp_path / "low"
    source.mkdir()
    for index, pixels in enumerate(noise_images):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(source / f"{index}.png")
    return source


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SRResNet(2, 8, 1).eval()


@pytest.mark.parametrize("tile", [None, 30])
def test_every_image_is_restored_as_the_network_does_it(folder, network, noise_images, tmp_path, tile):
    done = restore_folder(folder, tmp_path / "high", network, device=CPU, tile=tile)
    assert [path.name for path in done.files] == ["0.png", "1.png", "2.png"]
    for path, pixels in zip(done.files, noise_images, strict=True):
        with torch.no_grad():
            assert torch.equal(read_image(path), to_uint8(network(to_float(pixels))))
    assert done.megapixels == pytest.approx(sum(4 * pixels[0].numel() for pixels in noise_images) / 1e6)
    assert done.megapixels_per_second == pytest.approx(done.megapixels / done.seconds)


def written(folder):
    """The images in a folder, without the record."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("[!.]*") if path.is_file())


def test_a_damaged_image_is_named_and_the_others_are_written(folder, network, tmp_path):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:200])
    done = restore_folder(folder, tmp_path / "high", network, device=CPU)
    assert written(tmp_path / "high") == ["0.png", "2.png"] == [path.name for path in done.files]
    ((failure),) = done.failures
    assert failure.path == folder / "1.png" and "1.png" in failure.reason


def test_strict_stops_at_a_damaged_image_and_those_before_it_are_written(folder, network, tmp_path):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:200])
    with pytest.raises(FilterlensError, match=r"1\.png"):
        restore_folder(folder, tmp_path / "high", network, device=CPU, strict=True)
    assert written(tmp_path / "high") == ["0.png"]


@pytest.mark.parametrize("name", ["0.png", "2.png"])
def test_a_full_disk_ends_the_job(folder, network, tmp_path, name, monkeypatch):
    original = Path.replace

    def full(self, target):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(FilterlensError, match=f"Cannot write .*{name}.*No space left"):
        restore_folder(folder, tmp_path / "high", network, device=CPU)
    monkeypatch.undo()
    again = restore_folder(folder, tmp_path / "high", network, device=CPU)
    assert written(tmp_path / "high") == ["0.png", "1.png", "2.png"]
    assert name not in [path.name for path in again.kept]


def test_a_folder_in_the_place_of_an_image_is_refused_before_anything_is_computed(folder, network, tmp_path):
    (tmp_path / "high" / "2.png").mkdir(parents=True)
    with pytest.raises(FilterlensError, match=r"2\.png' exists already and is no file"):
        restore_folder(folder, tmp_path / "high", network, device=CPU, force=True)
    assert written(tmp_path / "high") == []


def test_what_is_no_image_is_left_alone_and_told(folder, network, tmp_path):
    (folder / "notes.txt").write_text("text")
    progress = Noting()
    restore_folder(folder, tmp_path / "high", network, device=CPU, progress=progress)
    assert progress.notes == ["no images, left alone: notes.txt"]


def test_degrading_writes_one_file_for_every_image(folder, tmp_path):
    done = degrade_folder(folder, tmp_path / "lower", ["blur:1"])
    assert [(path.name, tuple(read_image(path).shape)) for path in done.files] == [
        ("0.png", (3, 20, 25)),
        ("1.png", (3, 16, 32)),
        ("2.png", (3, 24, 17)),
    ]
