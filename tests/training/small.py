# SPDX-License-Identifier: Apache-2.0
"""A training small enough for a test, and a progress that kills it."""

import contextlib
import signal as signals
from collections.abc import Iterator
from typing import Any

from filterlens.progress import SILENT, Bar
from filterlens.training.recipe import Recipe, validated


def small_recipe(**changes: Any) -> Recipe:
    """Six steps of each stage of a full-size network on one tiny patch."""
    baseline = {"iterations": 6, "learning_rate": 1e-3, "warmup": 2}
    target = baseline | {"degradations": [["blur:2,kernel=7", 0.5], ["noise:0.1", 0.5], ["jpeg:50", 0.5]]}
    settings = {"name": "test", "patch": 16, "batch": 2, "ema": 0.9, "baseline": baseline, "target": target}
    return validated(settings | {"validate_every": 2, "checkpoint_every": 4} | changes, "test")


class Killed(BaseException):
    """What stands for a kill."""


class Killer:
    """A progress that kills the training at a step (counted over both stages), or at the n-th note.

    With ``signal`` it sends that signal to this process instead.
    """

    def __init__(self, step: int = 0, note: int = 0, signal: int = 0) -> None:
        self.steps_left, self.notes_left, self.signal = step, note, signal
        self.notes: list[str] = []

    @contextlib.contextmanager
    def bar(self, name: str, total: int, done: int = 0) -> Iterator[Bar]:
        if name.startswith("read"):  # no step of a training
            with SILENT.bar(name, total, done) as bar:
                yield bar
        else:
            yield self

    def advance(self, steps: int = 1) -> None:
        self.steps_left -= 1
        if self.steps_left == 0:
            self._kill()

    def describe(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.notes_left -= 1
        if self.notes_left == 0:
            self._kill()

    def _kill(self) -> None:
        if not self.signal:
            raise Killed
        signals.raise_signal(self.signal)
