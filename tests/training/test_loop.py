# SPDX-License-Identifier: Apache-2.0
"""A training learns, and one that was killed and resumed ends bit-identical to one that was not."""

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.data.images import to_uint8
from filterlens.degradations import Degradation
from filterlens.errors import FilterlensError, UsageError
from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network, save_network
from filterlens.progress import SILENT, Progress
from filterlens.stopping import told_signals
from filterlens.training import loop, trainer
from filterlens.training import validation as validations
from filterlens.training.checkpointing import AnotherTrainingError, Log
from filterlens.training.processes import OneProcess
from filterlens.training.recipe import Recipe
from tests.training.small import Killed, Killer, small_recipe

CPU = torch.device("cpu")
ROLES = ("baseline", "target")


def train(folder: Path, images: list[Tensor], recipe: Recipe | None = None, progress: Progress = SILENT) -> None:
    trainer.train(
        recipe or small_recipe(), images, folder, validation=images[:1], device=CPU, data="random", progress=progress
    )


def weights(folder: Path) -> dict[str, dict[str, Tensor]]:
    return {role: load_network(folder / f"{role}.safetensors").network.state_dict() for role in ROLES}


def log(folder: Path) -> list[dict[str, Any]]:
    """The lines of the log but for the speed."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in entry.items() if key != "it_s"} for entry in entries]


def assert_equal(first: Path, second: Path) -> None:
    torch.testing.assert_close(weights(first), weights(second), rtol=0, atol=0)
    assert log(first) == log(second)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nobody interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    generator = torch.Generator().manual_seed(0)
    sizes = ((40, 50), (33, 64), (48, 34))
    train(folder, [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes])
    return folder


def test_a_training_leaves_two_networks_and_a_log(straight: Path) -> None:
    assert sorted(path.name for path in straight.iterdir()) == [
        "baseline.safetensors",
        "log.jsonl",
        "target.safetensors",
    ]
    card = load_network(straight / "target.safetensors").card
    assert (card["role"], card["iterations"], card["training_data"]) == ("target", 6, "random")
    assert card["recipe"] == small_recipe().model_dump(mode="json")
    steps = [(entry["stage"], entry["step"]) for entry in log(straight) if "psnr" in entry]
    assert steps == [(role, step) for role in ROLES for step in (2, 4, 6)]


@pytest.mark.parametrize(
    "killer",
    [{"step": 1}, {"step": 5}, {"step": 6}, {"step": 8}, {"step": 11}, {"note": 2}, {"note": 3}, {"note": 6}],
    ids=str,
)
def test_a_killed_training_resumes_to_bit_identical_weights_and_the_same_log(
    tmp_path: Path, noise_images: list[Tensor], straight: Path, killer: dict[str, int]
) -> None:
    with pytest.raises(Killed):
        train(tmp_path, noise_images, progress=Killer(**killer))
    train(tmp_path, noise_images)
    assert_equal(tmp_path, straight)


def test_the_states_of_equal_trainings_are_the_same_bytes(tmp_path: Path, noise_images: list[Tensor]) -> None:
    for name in "ab":
        with pytest.raises(Killed):
            train(tmp_path / name, noise_images, progress=Killer(step=5))
    first, second = ((tmp_path / name / "baseline.state.pt").read_bytes() for name in "ab")
    assert first == second


def test_a_resumed_training_goes_on_where_the_checkpoint_was(tmp_path: Path, noise_images: list[Tensor]) -> None:
    with pytest.raises(Killed):
        train(tmp_path, noise_images, progress=Killer(step=11))
    second = Killer()
    train(tmp_path, noise_images, progress=second)
    assert second.notes[0].startswith("baseline: already trained")
    assert second.notes[1].endswith("at step 4")
    assert second.steps_left == -2


@pytest.mark.parametrize("step", [1, 6, 11, 12])
def test_a_signal_at_any_step_saves_there_and_resumes_to_the_same_numbers(
    tmp_path: Path, noise_images: list[Tensor], straight: Path, step: int
) -> None:
    killer = Killer(step=step, signal=signal.SIGTERM)
    with pytest.raises(FilterlensError, match="ended by SIGTERM"), told_signals():
        train(tmp_path, noise_images, progress=killer)
    role, at = ROLES[(step - 1) // 6], (step - 1) % 6 + 1
    assert torch.load(tmp_path / f"{role}.state.pt", weights_only=True)["step"] == at
    assert f"ended at step {at} of the {role}; its state is saved" in killer.notes[-1]
    again = Killer()
    train(tmp_path, noise_images, progress=again)
    assert -again.steps_left == 12 - step
    assert_equal(tmp_path, straight)


@pytest.mark.parametrize("validation", [2, 6])
def test_a_signal_inside_a_validation_leaves_it_to_the_run_that_goes_on(
    tmp_path: Path, noise_images: list[Tensor], straight: Path, monkeypatch: pytest.MonkeyPatch, validation: int
) -> None:
    left = iter(range(validation - 1, -1, -1))
    measure = validations.psnr_per_degradation

    def signalled(*arguments: Any, **settings: Any) -> dict[str, float]:
        if next(left) == 0:
            signal.raise_signal(signal.SIGTERM)
        return measure(*arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(validations, "psnr_per_degradation", signalled)
        with pytest.raises(FilterlensError, match="ended by SIGTERM"), told_signals():
            train(tmp_path, noise_images)
    assert [entry for entry in log(tmp_path) if "psnr" in entry] == [
        entry for entry in log(straight) if "psnr" in entry
    ][: validation - 1]
    train(tmp_path, noise_images)
    assert_equal(tmp_path, straight)


@pytest.mark.parametrize("step", [2, 7])
def test_a_state_is_saved_by_time_too_and_changes_no_number(
    tmp_path: Path, noise_images: list[Tensor], straight: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    with pytest.raises(Killed):
        train(tmp_path, noise_images, progress=Killer(step=step + 1))  # before the save of that step
    (state,) = tmp_path.glob("*.state.pt") if step < 6 else [tmp_path / "target.state.pt"]
    assert torch.load(state, weights_only=True)["step"] == (step if step < 6 else 1)
    train(tmp_path, noise_images)
    assert_equal(tmp_path, straight)


def test_a_full_disk_at_a_checkpoint_is_told_and_stops_no_training(
    tmp_path: Path, noise_images: list[Tensor], straight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        raise FilterlensError(f"Cannot write '{path}': No space left on device. Free the disk.")

    monkeypatch.setattr(loop, "save_state", full)
    monkeypatch.setattr(Log, "_write", full_until(4, Log._write, full))
    killer = Killer()
    train(tmp_path, noise_images, progress=killer)
    told = [note for note in killer.notes if "No space left" in note]
    assert len(told) == 4 and "The training goes on; it tries again in 3 minutes" in told[0]
    assert_equal(tmp_path, straight)


def full_until(count: int, write: Callable[..., None], full: Callable[..., None]) -> Callable[..., None]:
    """Fail so many times."""
    left = iter(range(count))
    return lambda *entries: full(*entries) if next(left, None) is not None else write(*entries)


def test_a_full_disk_when_a_signal_comes_ends_with_the_reason_and_keeps_the_state_before(
    tmp_path: Path, noise_images: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(Killed):
        train(tmp_path, noise_images, progress=Killer(step=5))
    before = (tmp_path / "baseline.state.pt").read_bytes()
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FilterlensError, match=r"baseline\.state\.pt': No space left"), told_signals():
        train(tmp_path, noise_images, progress=Killer(step=1, signal=signal.SIGTERM))
    assert (tmp_path / "baseline.state.pt").read_bytes() == before


def test_a_folder_that_is_deleted_during_a_training_is_made_again_with_both_networks(
    tmp_path: Path, noise_images: list[Tensor], straight: Path
) -> None:
    class Deleter(Killer):
        def _kill(self) -> None:
            shutil.rmtree(tmp_path / "out")

    train(tmp_path / "out", noise_images, progress=Deleter(step=9))
    torch.testing.assert_close(weights(tmp_path / "out"), weights(straight), rtol=0, atol=0)


def test_lines_in_the_log_that_are_no_log_lines_are_dropped_and_told(
    tmp_path: Path, noise_images: list[Tensor], straight: Path
) -> None:
    with pytest.raises(Killed):
        train(tmp_path, noise_images, progress=Killer(step=5))
    with (tmp_path / "log.jsonl").open("ab") as stream:
        stream.write(b'5\n{}\n[]\nnull\n{"stage": [], "step": 1}\n{"stage": "target", "step": "x"}\n')
        stream.write(b"\xff\xfe\n" + b"[" * 100_000 + b'\n{"stage": "tar')
    killer = Killer()
    train(tmp_path, noise_images, progress=killer)
    assert any("9 line(s) that are no log lines were dropped" in note for note in killer.notes)
    assert_equal(tmp_path, straight)


def test_a_network_that_gives_no_numbers_in_a_validation_is_told_with_image_and_share(
    tmp_path: Path, noise_images: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spoiled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = build("srresnet")

        def forward(self, x: Tensor) -> Tensor:
            given: Tensor = self.network(x)
            if not self.training:
                given[..., 0, :] = torch.inf
            return given

    monkeypatch.setattr(trainer, "build", lambda *_, **__: Spoiled())
    names = ["a.png", "b.png", "c.png", "v.png"]
    share = 1 / noise_images[0].shape[1]  # one row of the picture
    wanted = f"step 2 of the baseline: the network gives NaN or infinity in {share:.2%} of the pixels of image 'v.png'"
    with pytest.raises(FilterlensError, match=wanted):
        trainer.train(small_recipe(), noise_images, tmp_path, validation=noise_images[:1], device=CPU, names=names)


@pytest.mark.parametrize("validation", [2, 3, 5])
def test_a_kill_inside_a_validation_costs_no_line_of_the_log(
    tmp_path: Path, noise_images: list[Tensor], straight: Path, monkeypatch: pytest.MonkeyPatch, validation: int
) -> None:
    left = iter(range(validation - 1, -1, -1))
    measure = validations.psnr_per_degradation

    def kill_later(*arguments: Any, **settings: Any) -> dict[str, float]:
        if next(left) == 0:
            raise Killed
        return measure(*arguments, **settings)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(validations, "psnr_per_degradation", kill_later)
        train(tmp_path, noise_images)
    train(tmp_path, noise_images)
    assert_equal(tmp_path, straight)


def test_every_step_of_both_stages_sees_other_patches(
    tmp_path: Path, noise_images: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, sample = [], trainer.PatchBank.sample

    def watch(bank: trainer.PatchBank, batch: int, generator: torch.Generator, views: int) -> Tensor:
        seen.append(sample(bank, batch, generator, views=views))
        return seen[-1]

    monkeypatch.setattr(trainer.PatchBank, "sample", watch)
    train(tmp_path, noise_images)
    assert [tuple(batch.shape) for batch in seen] == [(2, 3, 16, 16)] * 12
    assert len({batch.numpy().tobytes() for batch in seen}) == 12


def test_a_kill_while_the_result_is_written_is_mended(
    tmp_path: Path, noise_images: list[Tensor], straight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(trainer, "save_network", kill)
        train(tmp_path, noise_images)
    train(tmp_path, noise_images)
    assert_equal(tmp_path, straight)


def test_a_checkpoint_without_the_running_loss_still_resumes(
    tmp_path: Path, noise_images: list[Tensor], straight: Path
) -> None:
    with pytest.raises(Killed):
        train(tmp_path, noise_images, progress=Killer(step=5))
    path = tmp_path / "baseline.state.pt"
    state = torch.load(path, weights_only=True)
    assert set(state) == {"filterlens", "format", "fingerprint", "step", "network", "average", "optimizer", "meter"}
    for key in ("filterlens", "format", "meter"):  # as earlier versions wrote it
        del state[key]
    torch.save(state, path)
    train(tmp_path, noise_images)
    torch.testing.assert_close(weights(tmp_path), weights(straight), rtol=0, atol=0)


def test_another_seed_trains_other_weights(tmp_path: Path, noise_images: list[Tensor], straight: Path) -> None:
    train(tmp_path, noise_images, small_recipe(seed=1))
    for role in ROLES:
        first, second = weights(tmp_path)[role], weights(straight)[role]
        assert not torch.equal(first["conv_first.weight"], second["conv_first.weight"])


def test_a_finished_training_is_not_repeated(straight: Path, noise_images: list[Tensor]) -> None:
    before = {path: path.stat().st_mtime_ns for path in straight.glob("*.safetensors")}
    train(straight, noise_images, progress=Killer(step=1))
    assert {path: path.stat().st_mtime_ns for path in straight.glob("*.safetensors")} == before


def test_a_training_alone_inside_a_job_of_several_processes_gives_the_same_numbers(
    tmp_path: Path, noise_images: list[Tensor], straight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    arguments = {"validation": noise_images[:1], "device": CPU, "data": "random"}
    trainer.train(small_recipe(), noise_images, tmp_path, processes=OneProcess(CPU), **arguments)  # type: ignore[arg-type]
    assert_equal(tmp_path, straight)


@pytest.mark.parametrize("step", [5, 7], ids=["interrupted", "between the stages"])
def test_another_recipe_in_the_same_folder_is_refused(tmp_path: Path, noise_images: list[Tensor], step: int) -> None:
    with pytest.raises(Killed):
        train(tmp_path, noise_images, progress=Killer(step=step))
    with pytest.raises(AnotherTrainingError, match="another recipe or other images"):
        train(tmp_path, noise_images, small_recipe(seed=1))


def test_another_recipe_or_other_images_beside_a_finished_training_are_refused(
    straight: Path, noise_images: list[Tensor]
) -> None:
    for recipe, images in ((small_recipe(seed=1), noise_images), (small_recipe(), noise_images[:2])):
        with pytest.raises(UsageError, match="another recipe or other images"):
            train(straight, images, recipe)


def test_a_card_without_a_fingerprint_is_known_by_its_recipe(
    tmp_path: Path, noise_images: list[Tensor], straight: Path
) -> None:
    for role in ROLES:  # as earlier versions wrote it
        loaded = load_network(straight / f"{role}.safetensors")
        card = {key: value for key, value in loaded.card.items() if key != "fingerprint"}
        save_network(tmp_path / f"{role}.safetensors", loaded.network, "srresnet", loaded.options, card)
    train(tmp_path, noise_images, progress=Killer(step=1))
    with pytest.raises(UsageError, match="another recipe"):
        train(tmp_path, noise_images, small_recipe(seed=1))


def test_30_steps_lower_the_loss(tmp_path: Path, photograph: Tensor) -> None:
    stage = {"iterations": 30, "learning_rate": 1e-3, "final_learning_rate": 1e-4}
    changes = {"baseline": stage, "target": stage | {"iterations": 1}, "ema": 0.5, "validate_every": 0}
    recipe = small_recipe(architecture="srcnn-style", **changes)  # it starts from random, SRResNet near bilinear
    trainer.train(recipe, [to_uint8(photograph)], tmp_path, device=CPU)
    lowered = Degradation().apply(photograph, 2)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(recipe.seed)
        before = F.l1_loss(build("srcnn-style")(lowered), photograph)
        after = F.l1_loss(load_network(tmp_path / "baseline.safetensors").network(lowered), photograph)
    assert after < 0.7 * before


def test_the_target_starts_from_the_baseline(tmp_path: Path, noise_images: list[Tensor]) -> None:
    stage = {"iterations": 1, "learning_rate": 1e-3}
    trainer.train(
        small_recipe(baseline=stage, target=stage | {"learning_rate": 1e-9}), noise_images, tmp_path, device=CPU
    )
    trained = weights(tmp_path)
    torch.testing.assert_close(trained["target"], trained["baseline"], rtol=0, atol=1e-7)
    assert not torch.equal(trained["target"]["conv_first.weight"], trained["baseline"]["conv_first.weight"])


def test_what_is_saved_is_the_moving_average_of_the_weights(tmp_path: Path, noise_images: list[Tensor]) -> None:
    stage = {"iterations": 2, "learning_rate": 1e-3}
    decay, results = 0.25, {}
    for ema in (0.0, decay):
        trainer.train(
            small_recipe(baseline=stage, target=stage, ema=ema), noise_images, tmp_path / str(ema), device=CPU
        )
        results[ema] = weights(tmp_path / str(ema))["baseline"]["conv_first.weight"]
    once = stage | {"iterations": 1}
    # the first step is the same for 1 and 2 iterations: both begin at the peak rate
    trainer.train(small_recipe(baseline=once, target=once, ema=0.0), noise_images, tmp_path / "once", device=CPU)
    first = weights(tmp_path / "once")["baseline"]["conv_first.weight"]
    expected = decay * first + (1 - decay) * results[0.0]
    torch.testing.assert_close(results[decay], expected, rtol=0, atol=1e-8)


def test_a_training_that_diverges_stops_with_the_step_and_writes_no_network(
    tmp_path: Path, noise_images: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> nn.Module:
        network = build("srresnet")
        nn.init.constant_(network.conv_last.bias, torch.nan)  # type: ignore[union-attr]
        return network

    monkeypatch.setattr(trainer, "build", broken)
    with pytest.raises(FilterlensError, match=r"diverged at step 2 of the baseline: .* Lower the learning rate"):
        train(tmp_path, noise_images)
    assert not list(tmp_path.glob("*.safetensors"))
    assert not list(tmp_path.glob("*.pt"))


def test_validation_images_that_cannot_be_degraded_are_refused_before_the_training(
    tmp_path: Path, noise_images: list[Tensor]
) -> None:
    recipe = small_recipe(target={"iterations": 1, "learning_rate": 1e-3, "degradations": [["blur:2", 0.5]]})
    progress = Killer(step=1)
    with pytest.raises(FilterlensError, match="too small for a blur kernel"):
        trainer.train(
            recipe, noise_images, tmp_path, validation=[noise_images[0][:, :8, :8]], device=CPU, progress=progress
        )


def test_a_training_leaves_the_random_numbers_of_its_caller_alone(tmp_path: Path, noise_images: list[Tensor]) -> None:
    stage = {"iterations": 1, "learning_rate": 1e-3}
    before = torch.get_rng_state()
    trainer.train(small_recipe(baseline=stage, target=stage), noise_images, tmp_path, device=CPU)
    assert torch.equal(torch.get_rng_state(), before)
