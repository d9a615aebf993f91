# SPDX-License-Identifier: Apache-2.0
"""The processes of one job, started by ``torchrun`` or ``accelerate launch``, which share items of work."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Protocol, TypeVar

Item = TypeVar("Item")

POLL = 0.2  # seconds
PATIENCE = timedelta(days=30)  # the launcher ends the others when one process dies


class Processes(Protocol):
    """All processes of one job, on one machine or many.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    rank: int
    size: int

    def add(self, counter: str, amount: int) -> int:
        """Add to a counter that all processes share, and return its new value."""
        ...

    def agree(self, question: str, answer: Callable[[], str]) -> str:
        """Return the answer that the first process computes."""
        ...


class Alone:
    """The one process of a job that was started without a launcher."""

    rank = 0
    size = 1

    def __init__(self) -> None:
        self._counters: dict[str, int] = {}

    def add(self, counter: str, amount: int) -> int:
        """Add to a counter, and return its new value."""
        self._counters[counter] = self._counters.get(counter, 0) + amount
        return self._counters[counter]

    def agree(self, question: str, answer: Callable[[], str]) -> str:
        """Return the answer."""
        return answer()


class Launched:
    """One of the processes that a launcher started; they meet at the launcher's key-value store."""

    def __init__(self) -> None:
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        store, self.rank, self.size = next(rendezvous("env://", timeout=PATIENCE))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._store = PrefixStore(f"filterlens/{attempt}", store)

    def add(self, counter: str, amount: int) -> int:
        """Add to a counter that all processes share, and return its new value."""
        return int(self._store.add(counter, amount))

    def agree(self, question: str, answer: Callable[[], str]) -> str:
        """Return the answer that the first process computes."""
        if self.rank == 0:
            self._store.set(question, answer())
        return str(self._store.get(question).decode())


def processes_of_this_job() -> Processes:
    """Return the processes that were started together with this one."""
    return Launched() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Alone()


def wait_until(condition: Callable[[], bool], meanwhile: Callable[[], None]) -> None:
    """Wait for the other processes."""
    while not condition():
        meanwhile()
        time.sleep(POLL)


def shared_key(processes: Processes) -> str:
    """Return a new prefix of counters: the same in all processes, which run the same program."""
    return f"call {processes.add(f'calls of {processes.rank}', 1)}"


def in_turns(
    processes: Processes,
    items: Sequence[Item],
    work: Callable[[Iterator[Item]], None],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Share items: each process takes the next free one; all return when every process is through.

    A process that fails is through as well: the others do not wait for it, and miss its results.

    Args:
        processes: All that call this, each with the same items.
        items: In the order in which they are taken.
        work: Works on those that this process is the first to take.
        meanwhile: Function called now and then while this process waits for the others.
    """
    key = shared_key(processes)

    def taken() -> Iterator[Item]:
        while (turn := processes.add(f"{key}/next", 1) - 1) < len(items):
            yield items[turn]

    try:
        work(taken())
    finally:
        processes.add(f"{key}/finished", 1)
    wait_until(lambda: processes.add(f"{key}/finished", 0) >= processes.size, meanwhile)
    meanwhile()
