# SPDX-License-Identifier: Apache-2.0
"""One training step: its computation, and two ways to run it, kernel by kernel or as one recorded graph."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from filterlens.progress import Note
from filterlens.training.batches import Batch
from filterlens.training.state import TrainingState

WARM_UP_STEPS = 3

Step: TypeAlias = Callable[[Batch, float], None]
"""Runs an update on a batch with a learning rate."""


@dataclass(frozen=True)
class Update:
    """The work of a step on its batch: loss, gradients, Adam, moving average, loss meter.

    It asks nothing back from the device and changes tensors in place, so that a recording of it can be replayed.

    Attributes:
        state: State to update.
        loss: Batch → loss, as the processes share it; see :class:`filterlens.training.losses.RestorationLoss`.
        backward: Function that computes the gradients of a loss.
    """

    state: TrainingState
    loss: Callable[[Batch], Tensor]
    backward: Callable[[Tensor], None]

    def __call__(self, batch: Batch) -> None:
        """Move the weights and their average once."""
        state = self.state
        loss = self.loss(batch)
        state.optimizer.zero_grad(set_to_none=True)
        self.backward(loss)
        state.optimizer.step()
        state.average.update(state.network, state.done)
        state.meter.add(loss)


class EagerStep:
    """Runs an update kernel by kernel: on any device, in any number of processes."""

    def __init__(self, update: Update) -> None:
        self._update = update

    def __call__(self, batch: Batch, rate: float) -> None:
        """Update once with learning rate ``rate``."""
        for group in self._update.state.optimizer.param_groups:
            group["lr"] = rate
        self._update(batch)


class CudaGraphRecorder:
    """Records on a side stream, as capturing requires; the recording replays on the current stream.

    Args:
        device: A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(self, work: Callable[[], None]) -> None:
        """Run ``work`` on the side stream, after what the current one does and before what it will do."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            work()
        current.wait_stream(self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the kernels of ``work`` without running them; return what replays them on the same memory.

        Raises:
            RuntimeError: The work waits for the device, or does something else that cannot be captured.
        """
        graph = torch.cuda.CUDAGraph()
        # The outer context brings the current stream back even where ending a broken capture raises.
        with torch.cuda.stream(self._stream), torch.cuda.graph(graph, stream=self._stream):
            work()
        return graph.replay


class CapturedStep:
    """Replays an update from a recording: one launch instead of hundreds, which small batches wait for on a fast GPU.

    Batch and learning rate are in memory that never moves. The first steps run eagerly, because a recording needs
    loaded kernels, Adam's state and an average that has begun; they count like all others. Where the recording fails,
    every step runs eagerly.

    Args:
        update: Update to record.
        recorder: Recorder of the device.
        note: Receiver of the reason why there is no recording.
    """

    def __init__(self, update: Update, recorder: CudaGraphRecorder, note: Note) -> None:
        self._update = update
        self._recorder = recorder
        self._note = note
        self._rate = torch.zeros_like(update.state.meter.total)
        self._batch: Batch | None = None
        self._replay: Callable[[], None] | None = None
        self._warm_up_left = WARM_UP_STEPS
        for group in update.state.optimizer.param_groups:
            group.update(lr=self._rate, capturable=True)

    def __call__(self, batch: Batch, rate: float) -> None:
        """Update once with learning rate ``rate``. Every batch has the shape of the first."""
        if self._batch is None:
            self._batch = batch.apart()
        for place, content in zip(self._batch, batch, strict=True):
            if place is not None and content is not None:
                place.copy_(content)
        self._rate.fill_(rate)
        work = partial(self._update, self._batch)
        if self._warm_up_left:
            self._warm_up_left -= 1
            self._recorder.run(work)
            return
        if self._replay is None:
            self._replay = self._record(work)
        self._replay()

    def _record(self, work: Callable[[], None]) -> Callable[[], None]:
        try:
            return self._recorder.record(work)
        except Exception as error:  # of a driver, of memory, of an operation: a recording has changed no number yet
            reason = str(error).partition("\n")[0] or type(error).__name__
            self._note(f"the training step cannot be recorded as a CUDA graph and runs slower ({reason})")
            return work


def step_for(update: Update, device: torch.device, *, shared: bool, note: Note) -> Step:
    """Choose how steps run: recorded on one GPU, eagerly elsewhere.

    Args:
        update: Update of one step.
        device: Device on which it runs.
        shared: Whether several processes exchange gradients inside a step.
        note: Receiver of the reason why there is no recording.
    """
    if device.type == "cuda" and not shared:
        return CapturedStep(update, CudaGraphRecorder(device), note)
    return EagerStep(update)
