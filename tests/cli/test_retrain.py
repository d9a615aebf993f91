# SPDX-License-Identifier: Apache-2.0
"""``filterlens retrain`` from a run folder to a network that ``restore`` runs."""

import pytest

from filterlens.cli.main import app
from filterlens.cli.retrain import retrain


@pytest.fixture(autouse=True)
def _command_exists(monkeypatch):
    """Have the command, whether or not the entry point lists it."""
    if retrain not in [info.callback for info in app.registered_commands]:
        monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
        app.command()(retrain)


@pytest.fixture
def made(attribute):
    outcome, folder = attribute()
    assert outcome.code == 0, outcome.err
    return folder


def small(folder, images):
    return (
        "retrain", folder, "--images", images, "--iterations", 2, "--batch", 1, "--patch", 32, "--percent", 5,
        "--device", "cpu", "--precision", "fp32",
    )  # fmt: skip


def test_retrain_prints_the_psnr_before_and_after_and_writes_a_network(run, made, images, tmp_path):
    outcome = run(*small(made, images), "--degradation", "blur:2")
    assert outcome.code == 0, outcome.err
    assert "PSNR on blur:2:" in outcome.out and "before" in outcome.out and "biases frozen" in outcome.out
    again = run(*small(made, images), "--degradation", "blur:2", "--json")
    record = again.json()
    assert record["weights"] == str(made / "retrained.safetensors")
    assert set(record["psnr"]) == {"baseline", "retrained", "target"} and record["judged_on"] == ["astronaut.png"]
    restored = run("restore", images, tmp_path / "restored", "--model", record["weights"])
    assert restored.code == 0, restored.err


def test_output_and_part_can_be_chosen(run, made, images, tmp_path):
    path = tmp_path / "deep" / "lora.safetensors"
    outcome = run(*small(made, images), "--degradation", "noise:0.1", "--part", "low-rank", "--output", path, "--json")
    assert outcome.code == 0, outcome.err
    assert path.is_file() and outcome.json()["trained"]["part"] == "low rank"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--degradation", "blurr:2"), 2, "Did you mean 'blur'"),
        (("--degradation", "jpeg:30"), 2, "Unknown degradation of this attribution 'jpeg:30'"),
        (("--degradation", "blur:2", "--percent", 0), 2, "nothing to train"),
        (("--degradation", "blur:2", "--iterations", 0), 2, "iterations = 0"),
        (("--degradation", "blur:2", "--learning-rate", 7), 2, "learning_rate = 7"),
        (("--degradation", "blur:2", "--learning-rate", "nan"), 2, "learning_rate = nan"),
        (("--degradation", "blur:2", "--learning-rate", "inf"), 2, "learning_rate = inf"),
        (("--degradation", "blur:2", "--percent", "nan"), 2, "nan is not a percentage"),
        (("--degradation", "blur:2", "--percent", -1), 2, "-1.0 is not a percentage"),
        (("--degradation", "blur:2", "--iterations", -5), 2, "iterations = -5"),
        (("--degradation", "blur:2", "--iterations", 10**18), 2, f"iterations = {10**18}"),
        (("--degradation", "blur:2", "--seed", -1), 2, "seed = -1"),
        (("--degradation", "blur:2", "--batch", 10**7), 2, "batch = 10000000"),
        (("--degradation", "blur:2", "--batch", 0), 2, "batch = 0"),
        (("--degradation", "blur:2", "--patch", 10**6), 2, "patch = 1000000"),
        (("--degradation", "blur:2", "--batch", 65536, "--patch", 4096), 2, "batch = 65536 with patch = 4096 needs"),
        (("--degradation", "blur:2", "--patch", 128), 1, "smaller than a patch of 128"),
        (("--degradation", "blur:2", "--part", "lora"), 2, "Unknown part to train 'lora'"),
        (("--degradation", "blur:2", "--device", "tpu"), 2, "Unknown device 'tpu'"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_that_says_what_is_legal(run, made, images, arguments, code, words):
    outcome = run(*small(made, images), *arguments)
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert outcome.code == code and len(errors) == 1 and words in errors[0]
    assert not list(made.glob("retrained*"))


def test_no_run_is_refused(run, images, tmp_path):
    outcome = run(*small(tmp_path / "nowhere", images), "--degradation", "blur:2")
    assert outcome.code == 1 and "is no run folder" in outcome.err
