# SPDX-License-Identifier: Apache-2.0
"""A job that was killed before any of its file operations and runs again leaves what an undisturbed one leaves.

The jobs are those of :mod:`tests.jobs.killed_jobs`; each is killed in a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def killed(name: str, home: Path, most: int) -> int:
    """Kill a job before many of its operations; return how often."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.jobs.killed_jobs", name, str(home), str(most)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_restoration_killed_before_any_operation_goes_on_to_the_same_folder(tmp_path: Path) -> None:
    assert killed("restore", tmp_path, most=100) > 15


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", ["degrade", "attribute", "mask", "report", "classify", "train", "retrain"])
def test_any_job_killed_before_an_operation_goes_on_to_the_same_folder(name: str, tmp_path: Path) -> None:
    assert killed(name, tmp_path, most=10) > 3
