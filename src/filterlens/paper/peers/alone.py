# SPDX-License-Identifier: Apache-2.0
"""Training in one process of a job that has several: each network has a process of its own, and shares no batch."""

import contextlib
import os
from collections.abc import Iterator

import torch
from accelerate.state import AcceleratorState, GradientState

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


@contextlib.contextmanager
def training_alone(device: torch.device) -> Iterator[None]:
    """Hide the launcher's other processes from what trains inside; ``device`` is this process's.

    The training loop asks ``accelerate`` who else there is, and that asks the environment, once per process.
    """
    hidden = {name: os.environ.pop(name) for name in LAUNCHER if name in os.environ}
    where = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    _forget()
    try:
        with where:
            yield
    finally:
        os.environ.update(hidden)
        _forget()


def _forget() -> None:
    """Let the next ``Accelerator`` look around anew."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
