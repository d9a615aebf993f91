# SPDX-License-Identifier: Apache-2.0
"""A record of the files in a folder that filterlens wrote: only those are ever replaced or removed.

The record is a file of JSON lines in the folder. A line is written before a file is, and again with its hash once it is
whole, so that a kill at any moment leaves no file of ours unknown and claims no file of others.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from filterlens.errors import FilterlensError, UsageError
from filterlens.files import PART, sha256_of, sweep

_LOCKS = ".filterlens."  # how every lock's name begins
GONE = "deleted"  # in place of the hash: any later file of that name is not ours
RECORD = ".filterlens-files.jsonl"
_LONGEST = 64 << 20  # bytes of a record that is read
SHOWN = 4


@dataclass(frozen=True)
class Entry:
    """The record of one file.

    Attributes:
        sha256: SHA-256 of its content; None while it is being written.
        job: Command that wrote it.
        made_of: Hash of everything that decides the content, where the job keeps one.
        settings: Short hash of the settings among these, which the record holds once, where the job keeps them.
    """

    sha256: str | None
    job: str
    made_of: str | None = None
    settings: str | None = None


class Record:
    """The files that jobs of filterlens wrote into a folder.

    A job that opens the record removes the temporary files that killed jobs left next to recorded files.

    Args:
        folder: Folder of the files; need not exist yet.
        job: Name of the command that writes now.

    Raises:
        UsageError: The path names a file.
    """

    def __init__(self, folder: Path, job: str) -> None:
        check_output_folder(folder)
        self.folder, self.job = folder, job
        self._entries, self._settings = _read(folder / RECORD)
        for place in {folder, *((folder / name).parent for name in self._entries)}:
            sweep(place, again=True)

    @property
    def names(self) -> tuple[str, ...]:
        """The recorded files, in the order in which they were first written."""
        return tuple(self._entries)

    def of_jobs(self, *jobs: str) -> tuple[str, ...]:
        """Return the files that certain commands wrote."""
        return tuple(name for name, entry in self._entries.items() if entry.job in jobs)

    def is_ours(self, name: str) -> bool:
        """Whether the file is as filterlens wrote it: recorded, and unchanged since."""
        entry, path = self._entries.get(name), self.folder / name
        if entry is None or path.is_symlink() or not path.is_file():
            return False
        return entry.sha256 is None or sha256_of(path) == entry.sha256

    def is_made(self, name: str, made_of: str) -> bool:
        """Whether the file is there, whole, unchanged, and was made of the same things."""
        entry = self._entries.get(name)
        return entry is not None and entry.sha256 is not None and entry.made_of == made_of and self.is_ours(name)

    def is_begun(self, name: str, made_of: str) -> bool:
        """Whether the job was killed while it wrote this file of the same things: it is whole or the one before it."""
        entry = self._entries.get(name)
        return entry is not None and entry.sha256 is None and entry.made_of == made_of and self.is_ours(name)

    def job_of(self, name: str) -> str | None:
        """Return the command that wrote a file; None where none of ours did."""
        entry = self._entries.get(name)
        return None if entry is None else entry.job

    def settings_of(self, name: str) -> dict[str, Any] | None:
        """Return the settings that a file was made with; None where they were not recorded."""
        entry = self._entries.get(name)
        return None if entry is None or entry.settings is None else self._settings.get(entry.settings)

    def check(self, names: Iterable[str]) -> None:
        """Refuse to replace a file that is not ours.

        Raises:
            FilterlensError: Such files, named.
        """
        strangers = [name for name in names if os.path.lexists(self.folder / name) and not self.is_ours(name)]
        if strangers:
            raise FilterlensError(
                f"{listed(strangers)} in '{self.folder}' would be replaced, but filterlens did not write "
                f"{'it' if len(strangers) == 1 else 'them'}, or it was changed since. Move it away, or give another "
                "folder."
            )

    @contextlib.contextmanager
    def writing(
        self,
        *names: str,
        made_of: str | None = None,
        settings: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> Iterator[None]:
        """Record files that the block writes, relative to the folder.

        Args:
            names: The files.
            made_of: Hash of everything that decides their content.
            settings: JSON values among these, for :meth:`settings_of`.
            force: Write also over others' files.

        Raises:
            FilterlensError: A file is in the way that is not ours, or the record cannot be written.
        """
        if not force:
            self.check(names)
        key = None if settings is None else self._keep_settings(settings)
        for name in names:
            self._append(name, Entry(None, self.job, made_of, key))
        yield
        for name in names:
            if (self.folder / name).is_file():
                self._append(name, Entry(sha256_of(self.folder / name), self.job, made_of, key))

    def settle(self, names: Iterable[str]) -> None:
        """Record the content of files that are known to be whole though their writer was killed before it said so."""
        for name in names:
            entry = self._entries.get(name)
            if entry is not None and entry.sha256 is None and self.is_ours(name):
                settled = replace(entry, sha256=sha256_of(self.folder / name))
                self._append(name, settled)

    def adopt(self, names: Iterable[str]) -> None:
        """Record files of an earlier version, which kept no record, as they are now."""
        for name in names:
            path = self.folder / name
            if name not in self._entries and path.is_file() and not path.is_symlink():
                self._append(name, Entry(sha256_of(path), self.job))

    def remove(self, names: Iterable[str]) -> None:
        """Delete recorded files, and folders that are empty then; all other files stay.

        Raises:
            FilterlensError: A file was changed since it was written; nothing is deleted then.
        """
        present = [name for name in names if os.path.lexists(self.folder / name)]
        self.check(present)
        for name in present:
            (self.folder / name).unlink()
            self._append(name, Entry(GONE, self.job))
            del self._entries[name]
            for parent in PurePosixPath(name).parents[:-1]:
                with contextlib.suppress(OSError):  # other files are there
                    (self.folder / parent).rmdir()

    def strangers(self, known: Iterable[str] = ()) -> list[str]:
        """Name the files that are neither recorded nor one of the ``known`` top-level names."""
        ours = {PurePosixPath(name).parts[0] for name in self._entries} | {RECORD, *known}
        try:
            present = sorted(path.name for path in self.folder.iterdir())
        except FileNotFoundError:
            return []
        return [
            name for name in present if name not in ours and not name.endswith(PART) and not name.startswith(_LOCKS)
        ]

    def _append(self, name: str, entry: Entry) -> None:
        line = {"file": name, "sha256": entry.sha256, "job": entry.job}
        line |= {} if entry.made_of is None else {"made_of": entry.made_of}
        line |= {} if entry.settings is None else {"settings": entry.settings}
        self._write(line)
        self._entries[name] = entry

    def _keep_settings(self, settings: Mapping[str, Any]) -> str:
        """Write settings into the record, once, and return their short hash."""
        text = json.dumps(settings, sort_keys=True, default=str)
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        if key not in self._settings:
            self._settings[key] = json.loads(text)
            self._write({"settings": key, "are": self._settings[key]})
        return key

    def _write(self, line: Mapping[str, Any]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _append_line(self.folder / RECORD, json.dumps(line, ensure_ascii=False))
        except OSError as error:
            place = self.folder / RECORD
            raise FilterlensError(
                f"Cannot write '{place}': {error.strerror or error}. Free the disk or choose another place."
            ) from error


def check_output_folder(folder: Path | str) -> None:
    """Refuse a path that can be no folder of results.

    Raises:
        UsageError: It is a file.
    """
    if Path(folder).is_file():
        raise UsageError(f"Output '{folder}' is a file, not a folder.")


def listed(names: Iterable[str], most: int = SHOWN) -> str:
    """Name the first few of many."""
    every = list(names)
    shown = ", ".join(f"'{name}'" for name in every[:most])
    return f"{shown} and {len(every) - most} more" if len(every) > most else shown


def _append_line(path: Path, line: str) -> None:
    """Write a line of its own: what a kill cut short before it stays a line, too."""
    with path.open("a+b") as stream:
        is_torn = stream.seek(0, os.SEEK_END) > 0 and stream.seek(-1, os.SEEK_END) >= 0 and stream.read(1) != b"\n"
        stream.write(b"\n" * is_torn + f"{line}\n".encode(errors="surrogateescape"))


def _read(path: Path) -> tuple[dict[str, Entry], dict[str, dict[str, Any]]]:
    """Read the lines that are whole and name a file below the folder, the last one of a file; and the settings."""
    entries: dict[str, Entry] = {}
    settings: dict[str, dict[str, Any]] = {}
    try:
        if path.stat().st_size > _LONGEST:
            raise FilterlensError(f"'{path}' is larger than any record of filterlens. Give another folder.")
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except FileNotFoundError:
        return entries, settings
    except OSError as error:
        raise FilterlensError(f"Cannot read '{path}': {error.strerror or error}.") from error
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):  # a kill cut the line short
            said = json.loads(line)
            if "are" in said:
                settings[str(said["settings"])] = dict(said["are"])
                continue
            name, job = said["file"], said["job"]
            entry = Entry(said["sha256"], job, said.get("made_of"), said.get("settings"))
            texts = all(isinstance(value, str | None) for value in (entry.sha256, entry.made_of, entry.settings))
            if isinstance(name, str) and isinstance(job, str) and texts and is_inside(name):
                entries[name] = entry
    return {name: entry for name, entry in entries.items() if entry.sha256 != GONE}, settings


def is_inside(name: str) -> bool:
    """Whether a relative name leads to a place below its folder, on every system."""
    parts = PurePosixPath(name).parts
    is_drive = name[1:2] == ":" and name[:1].isalpha()
    return (
        bool(parts) and not name.startswith("/") and ".." not in parts and not is_drive and not set(name) & set("\\\0")
    )
