# SPDX-License-Identifier: Apache-2.0
"""How long jobs say how far they are, without the jobs knowing a terminal."""

import contextlib
from collections.abc import Iterator
from typing import Protocol


class Bar(Protocol):
    """One running bar."""

    def advance(self, steps: int = 1) -> None:
        """Move on."""
        ...

    def describe(self, text: str) -> None:
        """Change the text beside the bar."""
        ...


class Progress(Protocol):
    """Where bars and notes go."""

    def bar(self, name: str, total: int, done: int = 0) -> contextlib.AbstractContextManager[Bar]:
        """Open a bar of ``total`` steps, ``done`` of which lie behind."""
        ...

    def note(self, text: str) -> None:
        """Tell the user one line."""
        ...


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
