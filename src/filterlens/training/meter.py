# SPDX-License-Identifier: Apache-2.0
"""The loss since the last log line, without waiting for the device at every step."""

import time

import torch
from torch import Tensor


class LossMeter:
    """Sum of losses on the device, and the speed at which they came.

    Attributes:
        total: Sum of the losses added, a scalar on the device; always the same tensor.
        steps: How many they are.
    """

    def __init__(self, device: torch.device) -> None:
        self.total = torch.zeros((), device=device)
        self.steps = 0
        self.restart_clock()

    def add(self, loss: Tensor) -> None:
        """Add the loss of one step, on the device."""
        self.total += loss.detach()

    def count(self) -> None:
        """Count one step."""
        self.steps += 1
        self._timed += 1

    @property
    def steps_per_second(self) -> float:
        """Speed since the clock was restarted."""
        return self._timed / max(time.monotonic() - self._clock, 1e-9)

    def reset(self) -> None:
        """Begin a new sum and a new time."""
        self.total.zero_()
        self.steps = 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time until now out of the speed."""
        self._timed, self._clock = 0, time.monotonic()
