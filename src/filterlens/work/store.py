# SPDX-License-Identifier: Apache-2.0
"""Results of named items, kept in a folder: each is computed once, by any number of processes, before or after a kill.

The name of a result's file is a hash of everything that decides it, so a result of another setting, network or image
is never taken. The processes need to share only the folder.
"""

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from filterlens.errors import FilterlensError
from filterlens.files import sweep
from filterlens.progress import SILENT, Bar, Progress
from filterlens.tensors import HEADER, read_tensors, write_tensors
from filterlens.version import __version__
from filterlens.work.ahead import ahead
from filterlens.work.processes import Alone, Processes, in_turns, shared_key, wait_until

Item = TypeVar("Item")
Key = TypeVar("Key")
Step = Callable[[], None]
POINTS = 100  # of a progress bar for an item that takes several steps
_RESULT = re.compile(r"(?:[\w-]+-[0-9a-f]{24}\.safetensors|[0-9a-f]{24}\.txt)")  # .txt: of older versions


class Store:
    """Computes results and keeps them.

    A result is any JSON value, or a dictionary that also has tensors among its values; it is returned as it is read.

    Args:
        folder: Folder of the results. None keeps nothing: this process computes every result when it is asked for.
        processes: Processes that share the work; default: this process alone.
        progress: Receiver of bars and notes; only the first process reports.
    """

    def __init__(
        self, folder: Path | None = None, processes: Processes | None = None, progress: Progress = SILENT
    ) -> None:
        self.folder = folder
        self.processes = processes or Alone()
        self.progress = progress if self.leads else SILENT

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.processes.rank == 0

    def compute(
        self,
        name: str,
        items: Sequence[Item],
        identity: Callable[[Item], Any],
        compute: Callable[[Item], Any],
        title: Callable[[Item], str] = str,
    ) -> list[Any]:
        """Return the result of every item, in order; all processes return the same.

        Args:
            name: Name of the computation; part of the files' names.
            items: Items to compute it for.
            identity: Item → JSON value of everything that decides its result.
            compute: Item → result.
            title: Item → what the bar calls it.
        """
        return list(self.stream(name, items, identity, lambda item, _, step: compute(item), title=title))

    def one(self, name: str, identity: Any, compute: Callable[[], Any], progress: Progress | None = None) -> Any:
        """Return a single result; arguments as for :meth:`compute`."""
        (found,) = self.stream(name, [name], lambda _: identity, lambda item, _, step: compute(), progress=progress)
        return found

    def stream(
        self,
        name: str,
        items: Sequence[Item],
        identity: Callable[[Item], Any],
        compute: Callable[[Item, Any, Step], Any],
        *,
        prepare: Callable[[Item], Any] = lambda item: None,
        title: Callable[[Item], str] = str,
        cost: Callable[[Item], float] = lambda item: 0,
        steps: int = 1,
        progress: Progress | None = None,
    ) -> Iterator[Any]:
        """Return the results one after the other, in the order of the items, once all processes have them all.

        Args:
            name: Name of the computation; part of the files' names.
            items: Items to compute it for.
            identity: Item → JSON value of everything that decides its result.
            compute: (item, what was prepared for it, step) → result; ``step`` is called after every step.
            prepare: Reads what an item needs; with a GPU it runs while the item before is computed.
            title: Item → what the bar calls it.
            cost: Item → how long it takes, in any unit: the longest are taken first, so that no process waits long.
            steps: Usual number of steps per item.
            progress: Receiver of the bar and notes; default: the store's.
        """
        task = _Task(name, compute, prepare, title, steps)
        shown = self.progress if progress is None else progress if self.leads else SILENT
        if self.folder is None:
            bar = shown.bar(name, len(items) * task.points)
            return map(itemgetter(1), task.results(enumerate(items), bar))
        paths = [self._path(name, identity(item)) for item in items]
        self._fill(task, dict(zip(paths, items, strict=True)), cost, shown)
        return map(_kept, paths)

    def clear(self) -> None:
        """Delete the results when no process reads them any more; call it in every process, after the last stream.

        Results of earlier, killed jobs go too; a file of any other name stays, and so does its folder.
        """
        key = f"{shared_key(self.processes)}/cleared"
        self.processes.add(key, 1)
        if self.leads and self.folder is not None:
            wait_until(lambda: self.processes.add(key, 0) >= self.processes.size, lambda: None)
            _remove_results(self.folder)

    def _fill(
        self, task: "_Task[Item]", wanted: dict[Path, Item], cost: Callable[[Item], float], progress: Progress
    ) -> None:
        """Compute what is missing, together with the other processes."""
        done = {path for path in wanted if _read(path) is not None}
        if done:
            progress.note(f"{task.name}: {len(done)} of {len(wanted)} were computed before and are taken from disk")
        longest = sorted(wanted, key=lambda path: -cost(wanted[path]))
        with progress.bar(task.name, len(wanted) * task.points, len(done) * task.points) as shown:
            bar = _SharedBar(shown, self.processes, f"{shared_key(self.processes)}/points")

            def work(taken: Iterator[Path]) -> None:
                items = ((path, wanted[path]) for path in taken if path not in done)
                for path, result in task.results(items, contextlib.nullcontext(bar)):
                    _write(path, result)

            in_turns(self.processes, longest, work, meanwhile=lambda: bar.advance(0))

    def _path(self, name: str, identity: Any) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}-{digest(__version__, name, identity)}.safetensors"


