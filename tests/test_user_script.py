# SPDX-License-Identifier: Apache-2.0
"""A user's script runs and is clean for a strict type checker, which sees the package's types (``py.typed``)."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("user_script.py")

WRONG = """
from filterlens import Attribution, ModelPair, damage

def use(pair: ModelPair, found: Attribution) -> None:
    found.top("three")
    table: int = damage(pair, found, "images")
    damage(pair, found, "images", percnt=1)
    found.best()
"""


def test_the_script_runs(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "ModelPair(Conv2d, ×1, 9 filters in 1 layer" in done.stdout
    assert "Scores 'no-such-file.safetensors' do not exist" in done.stdout


def test_a_strict_type_checker_finds_nothing_in_it_and_all_mistakes_in_another(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path / "right.py").write_text(SCRIPT.read_text())
    (tmp_path / "wrong.py").write_text(WRONG)
    call = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "cache", "--no-error-summary", "."]
    checked = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
    errors = [line for line in checked.stdout.splitlines() if ": error: " in line]
    assert [line.split(": ")[0] for line in errors] == [f"wrong.py:{line}" for line in (5, 6, 7, 8)], checked.stdout
