# SPDX-License-Identifier: Apache-2.0
"""Attribution by many processes and after kills: the same bytes as by one process in one go."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from filterlens import FAIG, FilterlensError, OwnObjective, UsageError
from filterlens.attribution.settings import AttributeSettings
from filterlens.data.images import write_image
from filterlens.data.photographs import photograph, square
from filterlens.jobs.attribute import attribute_to_folder
from filterlens.progress import Silent
from filterlens.work.store import POINTS, Store
from tests.attribution.small_networks import make_pair, photographs
from tests.small_srresnet import save_small_pair

IMAGES = dict(zip(("one", "two", "three"), photographs(3, 40, 36), strict=True))
DEGRADATIONS = ["blur:1", "noise:0.1"]
RESULTS = ("filters.csv", "scores.safetensors")


class Watched(Silent):
    def __init__(self):
        self.notes, self.points = [], []

    def note(self, text):
        self.notes.append(text)

    def bar(self, name, total, done=0):
        watched, inner = self, super().bar(name, total, done)

        class Counting:
            def __enter__(self):
                watched.points.append([name, done, total])
                return self

            def __exit__(self, *_):
                return inner.__exit__(None, None, None)

            def advance(self, steps=1):
                watched.points[-1][1] += steps

            def describe(self, text):
                pass

        inner.__enter__()
        return Counting()


@pytest.fixture
def pair():
    _, _, pair = make_pair()
    pair.facts = {role: {"path": role, "sha256": role, "card": {}} for role in ("baseline", "target")}
    return pair


def attribute(pair, folder, **more):
    return attribute_to_folder(pair, IMAGES, DEGRADATIONS, folder, methods=["faig", "ig"], **more)


def bytes_of(folder):
    return [(folder / name).read_bytes() for name in RESULTS]


@pytest.mark.parametrize("broken_at", [1, 3, 6, 9])
def test_a_job_that_broke_goes_on_where_it_stopped_and_ends_with_the_same_bytes(pair, tmp_path, monkeypatch, broken_at):
    attribute(pair, tmp_path / "whole")
    calls = []
    plain = FAIG.magnitudes

    def count(self, contributions):
        calls.append(self.name)
        if len(calls) == broken_at:
            raise KeyboardInterrupt
        return plain(self, contributions)

    monkeypatch.setattr("filterlens.attribution.method.GradientMethod.magnitudes", count)
    with pytest.raises(KeyboardInterrupt):
        attribute(pair, tmp_path / "broken")
    assert not (tmp_path / "broken" / "run.json").exists()
    watched = Watched()
    attribute(pair, tmp_path / "broken", progress=watched)
    assert len(calls) == 12 + 1, "3 images x 2 degradations x 2 methods, and the one that broke"
    assert bytes_of(tmp_path / "broken") == bytes_of(tmp_path / "whole")
    assert not (tmp_path / "broken" / "partial").exists()
    assert [done == total for _, done, total in watched.points] == [True, True]
    if broken_at == 3:
        assert watched.notes == ["faig: 2 of 6 were computed before and are taken from disk"]


def test_a_damaged_measurement_is_measured_again(pair, tmp_path, monkeypatch):
    attribute(pair, tmp_path / "whole")
    monkeypatch.setattr(Store, "clear", lambda self: None)
    attribute(pair, tmp_path / "kept")
    parts = sorted((tmp_path / "kept" / "partial").glob("*.safetensors"))
    assert len(parts) == 12
    parts[0].write_bytes(parts[0].read_bytes()[:100])
    parts[1].write_bytes(b"")
    watched = Watched()
    attribute(pair, tmp_path / "kept", progress=watched, force=True)
    assert bytes_of(tmp_path / "kept") == bytes_of(tmp_path / "whole")
    assert sum(int(note.split(": ")[1].split()[0]) for note in watched.notes) == 10


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"objective": "target"}, {"protocol": "reference"}, {"degradations": ["blur:1.5", "jpeg:30"]}],
)
def test_what_other_settings_left_behind_is_not_taken(pair, tmp_path, monkeypatch, change):
    monkeypatch.setattr(Store, "clear", lambda self: None)
    settings = {name: value for name, value in change.items() if name != "degradations"}
    degradations = change.get("degradations", DEGRADATIONS)
    attribute_to_folder(pair, IMAGES, degradations, tmp_path, settings=AttributeSettings(**settings))
    watched = Watched()
    attribute_to_folder(pair, IMAGES, DEGRADATIONS, tmp_path, progress=watched, force=True)
    assert watched.notes == []


def test_another_pair_or_another_image_of_the_same_name_is_not_taken(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "clear", lambda self: None)
    attribute(pair, tmp_path)
    watched = Watched()
    _, _, other = make_pair(seed=1)
    other.facts = pair.facts
    attribute(other, tmp_path, progress=watched, force=True)
    attribute_to_folder(pair, {"one": IMAGES["two"] / 2}, DEGRADATIONS, tmp_path, progress=watched, force=True)
    assert watched.notes == []


def test_equal_images_under_two_names_count_twice(pair, tmp_path):
    twice = {"a": IMAGES["one"], "b": IMAGES["one"]}
    facts = attribute_to_folder(pair, twice, DEGRADATIONS, tmp_path)
    assert [entry["image"] for entry in facts["completeness"]] == ["a", "a", "b", "b"]


def test_the_bar_of_a_unit_always_fills_and_never_overflows(pair, tmp_path):
    watched = Watched()
    attribute(pair, tmp_path, progress=watched)
    assert watched.points == [["faig", 6 * POINTS, 6 * POINTS], ["ig", 6 * POINTS, 6 * POINTS]]


def test_a_full_disk_is_an_error(pair, tmp_path, monkeypatch):
    def full(*arguments, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("filterlens.tensors.save", full)
    with pytest.raises(FilterlensError, match="No space left on device"):
        attribute(pair, tmp_path)


# ---- real processes ----


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The arguments of a real job: a small pair and three photographs on disk."""
    folder = tmp_path_factory.mktemp("job")
    save_small_pair(folder, scale=2, features=16, blocks=3)
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        write_image(folder / "images" / f"{name}.png", square(photograph(name), 128, 100, 100))
    return [
        "attribute", "--baseline", str(folder / "baseline.safetensors"), "--target", str(folder / "target.safetensors"),
        "--images", str(folder / "images"), "--degradation", "blur:2", "--degradation", "noise:0.1",
        "--precision", "fp32", "--device", "cpu", "--method", "faig", "--method", "ig",
    ]  # fmt: skip


TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "filterlens"]
ONE = [sys.executable, "-m", "filterlens"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
needs_launcher = pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no distributed")


def call(command, job, output):
    done = subprocess.run(
        [*command, *job, "--output", str(output)], capture_output=True, text=True, env=ENVIRONMENT, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@needs_launcher
def test_two_processes_give_the_bytes_of_one_and_speak_once(job, tmp_path):
    call(ONE, job, tmp_path / "one")
    done = call(TWO, [*job, "--json"], tmp_path / "two")
    assert bytes_of(tmp_path / "two") == bytes_of(tmp_path / "one")
    assert json.loads(done.stdout)["images"] == 4, "only one process prints"
    assert json.loads((tmp_path / "two" / "run.json").read_text())["settings"]["processes"] == 2
    assert not (tmp_path / "two" / "partial").exists()


@needs_launcher
def test_after_kill_9_of_one_process_the_job_goes_on_and_ends_with_the_same_bytes(job, tmp_path):
    call(ONE, job, tmp_path / "whole")
    partial = tmp_path / "killed" / "partial"
    started = subprocess.Popen(
        [*TWO, *job, "--output", str(tmp_path / "killed")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lambda: len(list(partial.glob("faig-*.safetensors"))) >= 2)
        os.kill(one_worker_of(started.pid), signal.SIGKILL)
        started.wait(60)
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
    assert started.returncode != 0
    kept = len(list(partial.glob("*.safetensors")))
    assert kept >= 2 and not (tmp_path / "killed" / "run.json").exists()
    done = call(ONE, job, tmp_path / "killed")
    assert "were computed before and are taken from disk" in done.stderr
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


def wait_for(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "nothing happened for two minutes"
        time.sleep(0.01)


def one_worker_of(launcher):
    children = Path(f"/proc/{launcher}/task/{launcher}/children")
    if not children.exists():
        pytest.skip("children of a process cannot be listed here")
    return int(children.read_text().split()[-1])


def power(exponent):
    return lambda output, reference: (output - reference).abs().pow(exponent).sum()


@pytest.mark.parametrize(
    "other",
    [{"loss": "l1"}, {"objective": power(2)}, {"objective": OwnObjective(power(3), additive=True)}, {}],
    ids=["by name", "another exponent", "additive", "the usual one"],
)
def test_what_one_objective_left_behind_is_not_taken_for_another(pair, tmp_path, monkeypatch, other):
    monkeypatch.setattr(Store, "clear", lambda self: None)
    own = {"settings": AttributeSettings(objective=power(3))}
    facts = attribute_to_folder(pair, IMAGES, DEGRADATIONS, tmp_path, **own)
    assert facts["settings"]["objective"] == "truth"
    assert facts["settings"]["loss"]["qualified_name"] == "power.<locals>.<lambda>"
    watched = Watched()
    same = {"settings": AttributeSettings(objective=power(3))}
    again = attribute_to_folder(pair, IMAGES, DEGRADATIONS, tmp_path, progress=watched, **same)
    assert again["made_of"] == facts["made_of"]
    assert "this very ranking already" in watched.notes[0]
    with pytest.raises(UsageError, match="holds a ranking of other settings"):
        attribute_to_folder(pair, IMAGES, DEGRADATIONS, tmp_path, settings=AttributeSettings(**other))
    watched = Watched()
    settings = AttributeSettings(**other)
    attribute_to_folder(pair, IMAGES, DEGRADATIONS, tmp_path, progress=watched, force=True, settings=settings)
    assert watched.notes == []
