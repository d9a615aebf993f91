# SPDX-License-Identifier: Apache-2.0
"""``filterlens schema`` lists, prints and writes."""

import json

import pytest
import typer
from typer.testing import CliRunner

from filterlens.cli.schema import schema
from filterlens.errors import UsageError
from filterlens.jobs.schemas import SETTINGS_FILES, schema_of

APP = typer.Typer()
APP.command()(schema)


def call(*words):
    return CliRunner().invoke(APP, [str(word) for word in words])


def test_without_a_name_the_settings_files_are_listed():
    assert all(name in call().stdout for name in SETTINGS_FILES)
    assert set(json.loads(call("--json").stdout)["schemas"]) == set(SETTINGS_FILES)


@pytest.mark.parametrize("name", SETTINGS_FILES)
def test_a_name_prints_the_schema_and_nothing_else(name):
    assert json.loads(call(name).stdout) == json.loads(call(name, "--json").stdout) == schema_of(name)


def test_a_folder_gets_one_file_or_all(tmp_path):
    assert call("train", "--output", tmp_path / "one").exit_code == 0
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["train.schema.json"]
    files = json.loads(call("-o", tmp_path / "all", "--json").stdout)["files"]
    assert len(files) == len(SETTINGS_FILES) == len(list((tmp_path / "all").iterdir()))


def test_an_unknown_name_is_wrong_use_and_names_the_nearest():
    failure = call("papers").exception
    assert isinstance(failure, UsageError) and "Did you mean 'paper'?" in str(failure)
