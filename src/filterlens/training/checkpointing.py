# SPDX-License-Identifier: Apache-2.0
"""The state of a training on disk, from which a killed run goes on with the same numbers."""

import io
import json
from pathlib import Path
from typing import Any

import torch

from filterlens.errors import FilterlensError, UsageError
from filterlens.files import whole_file, write_text


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write the whole training state (network, average, optimiser, step, fingerprint)."""
    content = io.BytesIO()
    torch.save(state, content)
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())  # torch's own writer hides a full disk behind its own error


def load_state(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read a training state; None if there is none.

    Raises:
        UsageError: The state belongs to another training.
        FilterlensError: The file cannot be read.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise FilterlensError(
            f"Cannot read training state '{path}' ({error}). Delete it to start this stage anew."
        ) from error
    if state.get("fingerprint") != fingerprint:
        raise another_training(path.parent)
    return state


def another_training(folder: Path) -> UsageError:
    """Build the error for a folder that holds the files of another recipe, other images or another baseline."""
    return UsageError(
        f"'{folder}' holds a training with another recipe or other images, or from another baseline. "
        "Give another --output, or --fresh to start over."
    )


def rewind_log(path: Path, stage: str, step: int) -> None:
    """Drop log lines of ``stage`` after ``step``, and torn ones, so that a resumed run does not log them twice."""
    if not path.exists():
        return
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    kept = [line for line in lines if _is_before(line, stage, step)]
    write_text(path, "".join(f"{line}\n" for line in kept))


def _is_before(line: str, stage: str, step: int) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:  # a kill cut the line short
        return False
    return bool(entry["stage"] != stage or entry["step"] <= step)


def append_log(path: Path, entry: dict[str, Any]) -> None:
    """Append one JSON line."""
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise FilterlensError(f"Cannot write '{path}': {error.strerror or error}.") from error
