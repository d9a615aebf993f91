# SPDX-License-Identifier: Apache-2.0
"""On a GPU: the recorded step equals the eager one, waits for nothing, and gives way where recording fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from filterlens.data.patches import PatchBank
from filterlens.degradations import Mixture
from filterlens.models.one_branch import SRResNet
from filterlens.training.batches import Batch, Batches
from filterlens.training.losses import RestorationLoss
from filterlens.training.state import TrainingState
from filterlens.training.step import WARM_UP_STEPS, CapturedStep, CudaGraphRecorder, EagerStep, Step, Update
from filterlens.training.trainer import train
from tests.training.small import Killer, small_recipe

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _same_kernels_every_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    yield
    torch.cuda.set_sync_debug_mode("default")


def start() -> TrainingState:
    torch.manual_seed(0)
    return TrainingState.start(SRResNet(features=16, blocks=2), GPU, betas=(0.9, 0.99), ema=0.9)


def advance(step: Step, running: TrainingState, images: list[Tensor], steps: int) -> None:
    mixture = Mixture.of([("blur:2,kernel=7", 0.5), ("noise:0.1", 0.5)])
    batches = Batches(PatchBank(images, 16, GPU), mixture, scale=2, size=4, seed_of=lambda step: step)
    for _ in range(steps):
        step(batches.draw(running.done), 2.0**-10)
        running.count()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_captured_step_gives_the_same_numbers_as_an_eager_one(noise_images: list[Tensor], precision: str) -> None:
    states, notes = [], []
    for captured in (False, True):
        running = start()
        update = Update(running, RestorationLoss(running.network, precision), torch.Tensor.backward)
        step = CapturedStep(update, CudaGraphRecorder(GPU), notes.append) if captured else EagerStep(update)
        advance(step, running, noise_images, 12)
        states.append(running.content(running.meter.total))
    assert notes == []
    torch.testing.assert_close(states[1], states[0], rtol=1e-5, atol=1e-6)


def test_batches_made_beside_the_steps_are_those_made_alone(noise_images: list[Tensor]) -> None:
    def draw(wait: bool) -> list[Tensor]:
        bank = PatchBank(noise_images, 16, GPU)
        batches = Batches(bank, Mixture.of([("noise:0.1", 0.5)]), scale=2, size=64, seed_of=lambda step: step)
        drawn = []
        for step in range(50):
            truth, lowered, *_ = batches.draw(step)
            drawn += [truth.sum((1, 2, 3)), lowered.sum((1, 2, 3))]
            if wait:
                torch.cuda.synchronize()
        return [tensor.cpu() for tensor in drawn]

    torch.testing.assert_close(draw(wait=False), draw(wait=True), rtol=0, atol=0)


def test_a_replayed_step_waits_for_nothing() -> None:
    running = start()
    update = Update(running, RestorationLoss(running.network, "bf16"), torch.Tensor.backward)
    step = CapturedStep(update, CudaGraphRecorder(GPU), str)
    batch = Batch(torch.rand(4, 3, 32, 32, device=GPU), torch.rand(4, 3, 16, 16, device=GPU))
    for done in range(WARM_UP_STEPS + 4):
        torch.cuda.set_sync_debug_mode("error" if done > WARM_UP_STEPS else "default")
        step(batch, 1e-3)
        running.count()


def test_work_that_cannot_be_captured_runs_eagerly_with_the_same_numbers(noise_images: list[Tensor]) -> None:
    states, notes = [], []
    stream = torch.cuda.current_stream()
    for captured in (False, True):
        running = start()

        class Waiting(RestorationLoss):
            def forward(self, batch: Batch) -> Tensor:
                batch.lowered.sum().item()  # forbidden while capturing
                return super().forward(batch)

        update = Update(running, Waiting(running.network, "fp32"), torch.Tensor.backward)
        step = CapturedStep(update, CudaGraphRecorder(GPU), notes.append) if captured else EagerStep(update)
        advance(step, running, noise_images, 8)
        states.append(running.content(running.meter.total))
    assert len(notes) == 1 and "cannot be recorded" in notes[0]
    assert torch.cuda.current_stream() == stream
    torch.testing.assert_close(states[1], states[0], rtol=1e-5, atol=1e-6)


def test_a_whole_training_is_recorded_on_one_gpu(tmp_path: Path, noise_images: list[Tensor]) -> None:
    recorded, record = [], CudaGraphRecorder.record

    def watch(recorder: CudaGraphRecorder, work: object) -> object:
        recorded.append(work)
        return record(recorder, work)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CudaGraphRecorder, "record", watch)
        progress = Killer()
        train(small_recipe(), noise_images, tmp_path, validation=noise_images[:1], device=GPU, progress=progress)
    assert len(recorded) == 2  # once for each stage
    assert not [note for note in progress.notes if "recorded" in note]
