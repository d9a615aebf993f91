# SPDX-License-Identifier: Apache-2.0
"""The training job: whose files it replaces and when, which images it leaves out, and who may train in a folder."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from filterlens.errors import FilterlensError, UsageError
from filterlens.jobs.train import FRESH, train_to_folder
from filterlens.models.checkpoints import load_network
from filterlens.record import Record
from filterlens.training.recipe import Recipe, validated
from tests.training.small import Killed, Killer

OURS = {"baseline.safetensors", "target.safetensors", "log.jsonl", "train.json"}


def recipe(**changes: Any) -> Recipe:
    """Three steps of each stage of a network of a few filters."""
    stage = {"iterations": 3, "learning_rate": 1e-3}
    settings = {"name": "tiny", "patch": 16, "batch": 1, "ema": 0.5, "network": {"features": 2, "blocks": 1}}
    settings |= {"baseline": stage, "target": stage, "checkpoint_every": 1}
    return validated(settings | changes, "tiny")


@pytest.fixture
def images(tmp_path: Path, noise_images: list[Tensor]) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index, image in enumerate(noise_images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{index}.png")
    return folder


def train(images: Path, output: Path, chosen: Recipe | None = None, **changes: Any) -> dict[str, Path]:
    return train_to_folder(chosen or recipe(), [images], output, device="cpu", precision="fp32", **changes)


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def target(folder: Path) -> Tensor:
    weight: Tensor = load_network(folder / "target.safetensors").network.state_dict()["conv_last.weight"]
    return weight


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OURS}


def test_the_files_of_a_training_are_recorded_with_what_they_are_made_of(images: Path, tmp_path: Path) -> None:
    train(images, tmp_path / "out")
    assert visible(tmp_path / "out") == OURS
    fingerprint = json.loads((tmp_path / "out/train.json").read_text())["fingerprint"]
    record = Record(tmp_path / "out", "train")
    assert all(record.is_made(name, fingerprint) for name in OURS)


def test_a_finished_training_writes_nothing_again(images: Path, tmp_path: Path) -> None:
    train(images, tmp_path / "out")
    before = content(tmp_path / "out")
    train(images, tmp_path / "out")
    assert content(tmp_path / "out") == before


def test_a_refused_training_changes_no_file(images: Path, tmp_path: Path) -> None:
    train(images, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(UsageError, match="another recipe"):
        train(images, tmp_path / "out", recipe(seed=1))
    assert content(tmp_path / "out") == before


def test_fresh_keeps_the_old_pair_until_the_new_one_is_whole(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(images, out)
    before = content(out)
    for step in (2, 5):  # in either stage
        with pytest.raises(Killed):
            train(images, out, recipe(seed=1), fresh=True, progress=Killer(step=step - 1 if step > 2 else step))
        assert content(out) == before
    again = Killer()
    train(images, out, recipe(seed=1), fresh=True, progress=again)
    assert again.steps_left > -6  # it went on
    assert visible(out) == OURS
    straight = tmp_path / "straight"
    train(images, straight, recipe(seed=1))
    assert torch.equal(target(out), target(straight))
    assert json.loads((out / "train.json").read_text())["recipe"]["seed"] == 1


def test_a_killed_fresh_training_goes_on_without_fresh_too(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(images, out)
    with pytest.raises(Killed):
        train(images, out, recipe(seed=1), fresh=True, progress=Killer(step=5))
    again = Killer()
    train(images, out, recipe(seed=1), progress=again)
    assert -again.steps_left == 2 and visible(out) == OURS
    assert load_network(out / "baseline.safetensors").card["recipe"]["seed"] == 1


def test_the_old_training_is_as_it_was_beside_a_killed_fresh_one(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(images, out)
    with pytest.raises(Killed):
        train(images, out, recipe(seed=1), fresh=True, progress=Killer(step=5))
    train(images, out, progress=Killer(step=1))  # is finished: no step
    killer = Killer()
    train(images, out, recipe(seed=2), fresh=True, progress=killer)  # another fresh one begins anew
    assert -killer.steps_left == 6 and visible(out) == OURS
    assert load_network(out / "target.safetensors").card["recipe"]["seed"] == 2


def test_fresh_over_the_same_training_trains_again(images: Path, tmp_path: Path) -> None:
    train(images, tmp_path / "out")
    before, killer = target(tmp_path / "out"), Killer()
    train(images, tmp_path / "out", fresh=True, progress=killer)
    assert -killer.steps_left == 6 and torch.equal(target(tmp_path / "out"), before)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("moves", range(4))
def test_a_kill_while_the_new_pair_takes_its_place_is_mended_and_mixes_no_pair(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int, fresh: bool
) -> None:
    out, replace, left = tmp_path / "out", Path.replace, iter(range(moves))
    train(images, out)

    def killed(path: Path, goal: Path) -> Path:
        if path.parent == out / "fresh.whole" and not path.name.startswith(".") and next(left, None) is None:
            raise Killed
        return replace(path, goal)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", killed)
        train(images, out, recipe(seed=1), fresh=True)
    seeds = {load_network(path).card["recipe"]["seed"] for path in out.glob("*.safetensors")}
    assert len(seeds) == 1 or not (out / "target.safetensors").exists()
    train(images, out, recipe(seed=1), fresh=fresh, progress=Killer(step=1))  # nothing is left to train
    assert visible(out) == OURS
    assert {load_network(out / f"{role}.safetensors").card["recipe"]["seed"] for role in ("baseline", "target")} == {1}


@pytest.mark.parametrize("name", ["log.jsonl", "target.safetensors", "train.json", "baseline.state.pt"])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_strangers_file_with_one_of_our_names_is_neither_replaced_nor_lengthened(
    images: Path, tmp_path: Path, name: str, fresh: bool
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("a stranger's\n")
    with pytest.raises(FilterlensError, match=f"'{name}' in '.*' would be replaced, but filterlens did not write it"):
        train(images, out, fresh=fresh, progress=Killer(step=1))
    assert (out / name).read_text() == "a stranger's\n" and visible(out) == {name}


def test_strangers_files_beside_a_training_stay(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(images, out)
    (out / "notes.txt").write_text("mine")
    (out / "fresh").mkdir()
    (out / "fresh" / "bread.txt").write_text("mine")
    train(images, out, recipe(seed=1), fresh=True)
    assert visible(out) == OURS | {"notes.txt", "fresh"} and visible(out / "fresh") == {"bread.txt"}


def test_a_result_that_was_changed_since_is_not_replaced(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(images, out)
    (out / "log.jsonl").write_text("my own remarks\n")
    with pytest.raises(FilterlensError, match=r"'log\.jsonl' in .*changed since"):
        train(images, out, fresh=True)
    assert (out / "log.jsonl").read_text() == "my own remarks\n"


def test_a_folder_of_an_earlier_version_without_a_record_is_taken_over(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed):
        train(images, out, progress=Killer(step=5))
    (out / ".filterlens-files.jsonl").unlink()
    killer = Killer()
    train(images, out, progress=killer)
    assert -killer.steps_left == 2 and visible(out) == OURS


@pytest.mark.parametrize("garbage", ["", "[1]", '{"fingerprint": [', "[" * 100_000, '{"fingerprint": 3}'])
def test_garbage_in_the_settings_of_a_killed_fresh_training_begins_it_anew(
    images: Path, tmp_path: Path, garbage: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed):
        train(images, out, fresh=True, progress=Killer(step=2))
    (out / "fresh" / "train.json").write_text(garbage)
    train(images, out, fresh=True)
    assert visible(out) == OURS


def test_what_cannot_fit_is_refused_before_anything_is_read_or_written(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch = 65536 with patch = 4096 needs about"):
        train(images, tmp_path / "out", recipe(batch=65_536, patch=4096))
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(images: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="is a file, not a folder"):
        train(images, tmp_path / "out")
    with pytest.raises(FilterlensError, match="Cannot write into"):
        train(images, tmp_path / "out" / "deeper")


def test_a_second_training_in_the_folder_is_told_who_holds_it(images: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from filterlens.files import folder_lock\n"
        "with folder_lock(sys.argv[1], 'training'):\n    print(flush=True); input()"
    )
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], **pipes) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(FilterlensError, match=f"in use by a training, process {holder.pid} on"):
            train(images, tmp_path / "out")
        holder.kill()
        holder.wait()
    train(images, tmp_path / "out")


def test_a_damaged_image_is_left_out_and_listed_with_its_reason(images: Path, tmp_path: Path) -> None:
    whole = (images / "1.png").read_bytes()
    (images / "1.png").write_bytes(whole[: len(whole) // 2])
    killer = Killer()
    train(images, tmp_path / "out", progress=killer)
    (entry,) = json.loads((tmp_path / "out/train.json").read_text())["left_out"]
    assert entry["file"] == str(images / "1.png") and "intact copy" in entry["reason"]
    assert any(note.startswith("left out: ") and "1.png" in note for note in killer.notes)
    (images / "1.png").write_bytes(whole)
    with pytest.raises(UsageError, match="other images"):  # the repaired one makes it another training
        train(images, tmp_path / "out")


def test_without_a_readable_image_there_is_no_training(images: Path, tmp_path: Path) -> None:
    for path in images.iterdir():
        path.write_bytes(b"none")
    with pytest.raises(FilterlensError, match=r"None of the 3 training images can be read: .*0\.png"):
        train(images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_smaller_than_a_patch_is_named(images: Path, tmp_path: Path) -> None:
    Image.new("RGB", (12, 40)).save(images / "small.png")
    with pytest.raises(FilterlensError, match=r"12x40, smaller than a patch of 16 \('small\.png'\)"):
        train(images, tmp_path / "out")


def test_copies_of_training_images_do_not_judge(images: Path, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    (copies / "other.png").write_bytes((images / "2.png").read_bytes())
    with pytest.raises(FilterlensError, match=r"other\.png' and training image '.*2\.png' hold the same pixels"):
        train(images, tmp_path / "out", validation=copies)


def test_what_lies_in_the_way_of_fresh_is_known_before_a_step(images: Path, tmp_path: Path) -> None:
    train(images, tmp_path / "out")
    staged = tmp_path / "out" / FRESH
    staged.mkdir()
    (staged / "log.jsonl").write_text("mine\n")
    with pytest.raises(FilterlensError, match=r"'log\.jsonl' in '.*fresh' would be replaced"):
        train(images, tmp_path / "out", fresh=True, progress=Killer(step=1))
    assert (staged / "log.jsonl").read_text() == "mine\n"
