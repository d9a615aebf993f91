# SPDX-License-Identifier: Apache-2.0
"""A recorded step computes what an eager one does; a stand-in for the device records on the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.models.checkpoints import load_network
from filterlens.models.one_branch import SRResNet
from filterlens.training import step as steps
from filterlens.training.batches import Batch
from filterlens.training.losses import RestorationLoss
from filterlens.training.state import TrainingState
from filterlens.training.step import WARM_UP_STEPS, CapturedStep, CudaGraphRecorder, EagerStep, Step, Update
from filterlens.training.trainer import train
from tests.training.small import Killed, Killer, small_recipe

CPU = torch.device("cpu")
RATES = [2.0**-power for power in (10, 9, 9, 10, 11, 12)]  # exact in float32, which is what a device holds


class Recorder(CudaGraphRecorder):
    """Records as a device does: nothing runs while recording; a replay runs the same work on the same tensors."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error, self.runs, self.records, self.replays = error, 0, 0, 0

    def run(self, work: Callable[[], None]) -> None:
        self.runs += 1
        work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self.records += 1
        if self.error is not None:
            raise self.error

        def replay() -> None:
            self.replays += 1
            work()

        return replay


def start() -> TrainingState:
    torch.manual_seed(0)
    return TrainingState.start(SRResNet(features=8, blocks=1), CPU, betas=(0.9, 0.99), ema=0.9)


def update_of(running: TrainingState) -> Update:
    return Update(running, RestorationLoss(running.network, "fp32"), torch.Tensor.backward)


def batch(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    return Batch(torch.rand(2, 3, 16, 16, generator=generator), torch.rand(2, 3, 8, 8, generator=generator))


def advance(step: Step, running: TrainingState, until: int = len(RATES)) -> None:
    for done in range(running.done, until):
        step(batch(done), RATES[done])
        running.count()


def state(running: TrainingState) -> dict[str, Any]:
    return running.content(running.meter.total)


def assert_equal(first: TrainingState, second: TrainingState) -> None:
    torch.testing.assert_close(state(first), state(second), rtol=0, atol=0)


@pytest.fixture(scope="module")
def eager() -> TrainingState:
    """All steps, kernel by kernel."""
    running = start()
    advance(EagerStep(update_of(running)), running)
    return running


def test_an_eager_step_is_adam_on_the_mean_absolute_error_with_an_average(eager: TrainingState) -> None:
    torch.manual_seed(0)
    network: nn.Module = SRResNet(features=8, blocks=1).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99), fused=False)
    average, total = {}, 0.0
    for step, rate in enumerate(RATES):
        optimizer.param_groups[0]["lr"] = rate
        truth, lowered, *_ = batch(step)
        loss = (network(lowered) - truth).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += float(loss.detach())
        for name, weight in network.state_dict().items():
            average[name] = weight.clone() if step == 0 else 0.9 * average[name] + 0.1 * weight
    torch.testing.assert_close(dict(eager.network.state_dict()), dict(network.state_dict()), rtol=0, atol=1e-5)
    torch.testing.assert_close(dict(eager.average.module.state_dict()), average, rtol=0, atol=1e-5)
    assert float(eager.meter.total) == pytest.approx(total, rel=1e-5)
    assert eager.meter.steps == eager.done == len(RATES)


def test_a_captured_step_gives_the_same_numbers_as_an_eager_one(eager: TrainingState) -> None:
    running, recorder, notes = start(), Recorder(), []
    advance(CapturedStep(update_of(running), recorder, notes.append), running)
    assert_equal(running, eager)
    assert (recorder.runs, recorder.records, recorder.replays) == (WARM_UP_STEPS, 1, len(RATES) - WARM_UP_STEPS)
    assert notes == []


def test_a_step_moves_no_tensor_that_a_recording_holds() -> None:
    def places(running: TrainingState) -> list[int]:
        adam = [value for each in running.optimizer.state.values() for value in each.values()]
        kept = [*running.network.parameters(), *running.average.module.parameters(), *adam, running.meter.total]
        return [tensor.data_ptr() for tensor in kept]

    running = start()
    step = CapturedStep(update_of(running), Recorder(), str)
    advance(step, running, 2)
    before = places(running)
    running.meter.reset()
    advance(step, running, 5)
    assert places(running) == before


def test_where_a_recording_fails_the_steps_go_on_eagerly_with_the_same_numbers(eager: TrainingState) -> None:
    running, recorder, notes = start(), Recorder(RuntimeError("operation not permitted\nmore")), []
    advance(CapturedStep(update_of(running), recorder, notes.append), running)
    assert_equal(running, eager)
    assert (recorder.runs, recorder.records) == (WARM_UP_STEPS, 1)
    assert len(notes) == 1 and "cannot be recorded" in notes[0] and notes[0].endswith("(operation not permitted)")


def test_a_kill_while_recording_is_no_failed_recording() -> None:
    running = start()
    with pytest.raises(Killed):
        advance(CapturedStep(update_of(running), Recorder(Killed()), str), running)
    assert running.done == WARM_UP_STEPS


@pytest.mark.parametrize("first", ["eager", "captured"])
def test_a_checkpoint_of_either_step_goes_on_with_either(eager: TrainingState, first: str) -> None:
    def stepper(running: TrainingState, name: str) -> Step:
        update = update_of(running)
        return EagerStep(update) if name == "eager" else CapturedStep(update, Recorder(), str)

    one = start()
    advance(stepper(one, first), one, 4)
    other = start()
    advance(stepper(other, "eager"), other, 1)  # so that there is something to replace
    other.restore(state(one))
    assert other.done == 4
    advance(stepper(other, "captured" if first == "eager" else "eager"), other)
    assert_equal(other, eager)


def test_a_checkpoint_does_not_say_how_its_steps_were_run() -> None:
    running = start()
    advance(CapturedStep(update_of(running), Recorder(), str), running, 4)
    (group,) = state(running)["optimizer"]["param_groups"]
    assert type(group["lr"]) is float and group["lr"] == RATES[3]
    assert group["capturable"] is False


def test_bfloat16_reaches_the_network() -> None:
    seen = []

    class Watched(nn.Module):
        def forward(self, lowered: Tensor) -> Tensor:
            seen.append(F.conv2d(lowered, torch.ones(3, 3, 1, 1)).dtype)
            return running.network(lowered)

    running = start()
    for precision in ("fp32", "bf16"):
        EagerStep(Update(running, RestorationLoss(Watched(), precision), torch.Tensor.backward))(batch(0), RATES[0])
    assert seen == [torch.float32, torch.bfloat16]


def test_a_training_with_captured_steps_resumes_bit_identical(
    tmp_path: Path, noise_images: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "EagerStep", lambda update: CapturedStep(update, Recorder(), str))
    arguments = (small_recipe(), noise_images)
    train(*arguments, tmp_path / "straight", device=CPU)
    with pytest.raises(Killed):
        train(*arguments, tmp_path / "killed", device=CPU, progress=Killer(step=11))
    train(*arguments, tmp_path / "killed", device=CPU)
    straight, killed = (load_network(tmp_path / name / "target.safetensors").network for name in ("straight", "killed"))
    torch.testing.assert_close(killed.state_dict(), straight.state_dict(), rtol=0, atol=0)
