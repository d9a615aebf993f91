# SPDX-License-Identifier: Apache-2.0
"""Only the target is fine-tuned where a baseline is given; the pair is complete all the same."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from filterlens.errors import UsageError
from filterlens.jobs.train import train_to_folder
from filterlens.models.checkpoints import LoadedNetwork, load_network, save_network
from filterlens.models.one_branch import SRCNNStyle, SRResNet
from filterlens.progress import SILENT, Progress
from filterlens.training.recipe import Recipe
from filterlens.training.trainer import train
from tests.training.small import Killed, Killer, small_recipe

CPU = torch.device("cpu")
NARROW = {"scale": 2, "features": 8, "blocks": 1}


def narrow(path: Path, seed: int = 0, **changes: int) -> LoadedNetwork:
    """A small SRResNet on disk, with a card of its own."""
    options = NARROW | changes
    torch.manual_seed(seed)
    save_network(path, SRResNet(**options), "srresnet", options, {"role": "given", "note": "by hand"})
    return load_network(path)


def fine_tune(
    baseline: LoadedNetwork, folder: Path, images: list[Tensor], progress: Progress = SILENT, **changes: Any
) -> dict[str, Path]:
    return train(small_recipe(**changes), images, folder, device=CPU, baseline=baseline, progress=progress)


def weights(path: Path) -> dict[str, Tensor]:
    return load_network(path).network.state_dict()


def assert_same(first: Path, second: Path) -> None:
    torch.testing.assert_close(weights(first), weights(second), rtol=0, atol=0)


def test_the_target_is_the_one_that_the_whole_training_makes(tmp_path: Path, noise_images: list[Tensor]) -> None:
    whole = train(small_recipe(), noise_images, tmp_path / "whole", device=CPU)
    part = fine_tune(load_network(whole["baseline"]), tmp_path / "part", noise_images)
    assert_same(part["baseline"], whole["baseline"])
    assert_same(part["target"], whole["target"])


def test_the_pair_is_complete_and_its_cards_name_the_source(tmp_path: Path, noise_images: list[Tensor]) -> None:
    given = narrow(tmp_path / "given.safetensors")
    before = copy.deepcopy(given.network.state_dict())
    written = fine_tune(given, tmp_path / "pair", noise_images)
    assert sorted(path.name for path in (tmp_path / "pair").iterdir()) == [
        "baseline.safetensors",
        "log.jsonl",
        "target.safetensors",
    ]
    baseline, target = (load_network(written[role]) for role in ("baseline", "target"))
    assert baseline.card == {"role": "baseline", "note": "by hand", "source_sha256": given.sha256}
    assert (target.card["role"], target.card["baseline_sha256"]) == ("target", given.sha256)
    assert baseline.options == target.options == NARROW
    torch.testing.assert_close(baseline.network.state_dict(), before, rtol=0, atol=0)
    torch.testing.assert_close(given.network.state_dict(), before, rtol=0, atol=0)
    assert not given.network.training
    assert not torch.equal(target.network.conv_first.weight, baseline.network.conv_first.weight)
    entries = [json.loads(line) for line in (tmp_path / "pair" / "log.jsonl").read_text().splitlines()]
    assert {entry["stage"] for entry in entries} == {"target"}


def test_a_target_starts_from_the_given_baseline(tmp_path: Path, noise_images: list[Tensor]) -> None:
    barely = {"iterations": 1, "learning_rate": 1e-9}
    written = fine_tune(narrow(tmp_path / "given.safetensors"), tmp_path / "pair", noise_images, target=barely)
    torch.testing.assert_close(weights(written["target"]), weights(written["baseline"]), rtol=0, atol=1e-7)


def test_other_seeds_give_other_targets_of_one_baseline(tmp_path: Path, noise_images: list[Tensor]) -> None:
    given = narrow(tmp_path / "given.safetensors")
    first, second = (fine_tune(given, tmp_path / str(seed), noise_images, seed=seed) for seed in (1, 2))
    assert_same(first["baseline"], second["baseline"])
    one, other = weights(first["target"]), weights(second["target"])
    assert not torch.equal(one["conv_first.weight"], other["conv_first.weight"])


def test_a_killed_fine_tuning_resumes_to_bit_identical_weights(tmp_path: Path, noise_images: list[Tensor]) -> None:
    given = narrow(tmp_path / "given.safetensors")
    straight = fine_tune(given, tmp_path / "straight", noise_images)
    with pytest.raises(Killed):
        fine_tune(given, tmp_path / "killed", noise_images, Killer(step=5))
    progress = Killer()
    killed = fine_tune(given, tmp_path / "killed", noise_images, progress)
    assert progress.notes[1].endswith("at step 4")
    assert_same(killed["target"], straight["target"])


def test_a_finished_fine_tuning_is_not_repeated(tmp_path: Path, noise_images: list[Tensor]) -> None:
    given = narrow(tmp_path / "given.safetensors")
    for progress in (SILENT, Killer(step=1)):
        fine_tune(given, tmp_path / "pair", noise_images, progress)


@pytest.mark.parametrize("step", [1, 5, 99], ids=["before a checkpoint", "interrupted", "finished"])
def test_another_baseline_in_the_same_folder_is_refused(tmp_path: Path, noise_images: list[Tensor], step: int) -> None:
    first, second = narrow(tmp_path / "first.safetensors"), narrow(tmp_path / "second.safetensors", seed=1)
    try:
        fine_tune(first, tmp_path / "pair", noise_images, Killer(step=step))
    except Killed:
        assert step < 99
    with pytest.raises(UsageError, match=r"from another baseline.*--output.*--fresh"):
        fine_tune(second, tmp_path / "pair", noise_images)


def test_a_target_of_another_baseline_is_not_resumed(tmp_path: Path, noise_images: list[Tensor]) -> None:
    first, second = narrow(tmp_path / "first.safetensors"), narrow(tmp_path / "second.safetensors", seed=1)
    with pytest.raises(Killed):
        fine_tune(first, tmp_path / "pair", noise_images, Killer(step=5))
    (tmp_path / "pair" / "baseline.safetensors").unlink()
    with pytest.raises(UsageError, match="from another baseline"):
        fine_tune(second, tmp_path / "pair", noise_images)


@pytest.mark.parametrize("step", [5, 7, 99], ids=["in the baseline", "in the target", "finished"])
def test_a_folder_with_a_training_of_both_stages_is_refused(
    tmp_path: Path, noise_images: list[Tensor], step: int
) -> None:
    try:
        train(small_recipe(), noise_images, tmp_path / "pair", device=CPU, progress=Killer(step=step))
    except Killed:
        assert step < 99
    with pytest.raises(UsageError, match="from another baseline"):
        fine_tune(narrow(tmp_path / "given.safetensors"), tmp_path / "pair", noise_images)


def test_a_training_of_both_stages_refuses_a_folder_with_a_given_baseline(
    tmp_path: Path, noise_images: list[Tensor]
) -> None:
    fine_tune(narrow(tmp_path / "given.safetensors"), tmp_path / "pair", noise_images)
    with pytest.raises(UsageError, match="from another baseline"):
        train(small_recipe(), noise_images, tmp_path / "pair", device=CPU)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 4}, "has scale 2, recipe 'test' has 4. Give --scale 2,"),
        ({"architecture": "srcnn-style"}, "has architecture srresnet, recipe 'test' has srcnn-style. Give --arch"),
    ],
    ids=["scale", "architecture"],
)
def test_a_baseline_that_does_not_fit_the_recipe_is_refused_before_anything_is_written(
    tmp_path: Path, noise_images: list[Tensor], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        fine_tune(narrow(tmp_path / "given.safetensors"), tmp_path / "pair", noise_images, **changes)
    assert message in str(caught.value)
    assert not (tmp_path / "pair").exists()


def test_starting_over_never_deletes_the_given_baseline(tmp_path: Path, noise_images: list[Tensor]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(noise_images[0].permute(1, 2, 0).numpy()).save(folder / "one.png")

    def again(baseline: Path, fresh: bool = False, recipe: Recipe | None = None) -> dict[str, Path]:
        return train_to_folder(
            recipe or small_recipe(), [folder], tmp_path / "pair", baseline=baseline, device="cpu", fresh=fresh
        )

    given = narrow(tmp_path / "given.safetensors").path
    written = again(given)
    assert json.loads((tmp_path / "pair" / "train.json").read_text())["baseline"]["path"] == str(given)
    before = {role: path.read_bytes() for role, path in written.items()}
    for path in written.values():
        with pytest.raises(UsageError, match=r"would write\. Give another --output"):
            again(path, fresh=True)
    assert {role: path.read_bytes() for role, path in written.items()} == before
    with pytest.raises(UsageError, match="another recipe"):
        again(given, recipe=small_recipe(seed=1))
    again(given, fresh=True, recipe=small_recipe(seed=1))
    assert written["target"].read_bytes() != before["target"]


def test_a_checkpoint_of_basicsr_can_be_the_baseline(tmp_path: Path, noise_images: list[Tensor]) -> None:
    torch.manual_seed(0)
    network = SRCNNStyle()
    torch.save({"params_ema": network.state_dict()}, tmp_path / "given.pth")
    stage = {"iterations": 1, "learning_rate": 1e-3}
    changes = {"architecture": "srcnn-style", "start": "identity", "target": stage}
    written = fine_tune(load_network(tmp_path / "given.pth"), tmp_path / "pair", noise_images, **changes)
    torch.testing.assert_close(weights(written["baseline"]), dict(network.state_dict()), rtol=0, atol=0)
