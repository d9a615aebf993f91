# SPDX-License-Identifier: Apache-2.0
"""Bad input: one line that quotes the value and the remedy, the right exit code, nothing half-written."""

import contextlib
import errno
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from filterlens.files import PART
from filterlens.models.checkpoints import load_network, save_network


def refused(outcome, code, *parts):
    assert outcome.code == code, outcome
    lines = outcome.err.strip().splitlines()
    assert lines[-1].startswith("error: "), outcome.err
    assert "Traceback" not in outcome.err
    for part in parts:
        assert part in outcome.err, outcome.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["atribute"], "Did you mean 'attribute'"),
        (["attribute", "--imgaes", "x"], "--images"),
        (["attribute"], "Missing option"),
        (["degrade", "in", "out", "--degradation", "blurr:2"], "Did you mean 'blur'"),
        (["degrade", "in", "out", "--degradation", "noise:3"], "3"),
        (["degrade", "in", "out", "--degradation", "blur:2", "--scale", "7"], "1, 2, 3 or 4"),
        (["train", "--images", "x", "--recipe", "cpuu"], "Did you mean 'cpu'"),
        (["restore", "in", "out", "--pair", "srresnet-x2", "--model", "m.pth"], "one of --pair, --model and --run"),
        (["restore", "in", "out", "--without", "blur:2"], "--run"),
        (["restore", "in", "out", "--network", "targte"], "Did you mean 'target'"),
    ],
)
def test_wrong_use_exits_with_2(run, arguments, part):
    refused(run(*arguments), 2, part)


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--method", "fiag"], "Did you mean 'faig'"),
        (["--objective", "thruth"], "Did you mean 'truth'"),
        (["--protocol", "papr"], "Legal: default, reference"),
        (["--precision", "fp8"], "Legal: auto, bf16, fp32"),
        (["--device", "gpu"], "Unknown device 'gpu'"),
        (["--pair", "srresnet-x2"], "not both"),
        (["--degradation", "blur:2"], "given twice"),
        (["--nodes", "0"], "0 nodes are not legal"),
        (["--memory", "0"], "memory in GiB = 0.0 is not legal"),
        (["--memory", "nan"], "memory in GiB = nan is not legal"),
        (["--seed", "-1"], "seed = -1 is not legal"),
    ],
)
def test_wrong_settings_of_attribute_exit_with_2_and_write_nothing(attribute, more, part):
    outcome, folder = attribute(*more)
    refused(outcome, 2, part)
    assert not folder.exists()


def test_a_pair_must_be_named(run, images, tmp_path):
    common = ["attribute", "--images", images, "--degradation", "blur:2", "--output", tmp_path / "run"]
    refused(run(*common), 2, "--pair NAME")
    refused(run(*common, "--baseline", "b.pth"), 2, "--target is missing")
    refused(run(*common, "--pair", "srresnet-x9"), 2, "Did you mean 'srresnet-x2'")


