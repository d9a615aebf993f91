# SPDX-License-Identifier: Apache-2.0
"""The state of a training on disk, and the log that goes with it."""

import json
from pathlib import Path

import pytest
import torch

from filterlens.errors import FilterlensError, UsageError
from filterlens.training.checkpointing import append_log, load_state, rewind_log, save_state


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
    for entry in entries:
        append_log(path, entry)
    with path.open("a") as stream:
        stream.write('{"stage": "target", "st')  # a kill in the middle of a line
    rewind_log(path, "target", 1)
    assert [json.loads(line) for line in path.read_text().splitlines()] == entries[:4]


def test_rewinding_without_a_log_does_nothing(tmp_path: Path) -> None:
    rewind_log(tmp_path / "log.jsonl", "target", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(FilterlensError, match="Cannot write"):
        append_log(tmp_path, {"stage": "target", "step": 1})
