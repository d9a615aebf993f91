# SPDX-License-Identifier: Apache-2.0
"""Pieces of work whose results lie on disk: any number of processes share them, and a killed run goes on."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from filterlens.errors import FilterlensError
from filterlens.files import read_json, write_json
from filterlens.jobs.processes import Alone, Processes, wait_until
from filterlens.progress import SILENT, Progress
from filterlens.version import __version__

Item = TypeVar("Item")


class Pieces:
    """Computes each piece once among all processes and keeps its result as JSON.

    A piece's file is named by a hash of everything that decides its numbers, so nothing old is ever taken for new.

    Args:
        folder: Where the results lie.
        processes: Those that share the work; default: this one alone.
        progress: Where bars go.
    """

    def __init__(self, folder: Path, processes: Processes | None = None, progress: Progress = SILENT) -> None:
        self.folder = folder
        self.processes = processes or Alone()
        self.progress = progress if self.processes.rank == 0 else SILENT
        self._job = 0

    def of(
        self,
        name: str,
        items: Sequence[Item],
        identity: Callable[[Item], Any],
        compute: Callable[[Item], Any],
        title: Callable[[Item], str] = str,
    ) -> list[Any]:
        """Return the result of every item, in order; all processes return the same.

        Args:
            name: What is computed; part of the file's name.
            items: The pieces.
            identity: Item → JSON value of everything that decides its result.
            compute: Item → JSON value.
            title: Item → what the bar calls it.
        """
        paths = [self._path(name, identity(item)) for item in items]
        missing = [index for index, path in enumerate(paths) if not path.is_file()]
        if len(missing) < len(items):
            self.progress.note(f"{name}: {len(items) - len(missing)} of {len(items)} are taken from disk")
        self._job += 1
        key = f"pieces/{self._job}/{name}"
        with self.progress.bar(name, len(items), len(items) - len(missing)) as bar:
            while (turn := self.processes.add(f"{key}/next", 1) - 1) < len(items):
                if turn in missing:
                    bar.describe(f"{name}, {title(items[turn])}")
                    if not paths[turn].is_file():  # two equal items of one job
                        write_json(paths[turn], json.loads(json.dumps(compute(items[turn]))))
                    bar.advance()
            self.processes.add(f"{key}/finished", 1)
            wait_until(lambda: self.processes.add(f"{key}/finished", 0) >= self.processes.size, lambda: None)
        return [self._read(path) for path in paths]

    def one(self, name: str, identity: Any, compute: Callable[[], Any]) -> Any:
        """Return the result of a single piece."""
        return self.of(name, [name], lambda _: identity, lambda _: compute())[0]

    @staticmethod
    def _read(path: Path) -> Any:
        try:
            return read_json(path)
        except FilterlensError:
            path.unlink(missing_ok=True)
            raise

    def _path(self, name: str, identity: Any) -> Path:
        return self.folder / f"{name}-{digest(__version__, name, identity)}.json"


def digest(*parts: Any) -> str:
    """Return a short hash of JSON values."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
