# SPDX-License-Identifier: Apache-2.0
"""Runs the command line as a user does: a fresh interpreter, its output, and the time that it took."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from filterlens.errors import FilterlensError

SHOWN = 2000


class Done(NamedTuple):
    """A command that succeeded."""

    seconds: float
    output: str


def run(arguments: Sequence[str], threads: int, *, hide_gpus: bool = False) -> Done:
    """Run this Python with arguments and wait for it.

    Args:
        arguments: For example ``["-m", "filterlens", "--help"]``.
        threads: Of PyTorch in every process of it.
        hide_gpus: Let it see CPUs only.

    Raises:
        FilterlensError: It failed; the end of its errors is quoted.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)} | ({"CUDA_VISIBLE_DEVICES": ""} if hide_gpus else {})
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise FilterlensError(f"'python {' '.join(arguments)}' failed: {done.stderr[-SHOWN:].strip()}")
    return Done(seconds, done.stdout)
