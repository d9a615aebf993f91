# SPDX-License-Identifier: Apache-2.0
"""A network of the user's own code, from the ranking to every command that opens the run again."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from filterlens.models.user_module import Factory

NAME = "own_code:Small,features=6"
CODE = """
from pathlib import Path

import torch
from torch import nn

Path(__file__).with_name("imported").touch()


class Small(nn.Module):
    def __init__(self, features=4):
        super().__init__()
        self.first = nn.Conv2d(3, features, 3, padding=1)
        self.last = nn.Conv2d(features, 12, 3, padding=1)

    def forward(self, x):
        return nn.functional.pixel_shuffle(self.last(torch.tanh(self.first(x))), 2)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "own_code.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_code", raising=False)
    for role, seed in (("baseline", 0), ("target", 1)):
        torch.manual_seed(seed)
        save_file(Factory.parse(NAME).build().state_dict(), tmp_path / f"{role}.safetensors")
    return tmp_path


@pytest.fixture
def runs(run, folder, images):
    found = folder / "run"
    outcome = run(
        "attribute", "--baseline", folder / "baseline.safetensors", "--target", folder / "target.safetensors",
        "--architecture", NAME, "--images", images, "--degradation", "blur:2", "--degradation", "noise:0.1",
        "-o", found, "--nodes", "2", "--precision", "fp32",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    sys.modules.pop("own_code")
    (folder / "imported").unlink()
    return found


def commands(found, images, folder):
    return {
        "mask": ["mask", found, "--images", images, "--percent", "10", "--no-controls"],
        "classify": ["classify", images, "--run", found, "--percent", "10", "--thresholds", "paper"],
        "restore": ["restore", images, folder / "out", "--run", found, "--without", "blur:2", "--percent", "10"],
        "export": ["adapter", "export", "--run", found, "--degradation", "blur:2", "--percent", "10",
                   "-o", folder / "blur.safetensors"],
        "retrain": ["retrain", found, "--degradation", "blur:2", "--images", images, "--iterations", "2",
                    "--percent", "10", "--batch", "1", "--patch", "16"],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["mask", "classify", "restore", "export", "retrain"])
def test_a_run_imports_code_only_if_the_user_names_it_again(run, runs, folder, images, name):
    command = commands(runs, images, folder)[name]
    refused = run(*command)
    assert refused.code == 2
    assert f"give --architecture {NAME}" in refused.err
    assert run(*command, "--architecture", "own_code:Small").code == 2  # other options than the run's
    assert not (folder / "imported").exists()
    done = run(*command, "--architecture", NAME)
    assert done.code == 0, done.err


def test_a_run_that_was_made_up_runs_nothing(run, runs, folder, images):
    facts = json.loads((runs / "run.json").read_text())
    facts["pair"]["architecture"] = f"pathlib:Path.touch,self={folder / 'harm'}"
    (runs / "run.json").write_text(json.dumps(facts))
    for command in commands(runs, images, folder).values():
        assert run(*command).code == 2
    assert run("app", "--run", runs, "--no-browser").code != 0
    assert not (folder / "harm").exists()


def test_base_and_adapter_of_own_code(run, runs, folder, images):
    run(*commands(runs, images, folder)["export"], "--architecture", NAME)
    base = ["--base", folder / "target.safetensors", "--adapter", f"{folder / 'blur.safetensors'}=0.5"]
    restored = run("restore", images, folder / "dialled", *base, "--architecture", NAME)
    assert restored.code == 0, restored.err
    merged = run("adapter", "merge", *base, "-o", folder / "merged.safetensors", "--architecture", NAME)
    assert merged.code == 0, merged.err
    again = run("restore", images, folder / "again", "--model", folder / "merged.safetensors", "--architecture", NAME)
    assert again.code == 0, again.err
    for path in sorted((folder / "dialled").iterdir()):
        assert path.read_bytes() == (folder / "again" / path.name).read_bytes()


def test_a_recipe_names_no_code(run, folder, images):
    text = 'name = "x"\narchitecture = "own_code:Small"\nbaseline = {iterations = 1, learning_rate = 1e-3}\n'
    (folder / "recipe.toml").write_text(text + "target = {iterations = 1, learning_rate = 1e-3}\n")
    (folder / "imported").unlink()
    given = ["--recipe", folder / "recipe.toml", "--baseline", folder / "target.safetensors"]
    refused = run("train", *given, "--images", images, "-o", folder / "o")
    assert refused.code == 2
    assert "--architecture own_code:Small" in refused.err
    assert not (folder / "imported").exists()
