# SPDX-License-Identifier: Apache-2.0
"""When a training saves its state besides at its checkpoints: after some minutes, and before a signal ends it."""

import time
from typing import NamedTuple

import torch

from filterlens.stopping import HeldSignals
from filterlens.training.processes import Processes

SAVE_EVERY = 180.0  # seconds
ASK_EVERY = 20  # steps on a GPU, where asking waits for it


class Wish(NamedTuple):
    """What is to be done after a step.

    Attributes:
        signal: The signal that ends the training; 0 is none.
        save: Whether it is time for a state.
    """

    signal: int
    save: bool


class Pauses:
    """Says after every step whether to save or to end; all processes of a training say the same.

    Args:
        held: The signals of this process.
        accelerator: The processes; None is one.
    """

    def __init__(self, held: HeldSignals, accelerator: Processes | None = None) -> None:
        self._held = held
        self._others = accelerator if accelerator is not None and accelerator.num_processes > 1 else None
        self._asked = 0
        self.saved()

    def saved(self) -> None:
        """Begin to wait anew."""
        self._since = time.monotonic()

    def wish(self, at_once: bool = False) -> Wish:
        """Return what to do after a step.

        Args:
            at_once: Several processes on GPUs ask each other now, instead of after some steps.
        """
        mine = Wish(self._held.asked, time.monotonic() - self._since >= SAVE_EVERY)
        if self._others is None:
            return mine
        self._asked += 1
        if not at_once and self._others.device.type != "cpu" and self._asked % ASK_EVERY:
            return Wish(0, False)
        all_of_them = self._others.gather(torch.tensor([mine], dtype=torch.int64, device=self._others.device))
        signal, save = all_of_them.max(0).values.tolist()
        return Wish(int(signal), bool(save))
