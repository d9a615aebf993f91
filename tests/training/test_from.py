# SPDX-License-Identifier: Apache-2.0
"""A target for a network of any architecture: fine-tuned from it, beside it, and read again."""

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from filterlens import ModelPair, UsageError, load_network
from filterlens.jobs.train import recipe_from, train_to_folder
from filterlens.models.foreign import is_installed
from filterlens.models.user_module import Factory
from filterlens.training.recipe import Recipe, load_recipe, with_target
from filterlens.training.trainer import train
from tests.models.foreign_networks import write_pair
from tests.training.small import small_recipe

CPU = torch.device("cpu")
CODE = """
from torch import nn

class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.drop, self.last = nn.Dropout(0.5), nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x):
        return x + self.last(self.drop(self.norm(self.conv(x))))
"""
RECIPE = """
name = "quick"
patch = 16
batch = 2
ema = 0.5
network = { features = 8 }
[baseline]
iterations = 5
learning_rate = 1e-3
[target]
iterations = 50
warmup = 20
learning_rate = 1e-3
degradations = [["blur:2,kernel=7", 0.5]]
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_dropping.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_dropping", raising=False)
    torch.manual_seed(0)
    save_file(Factory.parse("own_dropping:Dropping").build().state_dict(), tmp_path / "given.safetensors")
    return tmp_path


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    (tmp_path / "quick.toml").write_text(RECIPE)
    return str(tmp_path / "quick.toml")


@pytest.fixture
def images(tmp_path: Path, noise_images: list[Tensor]) -> Path:
    for index, image in enumerate(noise_images):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "images" / f"{index}.png")
    return tmp_path / "images"


def made(start: Path, recipe: str, images: Path, output: Path, architecture: str | None = None) -> dict[str, Path]:
    settings = recipe_from(start, recipe, architecture=architecture, scale=None, seed=3)
    chosen = with_target(settings, ["noise:0.1", "jpeg:40"], 4)
    return train_to_folder(chosen, [images], output, baseline=start, device="cpu", precision="fp32")


def test_code_of_the_users_own_gets_a_target(own: Path, recipe_file: str, images: Path) -> None:
    name = "own_dropping:Dropping"
    written = made(own / "given.safetensors", recipe_file, images, own / "out", name)
    pair = ModelPair.load(written["baseline"], written["target"], architecture=name)
    assert pair.scale == 1
    before, after = (load_network(written[role], name).network.state_dict() for role in ("baseline", "target"))
    assert not torch.equal(before["last.weight"], after["last.weight"])
    assert torch.equal(before["norm.running_mean"], after["norm.running_mean"])  # both ends compute alike
    recipe = json.loads((own / "out" / "train.json").read_text())["recipe"]
    assert recipe["target"]["degradations"] == [["noise:0.1", 0.5], ["jpeg:40", 0.5]]


def test_dropout_is_off_so_the_same_seed_gives_the_same_target(own: Path, recipe_file: str, images: Path) -> None:
    name = "own_dropping:Dropping"
    written = [made(own / "given.safetensors", recipe_file, images, own / out, name) for out in ("a", "b")]
    first, second = (load_network(each["target"], name).network.state_dict() for each in written)
    assert all(torch.equal(first[key], second[key]) for key in first)
    again = made(own / "given.safetensors", recipe_file, images, own / "a", name)  # finished: nothing is trained again
    assert again == written[0]


@pytest.mark.skipif(not is_installed(), reason="the extra 'archs' (spandrel) is not installed")
@pytest.mark.filterwarnings("ignore:torch.meshgrid")
@pytest.mark.parametrize(("name", "scale"), [("Compact", 1), ("SPAN", 2), ("SwinIR", 2)])
def test_what_spandrel_reads_gets_a_target(
    name: str, scale: int, tmp_path: Path, recipe_file: str, images: Path
) -> None:
    start, _ = write_pair(name, tmp_path)
    written = made(start, recipe_file, images, tmp_path / "out")
    pair = ModelPair.load(written["baseline"], written["target"])
    assert (pair.facts["architecture"], pair.scale) == (f"spandrel:{name}", scale)
    given = load_network(start).network.state_dict()
    kept = load_network(written["baseline"]).network.state_dict()
    assert all(torch.equal(kept[key], given[key]) for key in given)
    changed = [layer.name for layer in pair.space.layers if not same(pair, layer.parameter)]
    assert len(changed) == len(pair.space.layers)


def same(pair: ModelPair, parameter: str) -> bool:
    first, second = (pair.unflatten(vector)[parameter] for vector in (pair.baseline, pair.target))
    return torch.equal(first, second)


def test_a_network_that_is_not_built_here_needs_a_start(noise_images: list[Tensor], tmp_path: Path) -> None:
    recipe = small_recipe(architecture="spandrel:SwinIR")
    with pytest.raises(UsageError, match=r"spandrel:SwinIR cannot be built here.*--from"):
        train(recipe, noise_images, tmp_path / "out", device=CPU)
    with pytest.raises(UsageError, match="network has no meaning for spandrel:SwinIR"):
        small_recipe(architecture="spandrel:SwinIR", network={"features": 8})


@pytest.mark.parametrize(("architecture", "scale"), [("srresnet", 1), ("dncnn", 2)])
def test_scales_that_an_architecture_has_not_are_refused(architecture: str, scale: int) -> None:
    with pytest.raises(UsageError, match=rf"scale = {scale}: {architecture} has scale"):
        small_recipe(architecture=architecture, scale=scale)


def test_another_target_stage_changes_nothing_else() -> None:
    recipe = load_recipe("cpu")
    assert with_target(recipe) == recipe
    changed = with_target(recipe, ["jpeg:30"], 50)
    assert changed.target.degradations == (("jpeg:30", 0.5),)
    assert (changed.target.iterations, changed.target.warmup) == (50, 5)
    assert changed.baseline == recipe.baseline
    assert with_target(recipe, ["clean"]).target.degradations == ()
    for wrong, message in (
        (["clean", "blur:2"], "samples on which none falls are clean"),
        (["blur:2+noise:0.1"], "by itself"),
    ):
        with pytest.raises(UsageError, match=message):
            with_target(recipe, wrong).mixture(with_target(recipe, wrong).target)
    with pytest.raises(UsageError, match="iterations = 0"):
        with_target(recipe, iterations=0)


def test_older_cards_and_fingerprints_stay_as_they_are() -> None:
    """The text of a recipe is what fingerprints are made of."""
    text = load_recipe("smoke").model_dump_json()
    assert text.startswith('{"name":"smoke","architecture":"srresnet","scale":2,"resampler":"bicubic","patch":48,')
    assert Recipe.model_validate_json(text) == load_recipe("smoke")


def test_the_denoising_recipe_keeps_the_size(tmp_path: Path, noise_images: list[Tensor]) -> None:
    recipe = load_recipe("denoise", batch=2, patch=16)
    assert (recipe.architecture, recipe.scale) == ("dncnn", 1)
    short = {"baseline": recipe.baseline.model_dump() | {"iterations": 2, "warmup": 0}}
    recipe = with_target(load_recipe("denoise", batch=2, patch=16, **short), iterations=3)
    written = train(recipe, noise_images, tmp_path, device=CPU, validation=[torch.rand(3, 40, 40).mul(255).byte()])
    pair = ModelPair.load(written["baseline"], written["target"])
    assert pair.run(pair.target, torch.rand(1, 3, 17, 23)).shape == (1, 3, 17, 23)
