# SPDX-License-Identifier: Apache-2.0
"""Training on pairs: what trains and what judges, exact resume, identity, bad pairs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from filterlens.cli.main import main
from filterlens.data.images import read_image
from filterlens.data.pair_patches import PairBank, PairPixels
from filterlens.data.patches import PatchBank
from filterlens.degradations import Mixture
from filterlens.errors import FilterlensError, UsageError
from filterlens.jobs.train import train_to_folder
from filterlens.jobs.training_pairs import read_pairs
from filterlens.models.checkpoints import load_network
from filterlens.progress import SILENT
from filterlens.training.batches import Batches
from filterlens.training.recipe import Recipe, validated
from filterlens.training.validation import psnr_of_pairs
from tests.training.small import Killed, Killer

CPU = torch.device("cpu")
COUNT = 21  # of scenes, so that some are held out


def save(path: Path, image: Tensor) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, tuple[str, str]]:
    """Two degradations of 21 scenes at scale 1, which share their clean images."""
    generator = torch.Generator().manual_seed(0)
    for index in range(COUNT):
        clean = torch.randint(0, 256, (3, 20, 24), generator=generator, dtype=torch.uint8)
        save(tmp_path / "clean" / f"{index:02}.png", clean)
        save(tmp_path / "rain" / f"{index:02}.png", clean // 2)
        save(tmp_path / "haze" / f"{index:02}.png", 255 - clean // 3)
    return {name: (str(tmp_path / name), str(tmp_path / "clean")) for name in ("rain", "haze")}


def recipe(**changes: Any) -> Recipe:
    """Three steps of each stage of a small network that keeps the size."""
    stage = {"iterations": 3, "learning_rate": 1e-3}
    settings = {"name": "tiny", "architecture": "dncnn", "scale": 1, "network": {"features": 2, "layers": 3}}
    settings |= {"patch": 16, "batch": 2, "ema": 0.5, "baseline": stage, "target": stage, "checkpoint_every": 1}
    return validated(settings | changes, "tiny")


def train(pairs: Any, output: Path, chosen: Recipe | None = None, images: Any = (), **changes: Any) -> dict[str, Path]:
    return train_to_folder(chosen or recipe(), images, output, pairs=pairs, device="cpu", precision="fp32", **changes)


def weights(folder: Path, role: str = "target") -> Tensor:
    network = load_network(folder / f"{role}.safetensors").network
    return torch.cat([each.flatten() for each in network.parameters()])


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_an_all_in_one_training_runs_from_pairs_alone(folders, tmp_path) -> None:
    train(folders, tmp_path / "out")
    assert not torch.equal(weights(tmp_path / "out"), weights(tmp_path / "out", "baseline"))
    said = json.loads((tmp_path / "out/train.json").read_text())
    assert said["pairs"] == {name: {"count": 19, "judging": 2} for name in folders}
    assert said["images"] == "rain (19 pairs), haze (19 pairs)"
    assert set(lines(tmp_path / "out")[-1]["psnr"]) == {"clean", "rain", "haze"}


def test_a_killed_training_gives_the_weights_of_one_that_was_not(folders, tmp_path) -> None:
    train(folders, tmp_path / "straight")
    for step in (2, 3):
        with pytest.raises(Killed):
            train(folders, tmp_path / "killed", progress=Killer(step=step))
    train(folders, tmp_path / "killed")
    for role in ("baseline", "target"):
        assert torch.equal(weights(tmp_path / "killed", role), weights(tmp_path / "straight", role))


def test_other_pixels_of_either_side_are_another_training(folders, tmp_path) -> None:
    train(folders, tmp_path / "out")
    train(folders, tmp_path / "out")
    path = tmp_path / "haze/05.png"
    save(path, 255 - read_image(path))
    with pytest.raises(UsageError, match="another recipe"):
        train(folders, tmp_path / "out")


def test_every_20th_scene_is_held_out_of_every_degradation_and_of_the_images(folders, tmp_path) -> None:
    found = read_pairs(folders, 1, SILENT, at_least=20)
    trained = {pair.truth.numpy().tobytes() for pairs in found.training.values() for pair in pairs}
    assert not trained & {pair.truth.numpy().tobytes() for pairs in found.judging.values() for pair in pairs}
    assert len(found.truths()[0]) == 19 and found.held_out == {
        (tmp_path / f"clean/{name}.png").resolve() for name in ("00", "20")
    }
    (tmp_path / "rain/00.png").unlink()
    for index in range(1, COUNT):  # the same scenes in another folder, one fewer
        save(tmp_path / f"copies/{index:02}.png", read_image(tmp_path / f"clean/{index:02}.png"))
    copied = folders | {"rain": (folders["rain"][0], str(tmp_path / "copies"))}
    found = read_pairs(copied, 1, SILENT, at_least=20)
    assert [pair.name for pair in found.judging["rain"]] == ["01", "20"]
    assert [pair.name for pair in found.judging["haze"]] == ["00", "01", "20"]


def test_the_baseline_learns_clean_images_of_the_pairs(folders, tmp_path) -> None:
    """Its weights are those of a training on the clean folder: no pair is seen."""
    train(folders, tmp_path / "pairs")
    train(None, tmp_path / "images", images=[tmp_path / "clean"])
    assert torch.equal(weights(tmp_path / "pairs", "baseline"), weights(tmp_path / "images", "baseline"))


def test_a_batch_of_both_takes_every_way_equally_often(noise_images: list[Tensor]) -> None:
    black, white = torch.zeros(3, 16, 16, dtype=torch.uint8), torch.full((3, 16, 16), 255, dtype=torch.uint8)
    sets = {"rain": [PairPixels("0", black, white)], "haze": [PairPixels("1", white, black)]}
    bank, mixture = PatchBank(noise_images, 16, CPU), Mixture.of([("noise:0.1", 1.0)])
    how: dict[str, Any] = {"scale": 1, "size": 900, "seed_of": lambda step: step}
    batch = Batches(bank, mixture, pairs=PairBank(sets, 16, 1, CPU), **how).draw(3)
    means = batch.truth.mean((1, 2, 3)), batch.lowered.mean((1, 2, 3))
    rain, haze = (means[0] == 0) & (means[1] == 1), (means[0] == 1) & (means[1] == 0)
    assert rain.double().mean().item() == pytest.approx(1 / 3, abs=0.05)
    assert haze.double().mean().item() == pytest.approx(1 / 3, abs=0.05)
    distance = (batch.truth - batch.lowered).abs().mean((1, 2, 3))[~rain & ~haze]
    assert float(distance.min()) > 0.01 and float(distance.max()) < 0.2  # noise of 0.1, clipped
    alone = Batches(bank, Mixture(()), pairs=PairBank(sets, 16, 1, CPU), **how).draw(3)
    assert set(alone.truth.unique().tolist()) == {0.0, 1.0} and torch.equal(alone.lowered, 1 - alone.truth)


def test_the_psnr_of_a_name_is_that_of_its_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 256, (3, 24, 20), generator=generator, dtype=torch.uint8)
    lowered = torch.randint(0, 256, (3, 12, 10), generator=generator, dtype=torch.uint8)
    network = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(3, 3, 1, groups=3, bias=False))
    nn.init.ones_(network[1].weight)
    restored = lowered.double().repeat_interleave(2, 1).repeat_interleave(2, 2)
    for crop, rows, columns in ((None, slice(2, 22), slice(2, 18)), (12, slice(8, 16), slice(6, 14))):
        error = (restored - truth)[:, rows, columns].square().mean()
        wanted = 10 * torch.log10(255**2 / error).item()
        measured = psnr_of_pairs(network, {"rain": [PairPixels("0", truth, lowered)], "none": []}, scale=2, crop=crop)
        assert measured == {"rain": pytest.approx(wanted, abs=1e-4)}


def test_a_pair_that_cannot_be_used_is_left_out_and_named(folders, tmp_path) -> None:
    save(tmp_path / "rain/03.png", torch.zeros(3, 10, 12, dtype=torch.uint8))
    progress = Killer()
    train(folders, tmp_path / "out", progress=progress)
    said = json.loads((tmp_path / "out/train.json").read_text())["left_out"]
    assert len(said) == 1 and said[0]["file"].endswith("rain/03.png") and "They fit scale 2" in said[0]["reason"]
    assert any("left out: LQ" in note for note in progress.notes)


def test_bad_pairs_are_refused_in_one_line(folders, tmp_path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="nothing to train on"):
        train(None, out)
    with pytest.raises(UsageError, match=r"'rain' has no GT image .* --pairs rain=LQ_DIR,GT_DIR"):
        train({"rain": folders["rain"][0]}, out)
    with pytest.raises(FilterlensError, match=r"None of the 21 pairs for 'rain' .*They fit scale 1"):
        train(folders, out, recipe(architecture="srresnet", scale=2, network={"features": 2, "blocks": 1}))
    with pytest.raises(FilterlensError, match="smaller than a patch of 32"):
        train(folders, out, recipe(patch=32))
    with pytest.raises(UsageError, match="clean"):
        train({"clean": folders["rain"]}, out)
    (tmp_path / "rain/07.png").unlink()
    with pytest.raises(FilterlensError, match="07"):
        train(folders, out)
    assert not out.exists() or not list(out.glob("*.safetensors"))


def test_dan_is_refused_before_its_baseline_is_trained(folders, tmp_path) -> None:
    for name in ("rain", "haze"):
        for path in (tmp_path / name).iterdir():
            save(path, read_image(path)[:, ::2, ::2])
    with pytest.raises(UsageError, match="dan learns from the kernels"):
        train(folders, tmp_path / "out", recipe(architecture="dan", scale=2, network={}))
    assert not (tmp_path / "out/baseline.safetensors").exists()


RECIPE = """
name = "tiny"
architecture = "dncnn"
network = { features = 2, layers = 3 }
scale = 1
patch = 16
batch = 1
[baseline]
iterations = 1
learning_rate = 1e-4
[target]
iterations = 1
learning_rate = 1e-3
degradations = [["blur:1,kernel=5", 0.5]]
"""


def test_on_the_command_line_pairs_replace_the_degradations_of_the_recipe(folders, tmp_path, capsys) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    given = ["train", "--recipe", str(tmp_path / "tiny.toml"), "--device", "cpu"]
    assert main(given) == 2 and "--images is missing, or --pairs" in capsys.readouterr().err
    for name, (lq, gt) in folders.items():
        given += ["--pairs", f"{name}={lq},{gt}"]
    for more, wanted in (([], []), (["--degradation", "noise:0.1"], [["noise:0.1", 0.5]])):
        out = tmp_path / f"out{len(more)}"
        assert main([*given, *more, "--output", str(out)]) == 0
        assert json.loads((out / "train.json").read_text())["recipe"]["target"]["degradations"] == wanted
        assert set(lines(out)[-1]["psnr"]) == {"clean", "rain", "haze", *(text for text, _ in wanted)}
