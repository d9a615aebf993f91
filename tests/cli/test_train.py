# SPDX-License-Identifier: Apache-2.0
"""``filterlens train`` from a recipe file to a pair that ``attribute`` reads."""

import json
import os
import re
import signal
import subprocess
import sys
import time

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

NOT_IGNORED = (signal.SIGINT, signal.SIGHUP)  # as they are where tests run in the background, or under nohup


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


LONG = RECIPE.replace("iterations = 2\nlearning_rate = 1e-4", "iterations = 1000000\nlearning_rate = 1e-4").replace(
    "checkpoint_every = 1\n", "checkpoint_every = 1000000\nvalidate_every = 0\nnetwork = { features = 2, blocks = 1 }\n"
)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)])
def test_a_signal_ends_a_training_in_the_background_with_a_state_a_line_and_a_code(
    recipe, images, tmp_path, name, code
):
    recipe.write_text(LONG)
    words = ["train", "--recipe", recipe, "--images", images, "--output", tmp_path / "out", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "filterlens", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: [signal.signal(each, signal.SIG_DFL) for each in NOT_IGNORED],
    )
    log = tmp_path / "out" / "log.jsonl"
    while not log.exists():  # the first loss is logged after some steps
        time.sleep(0.05)
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.Signals[name])
    _, told = process.communicate(timeout=1800)
    assert process.returncode == code
    assert re.search(r"ended at step \d+ of the baseline; its state is saved", told)
    assert told.splitlines()[-1] == ("error: interrupted" if name == "SIGINT" else f"error: ended by {name}")
    assert "Traceback" not in told
    assert torch.load(tmp_path / "out" / "baseline.state.pt", weights_only=True)["step"] >= 100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seed", -1), "seed = -1"),
        (("--seed", 10**30), f"seed = {10**30}"),
        (("--iterations", 0), "target.iterations = 0"),
        (("--iterations", -5), "target.iterations = -5"),
        (("--iterations", 10**18), f"target.iterations = {10**18}"),
        (("--scale", 5), "scale = 5"),
        (("--scale", -2), "scale = -2"),
        (("--degradation", "noise:nan"), "nan"),
        (("--degradation", "blur:inf"), "inf"),
    ],
    ids=str,
)
def test_numbers_that_are_not_legal_are_refused_with_the_value_before_anything_is_written(
    run, recipe, images, tmp_path, arguments, words
):
    outcome = run("train", "--recipe", recipe, "--images", images, "--output", tmp_path / "out", *arguments)
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert outcome.code == 2 and len(errors) == 1 and words in errors[0], outcome.err
    assert not (tmp_path / "out").exists()


def test_two_equal_trainings_in_separate_processes_write_the_same_bytes(recipe, images, tmp_path):
    recipe.write_text(RECIPE.replace("checkpoint_every = 1\n", "network = { features = 2, blocks = 1 }\n"))
    for name, seed in (("a", "1"), ("b", "2")):
        words = ["train", "--recipe", recipe, "--images", images, "--output", tmp_path / name, "--device", "cpu"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-m", "filterlens", *map(str, words)], check=True, env=environment)
    for file in ("baseline.safetensors", "target.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
