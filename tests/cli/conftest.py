# SPDX-License-Identifier: Apache-2.0
"""A small pair on disk, photographs in a folder, and the command line as a function."""

import json
from typing import Any, NamedTuple

import pytest
from PIL import Image

from filterlens.cli.main import main
from filterlens.data.photographs import photograph, square
from tests.small_srresnet import save_small_pair


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(capsys):
    """Call the command line in this process: arguments → (exit code, standard output, standard error)."""

    def call(*arguments):
        code = main([str(each) for each in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """A baseline and a target of a narrow SRResNet with a receptive field of 15 LR pixels."""
    folder = tmp_path_factory.mktemp("checkpoints")
    save_small_pair(folder, scale=2, features=8, blocks=2)
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Two squares of photographs, 64 pixels wide."""
    folder = tmp_path_factory.mktemp("images")
    for name, top, left in (("astronaut", 100, 200), ("chelsea", 100, 150)):
        pixels = square(photograph(name), 64, top, left)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def attribute(run, checkpoints, images, tmp_path):
    """Call ``filterlens attribute`` on the small pair: extra arguments → (outcome, run folder)."""

    def call(*more, where=None, name="run"):
        folder = tmp_path / name
        outcome = run(
            "attribute", "--baseline", checkpoints / "baseline.safetensors",
            "--target", checkpoints / "target.safetensors", "--images", where or images,
            "--degradation", "blur:2", "--degradation", "noise:0.1", "--output", folder,
            "--nodes", "2", "--precision", "fp32", *more,
        )  # fmt: skip
        return outcome, folder

    return call
