# SPDX-License-Identifier: Apache-2.0
"""Output on the terminal: bars, notes and errors on standard error, only the result on standard output."""

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from filterlens.errors import FilterlensError, printable, shortened
from filterlens.progress import Bar

if TYPE_CHECKING:
    from filterlens.data.usable import LeftOut

SPEAK_EVERY = 30.0  # seconds between the lines of a bar without a terminal


class _ErrorConsole(Console):
    """A console whose reader may leave, or whose file may be on a full disk: no job stops for that."""

    def on_broken_pipe(self) -> None:
        """Speak no more."""
        self.quiet = True


_errors = _ErrorConsole(stderr=True, soft_wrap=True, highlight=False)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        _errors.print(printable(text), markup=False)


class _RichBar:
    def __init__(self, progress: RichProgress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: int = 1) -> None:
        """Move on."""
        self._progress.advance(self._task, steps)

    def describe(self, text: str) -> None:
        """Change the text of the bar."""
        self._progress.update(self._task, description=escape(printable(text)))


class _PlainBar:
    """Says in a line every half minute how far a job is, whether or not it moved on, and once more at its end."""

    def __init__(self, name: str, total: int, done: int) -> None:
        self._name, self._total, self._done = name, total, done
        self._first, self._began = done, time.monotonic()

    def advance(self, steps: int = 1) -> None:
        """Move on."""
        self._done += steps

    def describe(self, text: str) -> None:
        """Change the text before the numbers."""
        self._name = text

    def line(self) -> str:
        """Return description, steps, share, time passed, and time left at the mean speed so far."""
        passed, moved = time.monotonic() - self._began, self._done - self._first
        share = 100 * self._done // max(1, self._total)
        line = f"{self._name}: {self._done} of {self._total}, {share} %, {_duration(passed)} passed"
        if not moved or self._done >= self._total:
            return line
        return f"{line}, {_duration(passed / moved * (self._total - self._done))} left"

    @contextlib.contextmanager
    def speaking(self) -> Iterator[Bar]:
        """Say the lines while the block runs."""
        ended = threading.Event()

        def speak() -> None:
            while not ended.wait(SPEAK_EVERY):
                _say(self.line())

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        try:
            yield self
        finally:
            ended.set()
            speaker.join()
            _say(self.line())


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(min(seconds, 1e9))))


class Terminal:
    """Bars with the time left, and notes, on standard error; lines instead of bars where that is no terminal."""

    @contextlib.contextmanager
    def bar(self, name: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Show a bar while the block runs."""
        if not (_errors.is_interactive and _errors.file.isatty()):
            with _PlainBar(name, total, done).speaking() as plain:
                yield plain
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=_errors) as progress:
            yield _RichBar(progress, progress.add_task(name, total=total, completed=done))

    def note(self, text: str) -> None:
        """Print one line."""
        _say(text)


class _Notes(logging.Handler):
    """Shows what the package logs as notes, each once."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line, in the leading one of several processes."""
        text = record.getMessage()
        if text not in self._shown and os.environ.get("RANK", "0") == "0":
            self._shown.add(text)
            Terminal().note(text)


@contextlib.contextmanager
def log_shown() -> Iterator[None]:
    """Show the user what filterlens logs while the block runs, for example how a checkpoint was read."""
    logger, handler = logging.getLogger("filterlens"), _Notes()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # the user's own handlers, if any, would print it again
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def error(text: str, command: str = "") -> None:
    """Print an error in one line of at most 500 characters to standard error, and below it a command that mends it."""
    with contextlib.suppress(OSError):
        _errors.print(f"error: {shortened(text)}", style="bold red", markup=False)
        if command:
            _errors.print(printable(command), markup=False)


def result(value: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Print the result: as one JSON object, or as text for people."""
    typer.echo(json.dumps(value, default=str) if as_json else printable(text))


def described(left_out: "Iterable[LeftOut]") -> list[dict[str, Any]]:
    """Return images that were left out for a JSON result."""
    return [{"image": each.path, "error": each.reason} for each in left_out]


def complain(left_out: "Iterable[LeftOut]") -> None:
    """Name every image that could not be used, with the reason, and end with exit code 1 if there is one.

    Raises:
        typer.Exit: There is one.
    """
    messages = [each.message for each in left_out]
    for message in messages:
        error(message)
    if messages:
        raise typer.Exit(1)


def complain_of(facts: Mapping[str, Any], done: str) -> None:
    """Raise after the work is done where a job's record says that images were left out, so that a script notices.

    Raises:
        FilterlensError: Names them.
    """
    from filterlens.record import listed

    if left_out := facts.get("left_out"):
        names = listed(each["name"] for each in left_out)
        raise FilterlensError(f"{done}, but without {names}: see the notes above, or left_out in the run's record.")
