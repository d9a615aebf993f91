# SPDX-License-Identifier: Apache-2.0
"""What users build on stays: files, tables, keys, exit codes and options, compared with a set kept in this folder.

Sums differ in the last digits between machines, so numbers are compared closely here and all else exactly.
"""

import csv
import json
import re

import numpy as np
import pytest
from safetensors import safe_open

from tests.fixed.commands import COMMANDS, KEPT, REFUSED, options, run_all

# Facts of one machine, moment or release; a hash of weights that were just trained is one.
CHANGING = re.compile(
    r"created|seconds|versions|machine|filterlens|threads|device|absolute|command|bytes|sha256|sha256s|megapixels.*|file"
)
FOLDERS = ("run", "adaptive", "reference", "goal", "trained")
TABLES = sorted(path.relative_to(KEPT).as_posix() for path in KEPT.rglob("*.csv"))
TENSORS = sorted(path.relative_to(KEPT).as_posix() for path in KEPT.rglob("*.safetensors"))
VALUES = [f"{folder}/{path.name}" for folder in FOLDERS for path in sorted((KEPT / folder).glob("*.json"))]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder in which every command has run, and what the commands said."""
    folder = tmp_path_factory.mktemp("fixed") / "fixed"
    return folder, run_all(folder)


def kept(name):
    return json.loads((KEPT / name).read_text(encoding="utf-8"))


def alike(now, then, where=""):
    """Check that two JSON values have the same keys, types, words and, closely, numbers."""
    if isinstance(then, dict):
        assert list(now) == list(then) or sorted(now) == sorted(then), where
        for key in then:
            if not CHANGING.fullmatch(key):
                alike(now[key], then[key], f"{where}.{key}")
    elif isinstance(then, list):
        assert len(now) == len(then), where
        for place, (one, other) in enumerate(zip(now, then, strict=True)):
            alike(one, other, f"{where}[{place}]")
    elif isinstance(then, float):
        assert isinstance(now, float | int) and now == pytest.approx(then, rel=2e-3, abs=2e-5), where
    else:
        assert type(now) is type(then) and now == then, where


def test_the_same_files_are_written(made):
    folder, _ = made
    then = {path.relative_to(KEPT).as_posix() for path in KEPT.rglob("*") if path.is_file()}
    unkept = ("inputs/", "run/figures/")
    now = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    now = {name for name in now if not name.startswith(unkept) and not name.endswith((".lock", "report.html"))}
    assert now == then - {"outcomes.json", "options.json"}


@pytest.mark.parametrize("name", TABLES)
def test_tables_have_the_same_columns_rows_and_numbers(made, name):
    now, then = (list(csv.reader((place / name).read_text(encoding="utf-8").splitlines())) for place in (made[0], KEPT))
    assert now[0] == then[0] and len(now) == len(then)
    rank = now[0].index("rank") if "rank" in now[0] else None
    for one, other in zip(_keyed(now, rank), _keyed(then, rank), strict=True):
        for cell, old in zip(one, other, strict=True):
            if _is_number(old):
                assert float(cell) == pytest.approx(float(old), rel=2e-3, abs=1e-9), (one, other)
            else:
                assert cell == old


def _keyed(rows, rank):
    """Filters whose scores are nearly the same may change places: in the order of addresses, without the rank."""
    return rows if rank is None else sorted(row[:rank] for row in rows)


def _is_number(text):
    return re.fullmatch(r"-?\d+(\.\d+)?(e[-+]?\d+)?", text) is not None


@pytest.mark.parametrize("name", TENSORS)
def test_tensor_files_have_the_same_names_shapes_metadata_and_values(made, name):
    with safe_open(made[0] / name, "np") as now, safe_open(KEPT / name, "np") as then:
        assert sorted(now.keys()) == sorted(then.keys())
        assert sorted(now.metadata() or {}) == sorted(then.metadata() or {})
        for key in then.keys():  # noqa: SIM118
            one, other = now.get_tensor(key), then.get_tensor(key)
            assert one.dtype == other.dtype and one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=5e-3, atol=1e-5 + 1e-3 * float(np.abs(other).max(initial=0)))


@pytest.mark.parametrize("name", VALUES)
def test_facts_have_the_same_keys_and_values(made, name):
    alike(json.loads((made[0] / name).read_text(encoding="utf-8")), kept(name), name)


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_print_the_same_json(made, name):
    then = kept("outcomes.json")[name]
    assert made[1][name]["code"] == then["code"] == 0
    alike(made[1][name]["json"], then["json"], name)


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_uses_end_with_the_same_exit_code_and_a_sentence(made, name):
    now, then = made[1][name], kept("outcomes.json")[name]
    assert now["code"] == then["code"] != 0
    quoted = set(re.findall(r"'[^']+'|`[^`]+`|--[a-z-]+", then["error"]))
    assert now["error"].startswith("error: ")
    assert quoted <= set(re.findall(r"'[^']+'|`[^`]+`|--[a-z-]+", now["error"])), "what is quoted and the remedy stay"


def test_options_keep_their_spellings_and_defaults():
    now, then = options(), kept("options.json")
    assert sorted(now) == sorted(then)
    for command in then:
        assert now[command] == then[command], command
