# SPDX-License-Identifier: Apache-2.0
"""``filterlens train`` from a recipe file to a pair that ``attribute`` reads."""

import json

import pytest
import torch

from filterlens.models.checkpoints import load_network

RECIPE = """
name = "tiny"
patch = 32
batch = 1
ema = 0.5
checkpoint_every = 1
[baseline]
iterations = 2
learning_rate = 1e-4
[target]
iterations = 2
learning_rate = 1e-3
degradations = [["blur:2", 0.5], ["noise:0.1", 0.5]]
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def test_train_makes_a_pair_with_cards_and_a_log(run, recipe, images, tmp_path):
    folder = tmp_path / "pair"
    validation = images / "chelsea.png"
    outcome = run("train", "--recipe", recipe, "--images", images, "--validation", validation, "--output", folder)
    assert outcome.code == 1 and "both a training and a validation image" in outcome.err
    outcome = run("train", "--recipe", recipe, "--images", images, "--output", folder, "--precision", "fp32", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json()["target"] == str(folder / "target.safetensors")
    assert json.loads((folder / "train.json").read_text())["recipe"]["name"] == "tiny"
    pair = ("--baseline", folder / "baseline.safetensors", "--target", folder / "target.safetensors")
    found = run(
        "attribute", *pair, "--images", images / "chelsea.png", "--degradation", "blur:2", "--degradation", "noise:0.1",
        "--output", tmp_path / "run", "--nodes", 1, "--allow-small",
    )  # fmt: skip
    assert found.code == 0, found.err
    card = json.loads((tmp_path / "run" / "run.json").read_text())["pair"]["target"]["card"]
    assert card["role"] == "target" and card["iterations"] == 2


def test_a_typo_in_a_recipe_names_the_nearest_setting(run, recipe, images):
    recipe.write_text(RECIPE.replace("checkpoint_every", "checkpont_every"))
    outcome = run("train", "--recipe", recipe, "--images", images)
    assert outcome.code == 2 and "Did you mean 'checkpoint_every'" in outcome.err


def test_train_fine_tunes_the_target_of_a_given_baseline(run, recipe, images, checkpoints, tmp_path):
    given, folder = checkpoints / "baseline.safetensors", tmp_path / "pair"
    train = ("train", "--recipe", recipe, "--images", images, "--output", folder, "--baseline")
    outcome = run(*train, given, "--device", "cpu", "--precision", "fp32", "--json")
    assert outcome.code == 0, outcome.err
    written = outcome.json()
    assert written["baseline"] == str(folder / "baseline.safetensors")
    baseline, target = (load_network(written[role]).network.state_dict() for role in ("baseline", "target"))
    torch.testing.assert_close(baseline, load_network(given).network.state_dict(), rtol=0, atol=0)
    assert not torch.equal(target["conv_last.weight"], baseline["conv_last.weight"])


def test_a_baseline_that_does_not_fit_or_exist_is_refused(run, recipe, images, checkpoints, tmp_path):
    train = ("train", "--recipe", recipe, "--images", images, "--output", tmp_path / "pair", "--baseline")
    outcome = run(*train, checkpoints / "baseline.safetensors", "--scale", 4)
    assert outcome.code == 2 and "has scale 2, recipe 'tiny' has 4" in outcome.err
    outcome = run(*train, tmp_path / "none.pth")
    assert outcome.code == 1 and "none.pth' does not exist" in outcome.err
    assert not (tmp_path / "pair").exists()
