# SPDX-License-Identifier: Apache-2.0
"""The template package in ``examples/plugin``: its own tests run, and filterlens finds what it declares."""

import os
import subprocess
import sys
import tomllib

import pytest

from filterlens.plugins import DEGRADATIONS, METHODS
from tests.docs.pages import EXAMPLES, ROOT

TEMPLATE = EXAMPLES / "plugin"


@pytest.fixture
def environment(tmp_path):
    """The environment of a process in which the package is installed: its metadata as pyproject.toml makes it."""
    if not TEMPLATE.is_dir():
        pytest.skip("the examples are not beside the tests (installed without a checkout)")
    about = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    folder = tmp_path / f"filterlens_example-{about['version']}.dist-info"
    folder.mkdir()
    said = f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
    (folder / "METADATA").write_text(said, encoding="utf-8")
    groups = about["entry-points"]
    assert set(groups) == {DEGRADATIONS, METHODS}
    lines = [
        line
        for group, names in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in names.items()))
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    places = [str(tmp_path), str(TEMPLATE / "src"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), "PYTHONDONTWRITEBYTECODE": "1"}


def test_its_own_tests_pass(environment, tmp_path):
    call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", TEMPLATE / "pyproject.toml"]
    call += [f"--rootdir={TEMPLATE}", TEMPLATE / "tests"]
    done = subprocess.run(call, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_help_lists_what_it_adds(environment, tmp_path):
    call = [sys.executable, "-m", "filterlens", "attribute", "--help"]
    done = subprocess.run(call, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    shown = " ".join(done.stdout.split())
    assert "--method change-l2 (filterlens-example 0.1.0), --degradation rain (filterlens-example 0.1.0)." in shown
