# SPDX-License-Identifier: Apache-2.0
"""The state of a training on disk, from which a killed run resumes with the same numbers."""

import contextlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import torch

from filterlens.errors import FilterlensError, UsageError, first_line
from filterlens.files import whole_file, write_text
from filterlens.progress import Note
from filterlens.training.state import TrainingState
from filterlens.version import __version__

FORMAT = 1


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write the whole training state (network, average, optimiser, step, fingerprint)."""
    content = io.BytesIO()
    torch.save({"filterlens": __version__, "format": FORMAT} | state, content)
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())  # torch's own writer hides a full disk behind its own error


def load_state(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read a training state; None if there is none.

    Raises:
        AnotherTrainingError: The state belongs to another training.
        FilterlensError: The file cannot be read, is no training state, or one of a newer version.
    """
    if not path.exists():
        return None
    try:
        _check_archive(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}")
    except Exception as error:  # torch raises whatever the damage provokes
        raise damaged(path, error) from error
    if state.get("format", FORMAT) != FORMAT:
        raise FilterlensError(
            f"Training state '{path}' is of filterlens {str(state.get('filterlens'))[:40]!r}, not of this version, "
            f"{__version__}. Use that one to go on, or delete the file to start this stage anew."
        )
    if state.get("fingerprint") != fingerprint:
        raise AnotherTrainingError(path.parent)
    return state


def is_state(path: Path) -> bool:
    """Whether a file is a training state, of whatever training."""
    return _fingerprint_in(path) is not None


def is_of(path: Path, fingerprint: str) -> bool:
    """Whether a file is a state of a certain training."""
    return bool(_fingerprint_in(path) == fingerprint)


def _fingerprint_in(path: Path) -> Any:
    try:
        _check_archive(path)
        return torch.load(path, map_location="cpu", weights_only=True)["fingerprint"]
    except Exception:  # torch raises whatever the damage provokes
        return None


def resume(path: Path, fingerprint: str, state: TrainingState, iterations: int) -> dict[str, Any] | None:
    """Take over a training state, if there is one, and return it; nothing of it is used unless all of it fits.

    Raises:
        AnotherTrainingError: The state belongs to another training.
        FilterlensError: It cannot be read, or does not fit the training.
    """
    content = load_state(path, fingerprint)
    if content is None:
        return None
    try:
        state.restore(content)
        if not 0 <= state.done <= iterations:
            raise ValueError(f"it says step {state.done} of {iterations}")
        if not state.is_finite():
            raise ValueError("a weight is not finite")
    except Exception as error:  # its content is whatever somebody wrote
        raise damaged(path, error) from error
    return content


def _check_archive(path: Path) -> None:
    """Refuse what torch would read but filterlens never wrote: compressed content, which may unpack without end."""
    if not path.is_file():
        raise ValueError("it is no file")
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("its content is compressed")
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise ValueError("its parts are larger than it is")
        broken = archive.testzip()
    if broken is not None:
        raise ValueError(f"its part {broken[:60]!r} is damaged")


def damaged(path: Path, error: Exception) -> FilterlensError:
    """Build the error for a state that cannot be used."""
    reason = first_line(error) or type(error).__name__
    return FilterlensError(
        f"Cannot read training state '{path}' ({reason}). It is damaged or no training state. Delete it to start "
        "this stage anew."
    )


class AnotherTrainingError(UsageError):
    """A folder holds the files of another recipe, other images or another baseline.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"'{folder}' holds a training with another recipe or other images, or from another baseline. "
            "Give another --output, or --fresh to start over."
        )


def is_log_line(line: str) -> bool:
    """Whether a line is one of a training's log."""
    return _entry(line) is not None


def _entry(line: str) -> tuple[str, int] | None:
    """Return stage and step of a log line; None where it is none."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    stage, step = entry.get("stage"), entry.get("step")
    return (stage, step) if isinstance(stage, str) and type(step) is int else None


class Log:
    """The log of a training; what cannot be written now is written later, so that a full disk stops no training.

    Args:
        path: A file of JSON lines.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[dict[str, Any]] = []

    def rewind(self, stage: str, step: int, note: Note) -> None:
        """Drop lines of ``stage`` after ``step``, where it goes on, so that a resumed run does not log them twice.

        Lines that are no log lines go too, with a note: a kill tore them, or somebody else wrote them.

        Raises:
            FilterlensError: The file cannot be read or written.
        """
        if not self.path.exists():
            return
        try:
            text = self.path.read_bytes().decode("utf-8", errors="replace")
        except OSError as error:
            raise FilterlensError(f"Cannot read '{self.path}': {error.strerror or error}.") from error
        lines = [line for line in text.split("\n") if line.strip()]
        ours = [(line, entry) for line in lines if (entry := _entry(line)) is not None]
        rewound = "".join(f"{line}\n" for line, (of_stage, at) in ours if of_stage != stage or at <= step)
        if rewound != text:
            write_text(self.path, rewound)
        if dropped := len(lines) - len(ours):
            note(f"'{self.path}': {dropped} line(s) that are no log lines were dropped")

    def append(self, entry: dict[str, Any]) -> None:
        """Write a line, or keep it for later."""
        self._waiting.append(entry)
        with contextlib.suppress(FilterlensError):
            self.flush()

    def flush(self) -> None:
        """Write all lines that wait, or none of them where the disk is full.

        Raises:
            FilterlensError: The file cannot be written.
        """
        if self._waiting:
            self._write("".join(f"{json.dumps(entry)}\n" for entry in self._waiting).encode())
            self._waiting = []

    def _write(self, content: bytes) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as stream:
                before = stream.tell()
                try:
                    if stream.write(content) != len(content):
                        raise OSError(None, "the disk is full")
                except OSError:
                    with contextlib.suppress(OSError):
                        stream.truncate(before)
                    raise
        except OSError as error:
            raise FilterlensError(f"Cannot write '{self.path}': {error.strerror or error}. Free the disk.") from error
