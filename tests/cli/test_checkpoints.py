# SPDX-License-Identifier: Apache-2.0
"""Every command that loads a checkpoint says which weights it took; the working folder's code runs only by name."""

import json
import subprocess
import sys

import pytest
import torch

from filterlens.models.checkpoints import load_network


@pytest.fixture
def averaged(checkpoints, tmp_path):
    """The pair, each with weights before averaging under ``params`` and its prefix."""
    for role in ("baseline", "target"):
        weights = load_network(checkpoints / f"{role}.safetensors").network.state_dict()
        other = {name: value + 1 for name, value in weights.items()}
        content = {"params": other, "params-ema": {f"module.{name}": value for name, value in weights.items()}}
        torch.save(content, tmp_path / f"{role}.pth")
    return tmp_path


def assert_said(outcome, *roles):
    assert outcome.code == 0, outcome.err
    for role in roles:
        lines = [line for line in outcome.err.splitlines() if f"{role}.pth': took" in line]
        assert len(lines) == 2, outcome.err  # each once
        assert "took the moving average 'params-ema.module', not 'params'" in lines[0]
        assert "took 'module.' off the names of the weights" in lines[1]


def test_commands_print_which_weights_they_took(run, averaged, checkpoints, images, tmp_path):
    baseline, target = averaged / "baseline.pth", averaged / "target.pth"
    found = tmp_path / "run"
    outcome = run(
        "attribute", "--baseline", baseline, "--target", target, "--images", images, "--degradation", "blur:2",
        "--degradation", "noise:0.1", "-o", found, "--nodes", 2, "--precision", "fp32", "--json",
    )  # fmt: skip
    assert_said(outcome, "baseline", "target")
    json.loads(outcome.out)  # the result alone
    assert_said(run("restore", images, tmp_path / "restored", "--model", target), "target")
    assert_said(run("mask", found, "--images", images, "--percent", 5), "baseline", "target")
    knob = tmp_path / "knob.safetensors"
    assert_said(run("adapter", "export", "--run", found, "--degradation", "blur:2", "-o", knob), "baseline", "target")
    merged = tmp_path / "merged.pth"
    assert_said(run("adapter", "merge", "--base", baseline, "--adapter", f"{knob}=1", "-o", merged), "baseline")


def test_a_checkpoint_with_one_set_of_weights_needs_no_word(run, checkpoints, images, tmp_path):
    outcome = run("restore", images, tmp_path / "restored", "--model", checkpoints / "target.safetensors")
    assert outcome.code == 0 and "took" not in outcome.err


CODE = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))
"""
TRAP = "from pathlib import Path\nPath(__file__).with_suffix('.imported').touch()\n"


@pytest.mark.parametrize(
    "start", [["-m", "filterlens"], ["-c", "from filterlens.cli.main import main; raise SystemExit(main())"]]
)
def test_code_of_the_working_folder_is_found_by_its_name_alone(images, tmp_path, start):
    for name in ("json", "torch", "numpy", "logging", "PIL", "typer", "other"):
        (tmp_path / f"{name}.py").write_text(TRAP)
    (tmp_path / "mynet.py").write_text(CODE)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.PixelShuffle(2))
    torch.save(network.state_dict(), tmp_path / "net.pth")
    options = [] if start[0] == "-m" else ["-P"]  # as the command itself, which Python gives no working folder
    words = ["restore", str(images), "out", "--model", "net.pth", "--architecture", "mynet:Net"]
    done = subprocess.run([sys.executable, *options, *start, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    assert not list(tmp_path.glob("*.imported"))
