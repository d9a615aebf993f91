# SPDX-License-Identifier: Apache-2.0
"""A run and its checkpoints may move: they are found again by hash, from wherever a command is started."""

import shutil

import pytest
from PIL import Image

from filterlens.models.checkpoints import load_network, save_network
from tests.cli.test_bad_input import refused


@pytest.fixture
def home(run, checkpoints, images, tmp_path, monkeypatch):
    """A folder with nets/ and a run that was made inside it with relative paths."""
    home = tmp_path / "home"
    shutil.copytree(checkpoints, home / "nets")
    monkeypatch.chdir(home)
    pair = ["--baseline", "nets/baseline.safetensors", "--target", "nets/target.safetensors"]
    asked = ["--images", images, "--degradation", "blur:2", "--degradation", "noise:0.1", "--nodes", 2]
    outcome = run("attribute", *pair, *asked, "-o", "run", "--precision", "fp32")
    assert outcome.code == 0, outcome.err
    return home


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (40, 40), "teal").save(tmp_path / "x.png")
    return tmp_path / "x.png"


def restored(run, folder, picture, out, *more):
    return run("restore", picture, out, "--run", folder, "--without", "blur:2", *more)


def test_from_another_folder(run, home, picture, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert restored(run, home / "run", picture, "out.png").code == 0


def test_moved_together(run, home, picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.move(home, tmp_path / "new")
    assert restored(run, tmp_path / "new" / "run", picture, "out.png").code == 0


def test_moved_apart_they_are_named_and_checked(run, home, picture, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.move(home / "nets", tmp_path / "kept")
    refused(restored(run, home / "run", picture, "out.png"), 1, "baseline of", "is not at", "--baseline FILE")
    named = ["--baseline", "kept/baseline.safetensors", "--target", "kept/target.safetensors"]
    assert restored(run, home / "run", picture, "out.png", *named).code == 0
    assert run("mask", home / "run", "--images", images, "--percent", 5, "--no-controls", *named).code == 0
    assert (
        run("adapter", "export", "--run", home / "run", "--degradation", "blur:2", "-o", "a.safetensors", *named).code
        == 0
    )
    swapped = ["--baseline", "kept/target.safetensors", "--target", "kept/baseline.safetensors"]
    refused(restored(run, home / "run", picture, "other.png", *swapped), 1, "its hash differs")
    assert not (tmp_path / "other.png").exists()


def test_the_same_weights_in_another_wrapping_are_the_same_network(run, home, picture):
    loaded = load_network("nets/target.safetensors")
    save_network("nets/target.safetensors", loaded.network, loaded.architecture, loaded.options, {"note": "resaved"})
    assert restored(run, "run", picture, "out.png").code == 0


def test_other_weights_at_the_same_place_are_refused(run, home, picture):
    shutil.copyfile("nets/baseline.safetensors", "nets/target.safetensors")
    outcome = restored(run, "run", picture, "out.png")
    assert outcome.code == 1 and not (home / "out.png").exists()
    refused(outcome, 1, "identical weights")


@pytest.mark.parametrize("command", ["restore", "classify"])
def test_places_without_a_run_are_wrong_use(run, picture, tmp_path, command):
    words = [command, picture, *([tmp_path / "out.png"] if command == "restore" else []), "--target", "x.safetensors"]
    refused(run(*words), 2, "--run")