NOTHING_KEPT = Store()
"""Computes in this process alone and keeps nothing on disk: the default in Python."""


def digest(*parts: Any) -> str:
    """Return a short hash of JSON values."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class _Task(Generic[Item]):
    """How items are computed; the arguments of :meth:`Store.stream`."""

    name: str
    compute: Callable[[Item, Any, Step], Any]
    prepare: Callable[[Item], Any]
    title: Callable[[Item], str]
    steps: int

    @property
    def points(self) -> int:
        """By how much an item moves the bar."""
        return POINTS if self.steps > 1 else 1

    def results(
        self, items: Iterable[tuple[Key, Item]], bar: contextlib.AbstractContextManager[Bar]
    ) -> Iterator[tuple[Key, Any]]:
        """Yield keys with their results. On a CPU nothing is prepared ahead: it would only take cores."""
        with bar as shown:
            for (key, item), ready in ahead(
                items, lambda each: self.prepare(each[1]), in_thread=torch.cuda.is_available()
            ):
                shown.describe(f"{self.name}, {self.title(item)}")
                steps = _Steps(shown, self.points, self.steps)
                result = self.compute(item, ready, steps.step)
                steps.finish()
                yield key, result


class _Steps:
    """Moves a bar by an item's points, whether it takes more or fewer steps than usual."""

    def __init__(self, bar: Bar, points: int, steps: int) -> None:
        self._bar, self._left, self._each = bar, points, points // steps

    def step(self) -> None:
        moved = min(self._each, self._left)
        self._left -= moved
        self._bar.advance(moved)

    def finish(self) -> None:
        self._bar.advance(self._left)


class _SharedBar:
    """A bar that all processes push and the first one shows."""

    def __init__(self, bar: Bar, processes: Processes, counter: str) -> None:
        self._bar, self._processes, self._counter = bar, processes, counter
        self._shown = 0

    def advance(self, steps: int = 1) -> None:
        """Move on, by what the other processes did as well."""
        total = self._processes.add(self._counter, steps)
        self._bar.advance(total - self._shown)
        self._shown = total

    def describe(self, text: str) -> None:
        """Change the text of the bar."""
        self._bar.describe(text)


def _write(path: Path, result: Any) -> None:
    values = result if isinstance(result, dict) else {}
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    rest = {name: value for name, value in values.items() if name not in tensors} if tensors else result
    write_tensors(path, tensors, {HEADER: json.dumps(rest)})


def _read(path: Path) -> tuple[dict[str, Tensor], Any] | None:
    """Read tensors and JSON; None where nothing is kept, or it is damaged or not finite."""
    try:
        tensors, rest = read_tensors(path, "result", "")
    except FilterlensError:
        return None
    is_finite = all(bool(each.isfinite().all()) for each in tensors.values()) and (not tensors or _is_finite(rest))
    return (tensors, rest) if is_finite else None


def _is_finite(value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(_is_finite, inside)) and (not isinstance(value, float) or math.isfinite(value))


def _kept(path: Path) -> Any:
    found = _read(path)
    if found is None:
        raise FilterlensError(
            f"'{path}' is missing or damaged, so another process failed to compute it, or it was removed. Run the same "
            "command again."
        )
    tensors, rest = found
    return rest | tensors if tensors else rest


def _remove_results(folder: Path) -> None:
    if not folder.is_dir() or folder.is_symlink():
        return
    for path in folder.iterdir():
        if _RESULT.fullmatch(path.name) and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.unlink()
    sweep(folder, again=True)
    with contextlib.suppress(OSError):  # other files are there
        folder.rmdir()
