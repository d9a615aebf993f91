# SPDX-License-Identifier: Apache-2.0
"""The mean loss since the last log line, without waiting for the device at every step."""

import time
from typing import Any

import torch
from torch import Tensor


class LossMeter:
    """Sum of losses on the device, and the speed at which they came.

    Args:
        device: Where the losses are.
        saved: What :meth:`state` returned before the training was interrupted.
    """

    def __init__(self, device: torch.device, saved: dict[str, Any] | None = None) -> None:
        self._sum = torch.zeros((), device=device) if saved is None else saved["sum"].to(device)
        self._steps = 0 if saved is None else int(saved["steps"])
        self.restart_clock()

    def add(self, loss: Tensor) -> None:
        """Count one step."""
        self._sum += loss.detach()
        self._steps += 1
        self._timed += 1

    @property
    def mean(self) -> Tensor:
        """Mean loss of the steps counted, a scalar on the device."""
        return self._sum / max(1, self._steps)

    @property
    def steps_per_second(self) -> float:
        """Speed since the clock was restarted."""
        return self._timed / max(time.monotonic() - self._clock, 1e-9)

    def reset(self) -> None:
        """Begin a new mean and a new time."""
        self._sum, self._steps = torch.zeros_like(self._sum), 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time until now out of the speed."""
        self._timed, self._clock = 0, time.monotonic()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs to go on with the same mean."""
        return {"sum": self._sum.cpu(), "steps": self._steps}
