# SPDX-License-Identifier: Apache-2.0
"""Networks that keep the size (denoising, JPEG artefacts), and the user's own code, through the commands."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from filterlens.cli.main import app
from filterlens.data.images import read_image, write_image
from filterlens.models.architectures import build

CODE = """
from filterlens.models.one_branch import DnCNN

def build(width=8):
    return DnCNN(features=width, layers=3)
"""


@pytest.fixture
def place(tmp_path: Path, photograph: Tensor, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "images" / "one.png", (photograph[0, :, :51, :67] * 255).round().to(torch.uint8))
    for role, seed in (("baseline", 0), ("target", 1)):
        torch.manual_seed(seed)
        save_file(build("dncnn", features=8, layers=3).state_dict(), tmp_path / f"{role}.safetensors")
    (tmp_path / "own_denoiser.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("architecture", [None, "own_denoiser:build", "own_denoiser:build,width=8"])
def test_attribute_mask_report_and_restore_at_scale_one(place: Path, architecture: str | None) -> None:
    pair = ["--baseline", place / "baseline.safetensors", "--target", place / "target.safetensors"]
    named = [] if architecture is None else ["--architecture", architecture]
    wanted = ["--degradation", "noise:0.1", "--degradation", "jpeg:20", "--nodes", "3", "--precision", "fp32"]
    there = ["--images", place / "images", "--device", "cpu"]
    run("attribute", *pair, *named, *wanted, *there, "-o", place / "run")
    facts = json.loads((place / "run" / "run.json").read_text())["pair"]
    assert (facts["architecture"], facts["scale"]) == (architecture or "dncnn", 1)
    run("mask", place / "run", *there, *named, "--percent", "10")
    run("report", place / "run")
    edited = ["--run", place / "run", *named, "--without", "noise:0.1", "--device", "cpu"]
    run("restore", place / "images", place / "out", *edited)
    assert read_image(place / "out" / "one.png").shape == (3, 51, 67)
