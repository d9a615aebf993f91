# SPDX-License-Identifier: Apache-2.0
"""The JSON schemas accept what the readers accept, refuse what they refuse, and explain every setting."""

import json
import tomllib
from importlib import resources

import pytest

from filterlens.errors import UsageError
from filterlens.jobs.schemas import SETTINGS_FILES, schema_of, write_schemas
from filterlens.paper.catalogue import EXPERIMENTS
from filterlens.training.recipe import Recipe, Stage

SHIPPED = [
    (name, path)
    for name, package in {"train": "filterlens.training", "paper": "filterlens.paper"}.items()
    for path in sorted((resources.files(package) / "recipes").iterdir(), key=str)
    if path.name.endswith(".toml")
]
NAMES = sorted(SETTINGS_FILES)


def parts(schema):
    return {"": schema} | schema["$defs"]


@pytest.fixture
def validator():
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema (extra 'docs')")
    return jsonschema.Draft202012Validator


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_itself_is_legal(name, validator):
    validator.check_schema(schema_of(name))


@pytest.mark.parametrize(("name", "path"), SHIPPED, ids=lambda each: getattr(each, "name", each))
def test_every_recipe_that_ships_follows_its_schema(name, path, validator):
    validator(schema_of(name)).validate(tomllib.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("place", "value"),
    [(("iteration",), 5), (("scale",), 7), (("target", "learning_rate"), 0), (("baseline", "warmup"), "long")],
)
def test_what_is_misspelt_or_out_of_range_is_refused(place, value, validator):
    text = (resources.files("filterlens.training") / "recipes" / "smoke.toml").read_text(encoding="utf-8")
    recipe = section = tomllib.loads(text)
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = value
    assert len(list(validator(schema_of("train")).iter_errors(recipe))) == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_explained_in_words(name):
    for part, content in parts(schema_of(name)).items():
        for setting, value in content["properties"].items():
            assert value.get("description"), (part, setting)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_settings_are_refused_everywhere(name):
    assert all(part["additionalProperties"] is False for part in parts(schema_of(name)).values())


def test_the_schema_has_the_settings_of_the_models_and_no_others():
    schema = schema_of("train")
    assert set(schema["properties"]) == set(Recipe.model_fields)
    assert set(schema["$defs"]["Stage"]["properties"]) == set(Stage.model_fields)
    assert set(schema["required"]) == {name for name, field in Recipe.model_fields.items() if field.is_required()}


def test_the_paper_recipe_has_a_section_for_every_experiment_under_its_own_name():
    schema = schema_of("paper")
    assert set(schema["properties"]) == {"common", *EXPERIMENTS} and schema["required"] == ["common"]
    for name, experiment in EXPERIMENTS.items():
        section = schema["$defs"][schema["properties"][name]["$ref"].rpartition("/")[2]]
        assert set(section["properties"]) == set(experiment.settings.model_fields)


def test_files_hold_the_schemas_and_a_typo_writes_nothing(tmp_path):
    paths = write_schemas(tmp_path, NAMES)
    assert [path.name for path in paths] == [f"{name}.schema.json" for name in NAMES]
    assert all(json.loads(path.read_text()) == schema_of(name) for path, name in zip(paths, NAMES, strict=True))
    with pytest.raises(UsageError, match=r"'trian'\. Did you mean 'train'\?"):
        write_schemas(tmp_path / "other", ["train", "trian"])
    assert not (tmp_path / "other").exists()
