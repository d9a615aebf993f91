# SPDX-License-Identifier: Apache-2.0
import pytest

from filterlens import FilterlensError, UsageError
from filterlens.paper.catalogue import EXPERIMENTS
from filterlens.paper.recipe import load_recipe, with_folders
from filterlens.settings import shipped_recipes


@pytest.mark.parametrize("name", ["cpu", "full", "hour", "quick"])
def test_shipped_recipes_hold_settings_for_every_experiment(name):
    recipe = load_recipe(name)
    assert name in shipped_recipes("paper")
    assert list(recipe.own) == list(EXPERIMENTS)
    assert recipe.common.judged_on("any other pair")


def test_quick_needs_nothing_but_what_ships():
    common = load_recipe("quick").common
    chosen = [common.find, *common.train, *common.judge.values()]
    assert {each.set for each in chosen} == {"photographs"}
    assert common.targets == 1


def test_no_recipe_judges_on_the_images_on_which_filters_are_found():
    for name in shipped_recipes("paper"):
        common = load_recipe(name).common
        for judged in common.judge.values():
            assert judged.set != common.find.set or not set(judged.only) & set(common.find.only)


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


GOOD = '[common]\nfind = {set = "a"}\njudge = {"*" = {set = "b"}}\ntrain = [{set = "c"}]\n'


def test_changes_replace_common_settings(tmp_path):
    assert load_recipe(write(tmp_path, GOOD), targets=4).common.targets == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[comon]\n", "Did you mean 'common'"),
        ("[common]\n", "find is missing|train is missing"),
        (GOOD + "[masking]\npercent = [1]\n", "Did you mean 'percents'"),
        (GOOD + "[masking]\npercents = [0]\n", "greater than 0"),
        (GOOD.replace('"a"', '"a", crops = 3'), "find"),
        ("common = [", "not valid TOML"),
    ],
)
def test_bad_recipes_are_refused_with_the_place(tmp_path, text, said):
    with pytest.raises(FilterlensError, match=said):
        load_recipe(write(tmp_path, text))


def test_an_unknown_recipe_gets_the_nearest_name():
    with pytest.raises(UsageError, match="Did you mean 'quick'"):
        load_recipe("quik")


def test_the_users_folders_take_the_place_of_sets_and_keep_squares(tmp_path):
    recipe = with_folders(load_recipe("quick"), find=tmp_path / "f", judge=tmp_path / "j", train=[tmp_path / "t"])
    before = load_recipe("quick").common
    assert recipe.common.find.set == str(tmp_path / "f")
    assert recipe.common.find.only == ()
    assert recipe.common.find.crop == before.find.crop
    assert recipe.common.judged_on("x").set == str(tmp_path / "j")
    assert [each.set for each in recipe.common.train] == [str(tmp_path / "t")]
