# SPDX-License-Identifier: Apache-2.0
"""Output on the terminal: bars, notes and errors on standard error, only the result on standard output."""

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer

from filterlens.errors import FilterlensError, printable, shortened
from filterlens.showing.bars import Terminal as Terminal
from filterlens.showing.bars import print_error

if TYPE_CHECKING:
    from filterlens.data.usable import LeftOut


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
        print_error(f"error: {shortened(text)}", style="bold red")
        if command:
            print_error(printable(command))


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