def test_missing_corrupt_and_small_images_fail_by_name(attribute, images, tmp_path):
    refused(attribute(where=tmp_path / "none")[0], 1, "none' does not exist")
    (tmp_path / "empty").mkdir()
    refused(attribute(where=tmp_path / "empty")[0], 1, "holds no image")
    bad = tmp_path / "bad"
    shutil.copytree(images, bad)
    whole = (bad / "chelsea.png").read_bytes()
    (bad / "chelsea.png").write_bytes(whole[: len(whole) // 2])
    outcome, folder = attribute("--strict", where=bad)
    refused(outcome, 1, "chelsea.png", "intact copy")
    assert not folder.exists()
    outcome, folder = attribute(where=bad)
    refused(outcome, 1, "chelsea.png", "intact copy", "without 'chelsea'")
    assert [each["name"] for each in json.loads((folder / "run.json").read_text())["left_out"]] == ["chelsea"]
    (bad / "chelsea.png").write_bytes(b"no image at all")
    refused(attribute(where=bad)[0], 1, "not an image")
    Image.new("RGB", (24, 24), "red").save(bad / "chelsea.png")
    refused(attribute(where=bad)[0], 1, "24x24", "receptive field of 15", "--allow-small")
    assert attribute("--allow-small", "--force", where=bad)[0].code == 0


def test_bad_checkpoints_fail_by_name(run, images, checkpoints, tmp_path):
    def attempt(baseline, target):
        return run(
            "attribute", "--baseline", baseline, "--target", target, "--images", images, "--degradation", "blur:2",
            "--degradation", "noise:0.1", "--output", tmp_path / "run",
        )  # fmt: skip

    good = checkpoints / "target.safetensors"
    refused(attempt(tmp_path / "none.pth", good), 1, "none.pth", "does not exist")
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(good.read_bytes()[:5000])
    refused(attempt(truncated, good), 1, "truncated.safetensors")
    refused(attempt(good, good), 1, "identical weights")
    network = load_network(good).network
    with torch.no_grad():
        network.conv_hr.weight[0, 0, 0, 0] = float("nan")
    save_network(tmp_path / "nan.safetensors", network, "srresnet", {"scale": 2, "features": 8, "blocks": 2}, {})
    refused(attempt(tmp_path / "nan.safetensors", good), 1, "NaN", "conv_hr.weight")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    refused(attempt(tmp_path / "text.pth", good), 1, "text.pth")


def test_mask_and_report_need_a_run_folder(run, images, tmp_path):
    refused(run("mask", tmp_path, "--images", images), 1, "filterlens attribute")
    refused(run("report", tmp_path), 1, "filterlens attribute")


def test_a_changed_checkpoint_is_noticed(run, images, checkpoints, tmp_path):
    copies = tmp_path / "copies"
    shutil.copytree(checkpoints, copies)
    run(
        "attribute", "--baseline", copies / "baseline.safetensors", "--target", copies / "target.safetensors",
        "--images", images, "--degradation", "blur:2", "--degradation", "noise:0.1", "--output", tmp_path / "run",
        "--nodes", 1,
    )  # fmt: skip
    network = load_network(copies / "target.safetensors").network
    with torch.no_grad():
        network.conv_hr.bias.add_(1)
    save_network(copies / "target.safetensors", network, "srresnet", {"scale": 2, "features": 8, "blocks": 2}, {})
    refused(run("mask", tmp_path / "run", "--images", images), 1, "changed since")


def test_a_full_disk_leaves_no_half_written_file(attribute, monkeypatch):
    original = Path.replace

    def full(self, target):
        if Path(target).name == "filters.csv":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(self, target)

    monkeypatch.setattr(Path, "replace", full)
    outcome, folder = attribute()
    refused(outcome, 1, "filters.csv", "No space left", "Free the disk")
    assert not (folder / "filters.csv").exists()
    assert not list(folder.glob(f".*{PART}"))


def test_interrupting_exits_with_130_and_says_so(run, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("filterlens.jobs.degrade.degrade_folder", interrupted)
    refused(run("degrade", "in", tmp_path, "--degradation", "blur:2"), 130, "interrupted")


def test_ctrl_c_ends_a_running_job_with_130_and_one_line(checkpoints, images, tmp_path):
    words = [
        "attribute", "--baseline", checkpoints / "baseline.safetensors", "--target", checkpoints / "target.safetensors",
        "--images", images, "--degradation", "blur:2", "--degradation", "noise:0.1", "--output", tmp_path / "run",
        "--quadrature", "right", "--nodes", 10000,
    ]  # fmt: skip
    ours, theirs = pty.openpty()  # on a terminal the bar appears at once, which tells that the job runs
    process = subprocess.Popen(
        [sys.executable, "-m", "filterlens", *map(str, words)],
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # else ignored in the background
    )
    os.close(theirs)
    shown = b""
    while b"faig, astronaut" not in shown:
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # the terminal closes when the process ends
        while True:
            shown += os.read(ours, 4096)
    assert process.wait(timeout=60) == 130
    assert b"Traceback" not in shown and b"error: interrupted" in shown
    assert not (tmp_path / "run" / "filters.csv").exists()


def test_unexpected_failures_are_one_line_and_debug_shows_the_traceback(run, monkeypatch, tmp_path):
    def broken(*_, **__):
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr("filterlens.jobs.degrade.degrade_folder", broken)
    words = ("degrade", "in", tmp_path, "--degradation", "blur:2")
    refused(run(*words), 1, "ZeroDivisionError: by accident", "--debug")
    with pytest.raises(ZeroDivisionError):
        run(*words, "--debug")
