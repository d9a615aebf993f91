# SPDX-License-Identifier: Apache-2.0
"""What the app writes goes, also what a killed app left; nobody else's folders do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from filterlens.app.scratch import scratch_folder
from filterlens.errors import FilterlensError
from filterlens.files import HOLDER, LOCK

KILLED = """
import os, signal
from filterlens.app.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "secret.png").write_bytes(b"x")
    print(folder, flush=True)
    {end}
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def process(temporary, end):
    environment = os.environ | {"TMPDIR": str(temporary)}
    return subprocess.Popen(
        [sys.executable, "-c", KILLED.format(end=end)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_the_folder_is_the_users_own_and_goes(temporary):
    with scratch_folder() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o077 == 0
    assert list(temporary.iterdir()) == []


def test_what_a_killed_app_left_goes_with_the_next_start(temporary):
    with process(temporary, "os.kill(os.getpid(), signal.SIGKILL)") as killed:
        left = killed.stdout.readline().strip()
    assert (Path(left) / "pictures" / "secret.png").exists()
    with scratch_folder() as folder:
        assert [str(path) for path in temporary.iterdir()] == [str(folder)]


def test_what_a_living_app_holds_stays(temporary):
    with process(temporary, "input()") as living:
        held = living.stdout.readline().strip()
        with scratch_folder() as folder:
            assert {str(path) for path in temporary.iterdir()} == {held, str(folder)}
        living.communicate("\n")
    assert list(temporary.iterdir()) == []


def test_nobody_elses_folder_goes(temporary, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / LOCK).touch()
    (elsewhere / "thesis.txt").write_text("mine")
    (temporary / "filterlens-app-link").symlink_to(elsewhere)
    (temporary / "filterlens-app-notes").mkdir()  # without a lock: of somebody else
    (temporary / "filterlens-app-file").write_text("mine")
    other = temporary / "filterlens-app-other"
    other.mkdir()
    (other / LOCK).touch()
    (other / HOLDER).write_text(json.dumps({"job": "app", "process": 1, "host": "another-machine"}))
    broken = temporary / "filterlens-app-broken"
    broken.mkdir()
    (broken / LOCK).touch()
    (broken / HOLDER).write_text("no JSON")
    before = sorted(temporary.iterdir())
    with scratch_folder():
        pass
    assert sorted(temporary.iterdir()) == before
    assert (elsewhere / "thesis.txt").read_text() == "mine"


def test_no_place_for_it_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with (
        pytest.raises(FilterlensError, match="Cannot make a temporary folder: No such file or directory"),
        scratch_folder(),
    ):
        pass
