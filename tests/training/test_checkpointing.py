# SPDX-License-Identifier: Apache-2.0
"""The state of a training on disk, and the log that goes with it."""

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from filterlens.errors import FilterlensError, UsageError
from filterlens.training.checkpointing import Log, load_state, resume, save_state
from filterlens.training.state import TrainingState


def test_a_state_reads_back_equal(tmp_path: Path) -> None:
    save_state(tmp_path / "s.pt", {"fingerprint": "f", "step": 3, "network": {"w": torch.arange(3.0)}})
    state = load_state(tmp_path / "s.pt", "f")
    assert state is not None
    assert state["step"] == 3
    assert torch.equal(state["network"]["w"], torch.arange(3.0))


def test_no_state_is_no_error(tmp_path: Path) -> None:
    assert load_state(tmp_path / "s.pt", "f") is None


@pytest.mark.parametrize("state", [{"fingerprint": "other"}, {}])
def test_the_state_of_another_training_is_refused_with_the_remedy(tmp_path: Path, state: dict[str, str]) -> None:
    save_state(tmp_path / "s.pt", state)
    with pytest.raises(UsageError, match=r"another recipe or other images.*--output.*--fresh"):
        load_state(tmp_path / "s.pt", "f")


def test_a_truncated_state_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "s.pt"
    save_state(path, {"fingerprint": "f"})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FilterlensError, match="Delete it to start this stage anew"):
        load_state(path, "f")


def test_rewinding_drops_the_later_lines_of_the_stage_and_torn_ones(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    entries = [{"stage": stage, "step": step} for stage in ("baseline", "target") for step in (1, 2, 3)]
    log = Log(path)
    for entry in entries:
        log.append(entry)
    with path.open("a") as stream:
        stream.write('{"stage": "target", "st')  # a kill in the middle of a line
    told: list[str] = []
    log.rewind("target", 1, told.append)
    assert told == [f"'{path}': 1 line(s) that are no log lines were dropped"]
    assert [json.loads(line) for line in path.read_text().splitlines()] == entries[:4]


def test_rewinding_without_a_log_does_nothing(tmp_path: Path) -> None:
    Log(tmp_path / "log.jsonl").rewind("target", 1, pytest.fail)
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.append({"stage": "target", "step": 1})
    with pytest.raises(FilterlensError, match="Cannot write"):
        log.flush()


def compressed(path: Path) -> None:
    """Replace the parts of a state by compressed ones, as large as one likes."""
    content = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))


def flipped(path: Path) -> None:
    """Flip one bit of a weight."""
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(1.0, 9.0).numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)


def running() -> TrainingState:
    torch.manual_seed(0)
    made = TrainingState.start(nn.Conv2d(1, 1, 1), torch.device("cpu"), betas=(0.9, 0.99), ema=0.9)
    made.network(torch.ones(1, 1, 1, 1)).sum().backward()
    made.optimizer.step()
    return made


def whole_state() -> dict[str, Any]:
    made = running()
    made.done = 4
    return {"fingerprint": "f", "marker": torch.arange(1.0, 9.0)} | made.content(torch.zeros(()))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no archive" * 100),
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        compressed,
        flipped,
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save({"fingerprint": "f"}, path, _use_new_zipfile_serialization=False),
        lambda path: torch.save({"fingerprint": Path("x")}, path),  # would run code
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=["empty", "text", "torn", "compressed", "flipped", "list", "legacy", "code", "folder", "pipe"],
)
def test_a_file_that_is_no_whole_state_is_one_line_with_the_remedy(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "s.pt"
    save_state(path, whole_state())
    assert load_state(path, "f") is not None
    damage(path)
    with pytest.raises(FilterlensError, match=r"Cannot read training state '.*s\.pt'.*Delete it to start") as caught:
        load_state(path, "f")
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"step": 7},
        {"step": -1},
        {"step": "x"},
        {"network": {}},
        {"network": {"weight": torch.full((1, 1, 1, 1), torch.nan), "bias": torch.zeros(1)}},
        {"network": 3},
        {"average": {"module.weight": torch.zeros(3)}},
        {"optimizer": {"state": {}, "param_groups": []}},
        {"optimizer": None},
        {"meter": {"total": torch.zeros(3), "steps": 1}},
        {"meter": []},
    ],
    ids=str,
)
def test_a_state_whose_content_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    save_state(tmp_path / "s.pt", whole_state())
    assert resume(tmp_path / "s.pt", "f", running(), 6) is not None
    save_state(tmp_path / "s.pt", whole_state() | changes)
    with pytest.raises(FilterlensError, match="Delete it to start this stage anew"):
        resume(tmp_path / "s.pt", "f", running(), 6)


def test_moments_of_another_shape_than_their_weights_are_refused(tmp_path: Path) -> None:
    state = whole_state()
    state["optimizer"]["state"][0]["exp_avg"] = torch.zeros(3)
    save_state(tmp_path / "s.pt", state)
    with pytest.raises(FilterlensError, match="a moment of Adam has another shape"):
        resume(tmp_path / "s.pt", "f", running(), 6)


def test_a_state_of_a_newer_version_is_told_apart(tmp_path: Path) -> None:
    save_state(tmp_path / "s.pt", whole_state() | {"format": 2, "filterlens": "9.1"})
    with pytest.raises(FilterlensError, match=r"is of filterlens '9\.1', not of this version"):
        load_state(tmp_path / "s.pt", "f")


def test_lines_of_a_log_that_cannot_be_written_wait_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = Log(path)
    path.mkdir()  # in the way
    for step in (1, 2):
        log.append({"stage": "target", "step": step})
    with pytest.raises(FilterlensError, match="Cannot write"):
        log.flush()
    path.rmdir()
    log.append({"stage": "target", "step": 3})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_lines_that_are_no_log_lines_are_counted_and_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"stage": "target", "step": 1}\nhello\n\n[1]\n{"stage": "target", "step": true}\n\xff\n')
    told: list[str] = []
    Log(path).rewind("target", 1, told.append)
    assert told == [f"'{path}': 4 line(s) that are no log lines were dropped"]
    assert path.read_text() == '{"stage": "target", "step": 1}\n'
