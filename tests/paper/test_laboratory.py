# SPDX-License-Identifier: Apache-2.0
"""Further target models: which are trained, by which recipe, and from which baseline."""

import shutil

import pytest

from filterlens.errors import FilterlensError
from filterlens.models.pretrained import pair_files
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.settings import ImageChoice

NAME = "srcnn-style-x2"


@pytest.fixture
def trainings(monkeypatch):
    """Stands in for the training: keeps (folder, seed, baseline to start from) and writes the shipped networks."""
    seen = []

    def train(recipe, images, folder, *, baseline, **_):
        seen.append((folder.name, recipe.seed, baseline and baseline.sha256))
        folder.mkdir(parents=True)
        for path, role in zip(pair_files(NAME), ("baseline", "target"), strict=True):
            shutil.copy(path, folder / f"{role}.safetensors")

    monkeypatch.setattr("filterlens.training.trainer.train", train)
    return seen


@pytest.fixture
def make(common, tmp_path):
    return lambda **changes: Laboratory(tmp_path, common.model_copy(update=changes))


def test_further_targets_start_from_the_shipped_baseline(make, trainings):
    models = make(targets=3).targets(NAME)
    assert [(model.seed, model.pair.name) for model in models] == [
        (0, NAME), (1, f"{NAME}, seed 1"), (2, f"{NAME}, seed 2")
    ]  # fmt: skip
    assert [each[:2] for each in trainings] == [("seed-1", 1), ("seed-2", 2)]
    assert all(start is not None for *_, start in trainings)


def test_by_a_recipe_of_its_own_the_first_training_makes_the_baseline_of_all(make, trainings):
    assert len(make(targets=2, training="smoke").targets(NAME)) == 2
    assert [each[:2] for each in trainings] == [("seed-0", 0), ("seed-1", 1)]
    assert trainings[0][2] is None and trainings[1][2] is not None


def test_what_is_there_is_not_trained_again_but_checked(make, trainings):
    make(targets=2).targets(NAME)
    with pytest.raises(FilterlensError, match=r"was trained with seed = 0, but 1 is wanted\. Move it away"):
        make(targets=2).targets(NAME)  # the stand-in wrote the shipped target, whose seed is 0
    assert len(trainings) == 1


def test_without_images_it_is_said_what_to_do(make, tmp_path):
    (tmp_path / "empty").mkdir()
    nothing = (ImageChoice(set=str(tmp_path / "empty")),)
    with pytest.raises(FilterlensError, match=r"Target model 1 of .* cannot be trained: .*a recipe with fewer targets"):
        make(targets=2, train=nothing).targets(NAME)
