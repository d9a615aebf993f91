# SPDX-License-Identifier: Apache-2.0
"""How jobs report progress and events to the user, without knowing a terminal.

A job that shows bars takes a :class:`Progress`. A function that reports only single lines takes a ``Note``, which is
the :meth:`Progress.note` of a progress.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

Note = Callable[[str], None]


class Bar(Protocol):
    """One running bar."""

    def advance(self, steps: int = 1) -> None:
        """Move on."""
        ...

    def describe(self, text: str) -> None:
        """Change the text of the bar."""
        ...


class Progress(Protocol):
    """The receiver of bars and notes."""

    def bar(self, name: str, total: int, done: int = 0) -> contextlib.AbstractContextManager[Bar]:
        """Open a bar of ``total`` steps, ``done`` of which are done."""
        ...

    def note(self, text: str) -> None:
        """Tell the user one line."""
        ...


def silent(text: str) -> None:
    """Drop a note: the default of functions that report only single lines."""


class _SilentBar:
    def advance(self, steps: int = 1) -> None:
        """Do nothing."""

    def describe(self, text: str) -> None:
        """Do nothing."""


class Silent:
    """No bars; notes are dropped. The default of every function."""

    @contextlib.contextmanager
    def bar(self, name: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Yield a bar that shows nothing."""
        yield _SilentBar()

    def note(self, text: str) -> None:
        """Do nothing."""


SILENT = Silent()
