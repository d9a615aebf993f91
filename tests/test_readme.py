# SPDX-License-Identifier: Apache-2.0
"""The README's Python runs as it stands."""

import re
from pathlib import Path

import pytest
from PIL import Image

from filterlens.data.photographs import photograph, square

README = Path(__file__).parents[1] / "README.md"


def test_the_quick_start_runs(tmp_path, monkeypatch, capsys):
    if not README.is_file():
        pytest.skip("the README is not beside the tests (installed without a checkout)")
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "photos").mkdir()
    pixels = square(photograph("coffee"), 64, 60, 180)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "photos" / "coffee.png")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert "weight[" in capsys.readouterr().out


def test_the_two_lines_are_marked_for_ci():
    text = README.read_text(encoding="utf-8")
    for name in ("tests", "demo"):
        assert re.search(rf"<!-- {name} -->\n```sh\n(.+)\n```\n<!-- end -->", text), name
