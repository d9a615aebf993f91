# SPDX-License-Identifier: Apache-2.0
"""What the user sees: bars, notes and errors on standard error, the result alone on standard output."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from filterlens.progress import Bar

_errors = Console(stderr=True, soft_wrap=True, highlight=False)


class _RichBar:
    def __init__(self, progress: RichProgress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: int = 1) -> None:
        """Move on."""
        self._progress.advance(self._task, steps)

    def describe(self, text: str) -> None:
        """Change the text beside the bar."""
        self._progress.update(self._task, description=text)


class Terminal:
    """Bars with the time left, and notes, on standard error."""

    @contextlib.contextmanager
    def bar(self, name: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Show a bar while the block runs."""
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
        _errors.print(text, markup=False)


def error(text: str) -> None:
    """Print an error in one line to standard error."""
    _errors.print(f"error: {' '.join(text.split())}", style="bold red", markup=False)


def result(value: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Print the result: as one JSON object, or as text for people."""
    typer.echo(json.dumps(value, default=str) if as_json else text)
