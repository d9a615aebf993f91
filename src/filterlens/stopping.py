# SPDX-License-Identifier: Apache-2.0
"""Signals that end a process: delayed until a job has saved its work, and turned into errors."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

from filterlens.errors import FilterlensError

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
ONE_WISH = 1.0  # seconds within which several signals are one: terminals and launchers send more than one


class AbandonedError(Exception):
    """Work that can be repeated was given up, because the process must end."""


class HeldSignals:
    """While the block runs, a signal that would end the process only sets :attr:`asked`; the job ends when it can.

    A further signal, a second or more later, ends the process at once. Signals that the process ignores, as under
    ``nohup``, stay ignored. Python handles signals in the main thread, so elsewhere nothing is held.

    Attributes:
        asked: Number of the signal that came; 0 while none did.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._came = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Begin to hold."""
        self._hold()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hold no longer; a signal that came and was not delivered is delivered now."""
        self._release()
        if error is None and self.asked:
            signal.raise_signal(self.asked)

    def check(self) -> None:
        """Give up work that can be repeated, if a signal came.

        Raises:
            AbandonedError: One came.
        """
        if self.asked:
            raise AbandonedError

    def deliver(self, number: int) -> None:
        """Let a signal have its usual effect; the job goes on where it has none."""
        self._release()
        self.asked = 0
        signal.raise_signal(number)
        self._hold()

    def _hold(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in ENDING:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._note)

    def _release(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked, self._came = number, time.monotonic()
        elif time.monotonic() - self._came > ONE_WISH:
            self._release()
            signal.raise_signal(number)


class TerminatedError(FilterlensError):
    """A signal ended the command.

    Args:
        number: Number of the signal; the exit code is 128 more, as in a shell.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class _Ended(BaseException):
    """Unwinds the stack to :func:`told_signals`; no handler on the way takes it for an error of its own."""


@contextlib.contextmanager
def told_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP, which end a process without cleaning up, into an error while the block runs.

    Raises:
        TerminatedError: Such a signal came.
    """
    before: dict[int, Any] = {}

    def end(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # one is enough: a second would disturb the cleaning up
        raise _Ended(number)

    try:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if number != signal.SIGINT and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, end)
        yield
    except _Ended as ended:
        raise TerminatedError(ended.args[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
