# SPDX-License-Identifier: Apache-2.0
"""Networks of the user's own code that take a noise level and return more than an image, on the command line."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file

from filterlens import FilterlensError, ModelPair, UsageError
from filterlens.jobs.pairs import RunPair

NAME, CALL = "levels:Small", "levels:at_level,sigma=0.2"
CODE = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, into=3, normed=False):
        super().__init__()
        self.first = nn.Conv2d(into, 4, 3, padding=1)
        self.level = nn.Linear(1, 4)
        self.last = nn.Conv2d(4, 3, 3, padding=1)
        if normed:
            self.first = nn.utils.parametrizations.weight_norm(self.first)

    def forward(self, x, sigma):
        return self.last(torch.tanh(self.first(x) + self.level(sigma)[:, :, None, None])), sigma

def at_level(network, images, sigma=0.1):
    return network(images, torch.full((len(images), 1), sigma))[0]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "levels.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "levels", raising=False)
    import levels

    for role, seed in (("baseline", 0), ("target", 1)):
        torch.manual_seed(seed)
        save_file(levels.Small().state_dict(), tmp_path / f"{role}.safetensors")
    yield tmp_path
    sys.modules.pop("levels", None)


def test_a_pair_from_files_is_called_as_named(folder):
    import levels

    pair = ModelPair.load("baseline.safetensors", "target.safetensors", architecture=NAME, call=CALL)
    network = levels.Small()
    network.load_state_dict(pair.network(pair.target).state_dict())
    images = torch.rand(1, 3, 20, 24)
    with torch.no_grad():
        wanted = network(images, torch.full((1, 1), 0.2))[0]
    torch.testing.assert_close(pair.run(pair.target, images), wanted, rtol=1e-5, atol=1e-6)
    assert pair.tiling is not None and pair.tiling.halo == 2  # tried in float64, through the call
    assert pair.facts["architecture"] == f"{NAME} --call {CALL}" and pair.facts["call"]["source_hash"]
    other = ModelPair.load("baseline.safetensors", "target.safetensors", architecture=NAME, call="levels:at_level")
    assert other.identity != pair.identity


def test_without_a_call_the_inputs_are_quoted(folder):
    with pytest.raises(FilterlensError, match=r"takes 2 inputs, forward\(x, sigma\).*--call package\.module:function"):
        ModelPair.load("baseline.safetensors", "target.safetensors", architecture=NAME)
    with pytest.raises(UsageError, match=r"--call levels:at_level says how .* give --architecture"):
        ModelPair.load("baseline.safetensors", "target.safetensors", call="levels:at_level")
    with pytest.raises(UsageError, match=r"'at level' names no function"):
        ModelPair.load("baseline.safetensors", "target.safetensors", architecture=NAME, call="at level")
    with pytest.raises(UsageError, match=r"name in 'levels'.*at_leve"):
        ModelPair.load("baseline.safetensors", "target.safetensors", architecture=NAME, call="levels:at_leve")


def test_commands_want_the_call_named_again(folder, run, images):
    ends = ["--baseline", "baseline.safetensors", "--target", "target.safetensors"]
    named = ["--architecture", NAME, "--call", CALL]
    words = ["--images", images, "--degradation", "noise:0.1", "--output", "run", "--allow-small"]
    done = run("attribute", *ends, *named, *words)
    assert done.code == 0, done.err
    facts = json.loads((folder / "run" / "run.json").read_text())["pair"]
    assert facts["architecture"] == f"{NAME} --call {CALL}"
    refused = run("mask", "run", "--images", images)
    assert refused.code == 2 and f"--architecture {NAME} --call {CALL}" in refused.err
    pair = RunPair(f"{NAME} --call {CALL}").open(folder / "run")
    assert pair.scale == 1
    restored = run("restore", images, "out", "--run", "run", *named)
    assert restored.code == 0, restored.err
    (folder / "levels.py").write_text(CODE.replace("[0]\n", "[0] * 1.01\n"))
    sys.modules.pop("levels")
    with pytest.raises(FilterlensError, match=r"'at_level' of --call changed since"):
        RunPair(f"{NAME} --call {CALL}").open(folder / "run")


def test_normed_and_four_channel_networks_load(folder):
    import levels

    for role, seed in (("baseline", 0), ("target", 1)):
        torch.manual_seed(seed)
        save_file(levels.Small(4, True).state_dict(), folder / f"{role}4.safetensors")
    name = f"{NAME},into=4,normed=true"
    pair = ModelPair.load("baseline4.safetensors", "target4.safetensors", architecture=name, call=CALL)
    assert (pair.channels_in, pair.channels_out) == (4, 3) and "first.weight" in pair.network(pair.target).state_dict()
    save_file(pair.network(pair.baseline).state_dict(), folder / "plain4.safetensors")
    again = ModelPair.load("plain4.safetensors", "target4.safetensors", architecture=name, call=CALL)
    assert torch.equal(again.baseline, pair.baseline)
