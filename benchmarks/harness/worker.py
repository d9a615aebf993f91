# SPDX-License-Identifier: Apache-2.0
"""A child process of its own for everything whose memory is measured."""

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
STATUS = Path("/proc/self/status")


class Worker:
    """A fresh process that runs one function after the other and keeps what they cache, so that several take turns.

    Args:
        threads: Of PyTorch in it.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (threads,))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def run(
        self, function: Callable[Arguments, Result], *arguments: Arguments.args, **options: Arguments.kwargs
    ) -> Result:
        """Run a function of a module there and return its result."""
        return self._pool.submit(function, *arguments, **options).result()


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that this process held at any time: resident, or allocated on its GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if STATUS.is_file():  # getrusage would count what the parent held before it started this process
        lines = STATUS.read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
