# SPDX-License-Identifier: Apache-2.0
"""The folder of a training: whose files lie there, and how a new training takes the place of an old one.

A training with ``--fresh`` runs in a folder of its own inside, ``fresh``; only when it is whole do its files replace
the old ones. Killed before, it goes on there.
"""

import contextlib
from pathlib import Path

from filterlens.errors import FilterlensError
from filterlens.files import read_json
from filterlens.models.checkpoints import read_content
from filterlens.record import RECORD, Record
from filterlens.training.checkpointing import is_log_line, is_state

JOB = "train"
FRESH = "fresh"
SETTINGS, LOG = "train.json", "log.jsonl"
ROLES = ("baseline", "target")
STATES = tuple(f"{role}.state.pt" for role in ROLES)
WEIGHTS = tuple(f"{role}.safetensors" for role in ROLES)
NAMES = (SETTINGS, LOG, *STATES, *WEIGHTS)
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
    if is_begun(staged, fingerprint):
        if not _is_whole(staged):
            return staged
        take_place(output, fingerprint)  # a kill came between the end of the training and this
        return output
    if not fresh:
        return output
    record_of(staged).remove(NAMES)
    return staged


def is_begun(folder: Path, fingerprint: str) -> bool:
    """Whether a training of this fingerprint was begun in a folder."""
    path = folder / SETTINGS
    try:
        is_small = path.is_file() and path.stat().st_size < _SMALL
        return is_small and bool(read_json(path)["fingerprint"] == fingerprint)
    except (FilterlensError, OSError, KeyError, TypeError, RecursionError):
        return False


def _is_whole(staged: Path) -> bool:
    """The target is the last file that a training writes, and the last that is moved."""
    return (staged / WEIGHTS[1]).is_file() and not any((staged / name).exists() for name in STATES)


def take_place(output: Path, fingerprint: str) -> None:
    """Let the whole training in ``fresh`` replace the one in the folder.

    The old target goes first and the new one comes last: at no moment does one training's target lie beside the
    other's baseline. A kill in between is mended by the next run.

    Raises:
        FilterlensError: A file in the way is not ours.
    """
    staged, record = output / FRESH, record_of(output)
    present = [name for name in NAMES if (staged / name).is_file()]
    with record.writing(*NAMES, made_of=fingerprint):
        try:
            for name in (WEIGHTS[1], *STATES):
                (output / name).unlink(missing_ok=True)
            for name in present:
                (staged / name).replace(output / name)
        except OSError as error:
            raise FilterlensError(
                f"Cannot move the new training from '{staged}' to '{output}': {error.strerror or error}. The same "
                "command tries again."
            ) from error
    with contextlib.suppress(OSError):  # something else lies there
        (staged / RECORD).unlink(missing_ok=True)
        staged.rmdir()


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
