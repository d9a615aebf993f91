# SPDX-License-Identifier: Apache-2.0
"""Recipes load, and refuse what they do not know; the learning rate against torch's own schedulers and its corners."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from filterlens.degradations import Mixture
from filterlens.errors import FilterlensError, UsageError
from filterlens.settings import shipped_recipes
from filterlens.training.recipe import Recipe, Stage, load_recipe, validated
from tests.training.small import small_recipe

STAGE = {"iterations": 10, "learning_rate": 1e-3}


def settings(**changes: Any) -> dict[str, Any]:
    return {"name": "test", "baseline": dict(STAGE), "target": dict(STAGE)} | changes


@pytest.mark.parametrize("name", shipped_recipes("training"))
def test_every_shipped_recipe_loads_under_its_own_name(name: str) -> None:
    assert load_recipe(name).name == name


def test_the_reference_recipe_is_that_of_the_paper() -> None:
    recipe = load_recipe("reference")
    assert (recipe.patch, recipe.batch, recipe.betas, recipe.ema, recipe.scale) == (64, 16, (0.9, 0.99), 0.999, 2)
    assert recipe.resampler == "bilinear"
    baseline, target = recipe.baseline, recipe.target
    assert (baseline.iterations, baseline.learning_rate, baseline.period) == (1_000_000, 2e-4, 250_000)
    assert (baseline.final_learning_rate, baseline.degradations) == (1e-7, ())
    assert (target.iterations, target.learning_rate) == (100_000, 5e-5)
    assert recipe.mixture(target) == Mixture.of([("blur:2", 0.5), ("noise:0.1", 0.5)], "bilinear")


def test_a_recipe_is_read_from_a_toml_file_and_changes_replace_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        'name = "own"\nbatch = 3\nseed = 5\n[baseline]\niterations = 1\nlearning_rate = 1e-3\n'
        "[target]\niterations = 2\nlearning_rate = 1e-4\n"
    )
    recipe = load_recipe(path, seed=7, batch=None)
    assert (recipe.name, recipe.batch, recipe.seed, recipe.target.iterations) == ("own", 3, 7, 2)


def test_a_recipe_cannot_be_changed_after_it_was_checked() -> None:
    with pytest.raises(ValueError, match="frozen"):
        validated(settings(), "test").seed = 3  # type: ignore[misc]


def test_a_recipe_survives_json() -> None:
    recipe = validated(settings(), "test")
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bacth": 3}, "Unknown setting 'bacth'. Did you mean 'batch'"),
        ({"baseline": {"iterations": 1, "learning_rat": 1}}, "'learning_rat'. Did you mean 'learning_rate'"),
        ({"architecture": "srresnt"}, "'srresnt'. Did you mean 'srresnet'"),
        ({"architecture": ["srresnet"]}, "Unknown architecture"),
        ({"scale": 5}, "scale = 5"),
        ({"batch": 0}, "batch = 0"),
        ({"betas": [0.9, 1]}, "betas.1 = 1"),
        ({"ema": 1}, "ema = 1"),
        ({"resampler": "nearest"}, "Unknown resampler 'nearest'"),
        ({"patch": 17}, "patch = 17 is not a multiple of scale = 2"),
        ({"baseline": {"iterations": 0, "learning_rate": 1e-3}}, "baseline.iterations = 0"),
        ({"baseline": 3}, "baseline = 3"),
        ({"baseline": {"iterations": 3}}, "baseline.learning_rate is missing"),
        ({"batch": True}, "batch = True: a number is expected"),
        ({"batch": "3"}, "batch = '3': a number is expected"),
        ({"batch": 10**7}, "batch = 10000000: Input should be less than or equal to 65536"),
        ({"batch": 10**5000}, "batch = a number of 16610 bits"),
        ({"patch": 10**6}, "patch = 1000000: Input should be less than or equal to 8192"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**63}, f"seed = {2**63}"),
        ({"ema": float("nan")}, "ema = nan"),
        ({"network": {"features": 10**9}}, "network.features = 1000000000 is not legal: 1 to 4096"),
        ({"network": {"blocks": 10**7}}, "network.blocks = 10000000 is not legal: 1 to 4096"),
        ({"network": {"blocks": 0}}, "network.blocks = 0 is not legal"),
        ({"network": {"blocks": True}}, "network.blocks = True: a number is expected"),
        ({"architecture": "dan", "network": {"kernel": 401}}, "network.kernel = 401 is not legal: 1 to 65"),
        ({"baseline": {"iterations": 10**18, "learning_rate": 1e-3}}, "baseline.iterations = 1000000000000000000"),
        ({"baseline": {"iterations": 1, "learning_rate": float("inf")}}, "baseline.learning_rate = inf"),
        ({"name": "../../home"}, "name = '../../home': a name of printable characters"),
        ({"name": "red\x1b[31m"}, r"name = 'red\x1b[31m'"),
        ({"name": ".."}, "name = '..'"),
        ({"name": "n" * 10_000}, "name = 'nnnn"),
        ({"architecture": "x" * 10_000}, "Unknown architecture 'xxxx"),
        ({"y" * 10_000: 1}, "Unknown setting 'yyyy"),
        ({"betas": [0.9, 0.99, 0.999]}, "betas"),
        (
            {"target": {"iterations": 1, "learning_rate": 1e-3, "degradations": [["z" * 10_000, 0.5]]}},
            "degradations.0.0",
        ),
        ({"target": {"iterations": 1, "learning_rate": 1e-3, "degradations": [["blur:2", True]]}}, "degradations.0.1"),
        ({"target": {"iterations": 1, "learning_rate": 1e-3, "degradations": [["blur:2", 0.5]] * 999}}, "at most 64"),
    ],
)
def test_a_mistake_is_refused_with_the_value_and_the_nearest_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        validated(settings(**changes), "test")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500 and str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("degradations", "message"),
    [
        ([["blurr:2", 0.5]], "Did you mean 'blur'"),
        ([["blur:2", 1.5]], "Probability 1.5"),
        ([["blur:2,kernel=33", 0.5]], "patch = 16 is too small for 'blur:2,kernel=33': .* above 16 pixels"),
    ],
)
def test_coins_are_checked_before_any_training(degradations: list[list[Any]], message: str) -> None:
    stage = {"iterations": 1, "learning_rate": 1e-3, "degradations": degradations}
    with pytest.raises(UsageError, match=message):
        validated(settings(patch=16, target=stage), "test")


def test_an_unknown_recipe_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"Unknown recipe 'smok'. Did you mean 'smoke'.*\.toml"):
        load_recipe("smok")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FilterlensError, match=r"none\.toml': No such file"):
        load_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "content",
    [
        b"name = ",
        b"\xff\xfe",
        b"a = " + b"[" * 100_000,
        b"batch = " + b"9" * 5000,
        b"a = {b = " * 5000,
        b"#" * (2 << 20),
    ],
    ids=["cut", "no text", "deep", "huge number", "deep tables", "large"],
)
def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(FilterlensError, match=r"bad\.toml' (is not|has 2097152 bytes)") as caught:
        load_recipe(tmp_path / "bad.toml")
    assert len(str(caught.value)) < 500


def test_what_is_no_file_is_refused_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")  # reading it would wait for ever
    (tmp_path / "endless.toml").symlink_to("/dev/zero")
    for name in ("folder", "pipe", "endless"):
        with pytest.raises(FilterlensError, match=f"{name}.toml' is no file"):
            load_recipe(tmp_path / f"{name}.toml")


def test_what_other_architectures_need_is_not_written_into_a_recipe() -> None:
    assert not {"network", "contrast"} & set(small_recipe().model_dump(mode="json"))
    again = small_recipe(architecture="dasr", network={"features": 8}, contrast={"queue": 16})
    assert validated(again.model_dump(mode="json"), "again") == again


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contrast": {"queue": 16}}, "contrast is a setting of dasr, not of srresnet"),
        ({"architecture": "dasr", "contrast": {"que": 16}}, "Unknown setting 'que'.*'queue'"),
        ({"architecture": "dan", "network": {"feature": 16}}, "Unknown option of dan 'feature'.*'features'"),
        ({"architecture": "dan", "network": {"kernel": 5}}, "codes are of kernels 5 wide.*need 7"),
    ],
)
def test_settings_of_one_architecture_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small_recipe(**changes)


def test_a_cosine_equals_that_of_torch() -> None:
    stage = Stage(iterations=50, learning_rate=2e-4, final_learning_rate=1e-6)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-4)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=1e-6)
    for step in range(50):
        assert stage.rate(step) == pytest.approx(oracle.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        oracle.step()


def test_restarts_equal_those_of_torch() -> None:
    stage = Stage(iterations=50, learning_rate=2e-4, final_learning_rate=1e-6, period=12)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-4)
    oracle = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=12, eta_min=1e-6)
    for step in range(50):
        assert stage.rate(step) == pytest.approx(oracle.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        oracle.step()


def test_the_warm_up_is_linear_and_ends_at_the_peak() -> None:
    stage = Stage(iterations=100, learning_rate=1e-3, warmup=4)
    assert [stage.rate(step) for step in range(5)] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3])


def test_the_cosine_after_a_warm_up_ends_at_the_final_rate() -> None:
    stage = Stage(iterations=1000, learning_rate=1e-3, final_learning_rate=1e-5, warmup=100)
    assert stage.rate(550) == pytest.approx((1e-3 + 1e-5) / 2)
    assert stage.rate(999) == pytest.approx(1e-5, rel=1e-3)


def test_a_warm_up_longer_than_the_stage_is_possible() -> None:
    stage = Stage(iterations=5, learning_rate=1e-3, warmup=10)
    assert stage.rate(4) == pytest.approx(5e-4)
