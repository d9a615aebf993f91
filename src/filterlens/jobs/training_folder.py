# SPDX-License-Identifier: Apache-2.0
"""The folder of a training: whose files lie there, and how a new training takes the place of an old one.

A training with ``--fresh`` runs in a folder of its own inside, ``fresh``; only when it is whole do its files replace
the old ones. Killed before, it goes on there. A whole one is renamed before its files are moved, so that a kill while
they are is mended by the next run.
"""

import contextlib
from pathlib import Path

from filterlens.errors import FilterlensError
from filterlens.files import read_json
from filterlens.models.checkpoints import read_content
from filterlens.record import RECORD, Record
from filterlens.training.checkpointing import is_log_line, is_state

JOB = "train"
FRESH, WHOLE = "fresh", "fresh.whole"
SETTINGS, LOG = "train.json", "log.jsonl"
ROLES = ("baseline", "target")
STATES = tuple(f"{role}.state.pt" for role in ROLES)
WEIGHTS = tuple(f"{role}.safetensors" for role in ROLES)
NAMES = (LOG, *STATES, *WEIGHTS, SETTINGS)
_SMALL = 4 << 20  # bytes of a train.json that is read


def record_of(folder: Path) -> Record:
    """Return the record of a training's folder and refuse files with our names that are not ours.

    A folder of an earlier version, which kept no record, is taken over where its files are what a training writes.

    Raises:
        UsageError: The folder is a file.
        FilterlensError: Such files, named.
    """
    record = Record(folder, JOB)
    if not set(record.names) & set(NAMES):
        record.adopt([name for name in NAMES if _looks_ours(folder / name)])
    record.check(NAMES)
    return record


def place_of(output: Path, fingerprint: str, fresh: bool) -> Path:
    """Return where a training runs: in the folder, or in ``fresh`` inside, from which it replaces what is there.

    A training that was begun with ``--fresh`` goes on there, also without it; another one that was begun there gives
    way to a new ``--fresh``.

    Raises:
        FilterlensError: Files in the way are not ours.
    """
    staged = output / FRESH
    if _move(output) == fingerprint:
        return output
    if is_begun(staged, fingerprint):
        return staged
    if not fresh:
        return output
    record_of(staged).remove(NAMES)
    return staged


def is_begun(folder: Path, fingerprint: str) -> bool:
    """Whether a training of this fingerprint was begun in a folder."""
    return _fingerprint_in(folder) == fingerprint


def _fingerprint_in(folder: Path) -> str | None:
    """Return what the settings of a training say, None where they say nothing."""
    path = folder / SETTINGS
    try:
        said = read_json(path)["fingerprint"] if path.is_file() and path.stat().st_size < _SMALL else None
    except (FilterlensError, OSError, KeyError, TypeError, RecursionError):
        return None
    return said if isinstance(said, str) else None


def take_place(output: Path) -> None:
    """Let the whole training in ``fresh`` replace the one in the folder.

    Raises:
        FilterlensError: A file in the way is not ours, or cannot be moved.
    """
    record_of(output)
    (output / FRESH).replace(output / WHOLE)
    _move(output)


def _move(output: Path) -> str | None:
    """Move the files of a training that is whole, if there is one, and return its fingerprint.

    The old target goes first and the new one comes after the new baseline: at no moment does one training's target lie
    beside the other's baseline. The settings, which hold the fingerprint, come last.
    """
    whole = output / WHOLE
    present, fingerprint = [name for name in NAMES if (whole / name).is_file()], _fingerprint_in(whole)
    if present:
        with record_of(output).writing(*NAMES, made_of=fingerprint):
            if WEIGHTS[1] in present:
                for name in (WEIGHTS[1], *STATES):
                    (output / name).unlink(missing_ok=True)
            for name in present:
                (whole / name).replace(output / name)
    if whole.is_dir():
        (whole / RECORD).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else lies there
            whole.rmdir()
    if whole.is_dir() and not (output / FRESH).exists():
        whole.replace(output / FRESH)
    return fingerprint


def _looks_ours(path: Path) -> bool:
    """Whether a file of an earlier version's folder is what a training writes under its name."""
    if path.is_symlink() or not path.is_file():
        return False
    try:
        if path.suffix == ".safetensors":
            return bool(read_content(path)[1]["card"]["role"] == path.stem)
        if path.name in STATES:
            return is_state(path)
        if path.name == LOG:
            with path.open("rb") as stream:
                return is_log_line(stream.readline(1 << 16).decode())
        return path.stat().st_size < _SMALL and {"filterlens", "recipe"} <= set(read_json(path))
    except (FilterlensError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
