# SPDX-License-Identifier: Apache-2.0
"""Folders in, folders out: restored images of any size, read ahead and written behind."""

import errno
import os
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from filterlens import FilterlensError
from filterlens.data.images import read_image, to_float, to_uint8
from filterlens.jobs.degrade import degrade_folder
from filterlens.jobs.image_folder import Rules
from filterlens.jobs.restore import restore_folder
from filterlens.models.one_branch import SRResNet
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
    assert failure.path == str(folder / "1.png") and "1.png" in failure.reason


def test_strict_stops_at_a_damaged_image_and_those_before_it_are_written(folder, network, tmp_path):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:200])
    with pytest.raises(FilterlensError, match=r"1\.png"):
        restore_folder(folder, tmp_path / "high", network, device=CPU, rules=Rules(strict=True))
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
        restore_folder(folder, tmp_path / "high", network, device=CPU, rules=Rules(force=True))
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


class Odd(nn.Module):
    """Doubles images; what is odd happens to those that are 32 pixels high or so."""

    def __init__(self, value=None, error=None):
        super().__init__()
        self.value, self.error = value, error

    def forward(self, x):
        output = F.interpolate(x, scale_factor=2)
        if x.shape[-2] == 33:
            if self.error is not None:
                raise self.error
            output[..., :33, :] = self.value
        return output


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_output_that_is_not_finite_is_an_error_with_its_share_and_no_picture(folder, tmp_path, value):
    done = restore_folder(folder, tmp_path / "high", Odd(value), device=CPU)
    assert written(tmp_path / "high") == ["0.png", "2.png"]
    assert "NaN or infinity for 50 % of the values of" in done.failures[0].reason
    assert str(folder / "1.png") in done.failures[0].reason


def test_values_that_only_overflow_float32_are_not_finite_either(folder, tmp_path):
    class Huge(nn.Module):
        def forward(self, x):
            return F.interpolate(x, scale_factor=2).double() * 1e300

    done = restore_folder(folder, tmp_path / "high", Huge(), device=CPU)
    assert len(done.failures) == 3 and not (tmp_path / "high").exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("Padding size should be less than the input"), "cannot run on .*1.png' of 64x33.*Padding size"),
        (AssertionError(), "cannot run on .*1.png' of 64x33"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "1.png'.*Out of memory on cpu"),
    ],
)
def test_a_network_that_refuses_an_image_stops_no_others(folder, tmp_path, error, words):
    done = restore_folder(folder, tmp_path / "high", Odd(error=error), device=CPU, tile=0)
    assert written(tmp_path / "high") == ["0.png", "2.png"]
    assert re.search(words, done.failures[0].reason)


def test_a_network_that_makes_no_rgb_is_told(folder, tmp_path):
    class Gray(nn.Module):
        def forward(self, x):
            return x[:, :1]

    done = restore_folder(folder, tmp_path / "high", Gray(), device=CPU)
    assert "is no picture (1, 3, height, width)" in done.failures[0].reason


def test_degrading_names_a_bad_image_once_and_does_the_others(folder, tmp_path):
    (folder / "1.png").write_bytes(b"")
    Image.new("RGB", (1, 1)).save(folder / "3.png")
    done = degrade_folder(folder, tmp_path / "lower", ["blur:1", "noise:0.1"])
    assert written(tmp_path / "lower") == ["blur:1/0.png", "blur:1/2.png", "noise:0.1/0.png", "noise:0.1/2.png"]
    assert [failure.name for failure in done.failures] == ["1.png", "3.png"]
    assert "smaller than 2 pixels" in done.failures[1].reason


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2)])
def test_the_smallest_images_are_restored(network, tmp_path, size):
    Image.new("RGB", size, "red").save(tmp_path / "small.png")
    (path,) = restore_folder(tmp_path / "small.png", tmp_path / "high", network, device=CPU).files
    assert read_image(path).shape == (3, 2 * size[1], 2 * size[0])
