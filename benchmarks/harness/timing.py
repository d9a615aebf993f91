# SPDX-License-Identifier: Apache-2.0
"""Times that can be compared: tasks take turns, so that a drifting machine hits all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

Key = TypeVar("Key")


@dataclass(frozen=True)
class Timing:
    """Repeated times of one task, in seconds."""

    seconds: tuple[float, ...]

    @property
    def best(self) -> float:
        """The smallest: what the task takes when nothing disturbs it."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """(largest − smallest) / smallest; 0 for a single time."""
        return (max(self.seconds) - self.best) / self.best


def seconds_of(task: Callable[[], object], device: torch.device) -> float:
    """Return the wall time of one call, until the device is done."""
    wait_for(device)
    started = time.perf_counter()
    task()
    wait_for(device)
    return time.perf_counter() - started


def alternate(
    tasks: Mapping[Key, Callable[[], object]], repeats: int, device: torch.device, *, warm_up: bool = True
) -> dict[Key, Timing]:
    """Time tasks in turns: all of them once, ``repeats`` times over.

    Args:
        tasks: What to time, by any key.
        repeats: Rounds.
        device: To wait for.
        warm_up: Call each once before, untimed.
    """
    for task in tasks.values() if warm_up else ():
        task()
    rounds = [{key: seconds_of(task, device) for key, task in tasks.items()} for _ in range(repeats)]
    return {key: Timing(tuple(each[key] for each in rounds)) for key in tasks}


def wait_for(device: torch.device) -> None:
    """Return when the device has done everything that it was told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
