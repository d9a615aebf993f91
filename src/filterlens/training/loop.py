# SPDX-License-Identifier: Apache-2.0
"""The loop of one training stage: its steps, with logging, validation, saving and signals when each is due.

Every step's random numbers are keyed by (seed, stage, step, process), so a stage that was killed and resumed sees the
same patches and the same noise as one that was not.
"""

import contextlib
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from filterlens.errors import FilterlensError
from filterlens.progress import Bar, Progress
from filterlens.stopping import HeldSignals
from filterlens.training.batches import Batches
from filterlens.training.checkpointing import resume, save_state
from filterlens.training.losses import RestorationLoss
from filterlens.training.processes import TrainingProcesses
from filterlens.training.recipe import Stage
from filterlens.training.state import TrainingState
from filterlens.training.step import Update, step_for

SAVE_EVERY = 180.0  # seconds
ASK_EVERY = 20  # steps on a GPU, where asking waits for it


class DivergedError(FilterlensError):
    """A training does not come back: its loss or a weight is beyond all use."""


class Loop(ABC):
    """One stage on its way. A subclass says what is logged and validated, and what else a saved state holds.

    Args:
        title: Name of the stage in messages.
        stage: Number and rates of the steps.
        state: State that the steps change.
        loss: Loss that the network learns from.
        batches: The batch of any step.
        processes: Processes that share every batch.
        file: File of the state; None keeps none, and then a signal ends the process at once.
        fingerprint: Hash of all that decides the weights; a file with another one is refused.
        progress: Receiver of the bar and notes.
        log_every: Steps between logged losses.
        save_every: Steps between states; there is one at least every few minutes.
        validate_every: Steps between validations; 0 validates at the end alone.
    """

    def __init__(
        self,
        title: str,
        stage: Stage,
        state: TrainingState,
        loss: RestorationLoss,
        batches: Batches,
        *,
        processes: TrainingProcesses,
        file: Path | None,
        fingerprint: str,
        progress: Progress,
        log_every: int,
        save_every: int,
        validate_every: int = 0,
    ) -> None:
        self.title, self.stage, self.state, self.loss, self.batches = title, stage, state, loss, batches
        self.processes, self.file, self.fingerprint, self.progress = processes, file, fingerprint, progress
        self.log_every, self.save_every, self.validate_every = log_every, save_every, validate_every
        self._saved_at, self._asked = 0.0, 0  # when a state was saved; how often the processes could have asked

    @abstractmethod
    def log(self, mean: float, bar: Bar) -> None:
        """Log the mean loss since the last entry.

        Raises:
            DivergedError: It is beyond all use.
        """

    @abstractmethod
    def diverged(self, evidence: str) -> DivergedError:
        """Build the error for a stage whose numbers are beyond all use."""

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.stage.rate(step)

    def validate(self, signals: HeldSignals) -> None:
        """Judge the network; a signal may leave it to the run that goes on."""
        self.state.owes_validation = False

    def more(self) -> dict[str, Any]:
        """Return what the saved state holds as well; what must not be younger than it is written now."""
        return {}

    def resume(self) -> dict[str, Any] | None:
        """Go on where the file says, if there is one; return its content.

        Raises:
            AnotherTrainingError: It belongs to another training.
            FilterlensError: It cannot be read, or does not fit.
        """
        if self.file is None:
            return None
        content = resume(self.file, self.fingerprint, self.state, self.stage.iterations)
        if content is not None:
            self.progress.note(f"resumed '{self.file}' at step {self.state.done}")
        return content

    def run(self, name: str) -> None:
        """Run the steps that are left, under a bar of that name."""
        shared, signals = self.processes.prepare(self.loss), HeldSignals()
        held = contextlib.nullcontext() if self.file is None else signals
        with self.progress.bar(name, self.stage.iterations, self.state.done) as bar, held:
            self._saved_at, self._asked = time.monotonic(), 0
            if self.state.owes_validation:
                self.validate(signals)
            for end in (self.loss.encoder_iterations, self.stage.iterations):
                if self.state.done >= end:
                    continue
                self.loss.encoder_alone = end == self.loss.encoder_iterations
                update = Update(self.state, shared, self.processes.backward)
                device, is_shared = self.batches.device, shared is not self.loss
                step = step_for(update, device, shared=is_shared, note=self.progress.note)  # a recording of its own
                while self.state.done < end:
                    step(self.batches.draw(self.state.done), self.rate(self.state.done))
                    self.state.count()
                    bar.advance()
                    self._after_step(bar, signals)

    def _after_step(self, bar: Bar, signals: HeldSignals) -> None:
        """Log, validate and save when due; saving comes last, so that a resumed run repeats what it did not log."""
        if self._is_due(self.log_every):
            self.log(float(self._loss_total()) / self.state.meter.steps, bar)
            self.state.meter.reset()
        is_validated = self._is_due(self.validate_every)
        if is_validated:
            self.validate(signals)
            self.state.meter.restart_clock()
        signal, is_time = self._asked_of_all(signals, at_once=is_validated)
        if is_time or signal or self._is_due(self.save_every):
            self._save(must=bool(signal))
            self._saved_at = time.monotonic()
        if signal:
            self.progress.note(
                f"ended at step {self.state.done} of the {self.title}; its state is saved, and the same command goes "
                "on from it"
            )
            signals.deliver(signal)

    def _asked_of_all(self, signals: HeldSignals, *, at_once: bool) -> tuple[int, bool]:
        """Return the signal that ends the training (0 is none), and whether it is time for a state.

        All processes say the same.

        Args:
            signals: The signals of this process.
            at_once: Several processes on GPUs ask each other now, instead of after some steps.
        """
        mine = signals.asked, time.monotonic() - self._saved_at >= SAVE_EVERY
        if self.processes.num_processes == 1:
            return mine
        self._asked += 1
        device = self.processes.device
        if not at_once and device.type != "cpu" and self._asked % ASK_EVERY:
            return 0, False
        everyone = self.processes.gather(torch.tensor([mine], dtype=torch.int64, device=device))
        signal, is_time = everyone.max(0).values.tolist()
        return int(signal), bool(is_time)

    def _is_due(self, every: int) -> bool:
        return self.state.done == self.stage.iterations or (every > 0 and self.state.done % every == 0)

    def _loss_total(self) -> Tensor:
        """Return the sum of losses since the last log line, averaged over the processes."""
        total: Tensor = self.processes.reduce(self.state.meter.total, "mean")
        return total

    def _save(self, must: bool) -> None:
        """Save the state; where the disk is full and it must not be now, say so and go on."""
        if not self.state.is_finite():
            raise self.diverged("a weight is not finite")
        if self.file is None:
            return
        total = self._loss_total()
        if self.processes.is_main_process:
            try:
                content = {"fingerprint": self.fingerprint} | self.state.content(total) | self.more()
                save_state(self.file, content)
            except FilterlensError as error:
                if must:
                    raise
                self.progress.note(f"{error} The training goes on; it tries again in {SAVE_EVERY / 60:g} minutes.")
        self.processes.wait_for_everyone()
