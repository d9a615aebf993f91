# SPDX-License-Identifier: Apache-2.0
"""Bars and notes where people watch: in a terminal, in a notebook, and as lines in a log."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from html import escape as html_escape
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from filterlens.errors import UsageError, printable
from filterlens.progress import SILENT, Bar, Progress

AnyProgress = Progress | bool
"""What public functions take as ``progress``: True shows bars and notes, False shows nothing."""
SPEAK_EVERY = 30.0  # seconds between the lines of a bar without a terminal
REDRAW_EVERY = 0.2  # seconds between the pictures of a bar in a notebook


class _ErrorConsole(Console):
    """A console whose reader may leave, or whose file may be on a full disk: no job stops for that."""

    def on_broken_pipe(self) -> None:
        """Speak no more."""
        self.quiet = True


_errors = _ErrorConsole(stderr=True, soft_wrap=True, highlight=False)


def print_error(text: str, style: str | None = None) -> None:
    """Print a line to standard error as it is, for example in ``bold red``."""
    _errors.print(text, style=style, markup=False)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print_error(printable(text))


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


class Notebook:
    """Bars that a browser draws, and notes, below the running cell; nothing but IPython is needed."""

    @contextlib.contextmanager
    def bar(self, name: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Show a bar while the block runs; it stays, with the time that passed."""
        bar = _NotebookBar(name, total, done)
        try:
            yield bar
        finally:
            bar.show()

    def note(self, text: str) -> None:
        """Print one line."""
        print(printable(text))


class _NotebookBar(_PlainBar):
    def __init__(self, name: str, total: int, done: int) -> None:
        from IPython.display import HTML, display

        super().__init__(name, total, done)
        self._page, self._shown = HTML, time.monotonic()
        self._handle: Any = display(self._drawn(), display_id=True)

    def advance(self, steps: int = 1) -> None:
        """Move on; the page hears of it a few times a second."""
        super().advance(steps)
        if time.monotonic() - self._shown > REDRAW_EVERY:
            self.show()

    def show(self) -> None:
        """Draw the present state in the place of the last."""
        self._shown = time.monotonic()
        if self._handle is not None:  # outside a cell there is no page
            self._handle.update(self._drawn())

    def _drawn(self) -> Any:
        bar = f'<progress value="{self._done}" max="{max(1, self._total)}"></progress>'
        return self._page(f"<div>{bar} {html_escape(printable(self.line()))}</div>")


def as_progress(progress: AnyProgress) -> Progress:
    """Return the receiver of bars and notes that a caller asks for.

    Args:
        progress: True for bars in the notebook or terminal at hand (lines every half minute where standard error is no
            terminal), False for silence, or a receiver of one's own.

    Raises:
        UsageError: It is none of these.
    """
    if progress is True:
        return Notebook() if _in_notebook() else Terminal()
    if progress is False or progress is None:
        return SILENT
    if not (callable(getattr(progress, "bar", None)) and callable(getattr(progress, "note", None))):
        raise UsageError(
            f"progress={printable(repr(progress))[:60]} shows nothing: give True, False, or an object with the methods "
            "'bar' and 'note' (filterlens.progress.Progress)."
        )
    return progress


def _in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this code, so that a page shows what is displayed."""
    interactive = sys.modules.get("IPython")
    return interactive is not None and getattr(interactive.get_ipython(), "kernel", None) is not None
