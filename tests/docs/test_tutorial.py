# SPDX-License-Identifier: Apache-2.0
"""The tutorial, to the letter: its file and its commands, one after the other, in an empty folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, require_checkout

STEP = re.compile(
    r"(?P<install><!-- install -->\n)?(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<kind>sh|toml)\n(?P<text>.*?)^```",
    re.DOTALL | re.MULTILINE,
)


def steps():
    require_checkout()
    return [step for step in STEP.finditer((DOCS / "tutorial.md").read_text(encoding="utf-8")) if not step["install"]]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_tutorial_leads_to_a_report(tmp_path):
    here = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{here}{os.pathsep}{os.environ['PATH']}"}
    for step in steps():
        if step["file"]:
            (tmp_path / step["file"]).write_text(step["text"], encoding="utf-8")
            continue
        for line in step["text"].splitlines():
            done = subprocess.run(
                shlex.split(line), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
    assert (tmp_path / "runs/demo/report.html").stat().st_size > 100_000
    assert (tmp_path / "runs/mine/report.html").stat().st_size > 100_000
    pictures = {folder: sorted((tmp_path / "out" / folder).glob("*.png")) for folder in ("whole", "without", "half")}
    assert [len(found) for found in pictures.values()] == [2, 2, 2]
    first = {folder: found[0].read_bytes() for folder, found in pictures.items()}
    assert len(set(first.values())) == 3


def test_the_tutorial_writes_one_file_and_installs_in_its_first_step():
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8") if DOCS.is_dir() else pytest.skip("no checkout")
    assert [step["file"] for step in steps() if step["file"]] == ["mine.toml"]
    assert text.index("<!-- install -->") < text.index("filterlens demo")
