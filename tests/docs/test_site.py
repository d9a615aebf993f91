# SPDX-License-Identifier: Apache-2.0
"""The site builds without a warning, and asks no other machine for anything."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, require_checkout

NEEDED = ("sphinx", "furo", "myst_parser", "sphinx_gallery", "sphinx_design", "sphinx_copybutton")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(any(find_spec(name) is None for name in NEEDED), reason="needs the extra 'docs'"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build a copy of the documentation, examples included; ``FILTERLENS_SITE=DIR`` names one that was built."""
    require_checkout()
    if built := os.environ.get("FILTERLENS_SITE"):
        return Path(built)
    root = tmp_path_factory.mktemp("checkout")
    made = shutil.ignore_patterns("_build", "gallery", "api", "generated", "__pycache__")
    for folder in ("docs", "examples"):
        shutil.copytree(ROOT / folder, root / folder, ignore=made)
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff"):
        shutil.copy(ROOT / name, root)
    (root / "src").symlink_to(ROOT / "src")  # recipes are shown as they ship
    call = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(root / "docs"), str(root / "html")]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return root / "html"


def test_every_part_is_there(site):
    parts = "tutorial how-to/own-model gallery/index explanation/mathematics reference/command-line results/masking"
    assert all((site / f"{part}.html").is_file() for part in parts.split())
    assert "filterlens attribute" in (site / "reference/command-line.html").read_text(encoding="utf-8")
    assert "learning_rate" in (site / "reference/settings.html").read_text(encoding="utf-8")
    assert "ModelPair" in (site / "reference/api/filterlens.pair.html").read_text(encoding="utf-8")


def test_every_example_has_its_pictures(site):
    pages = sorted((site / "gallery").glob("plot_*.html"))
    assert len(pages) >= 8
    for page in pages:
        pictures = re.findall(r'src="\.\./(_images/sphx_glr_[^"]+\.png)"', page.read_text(encoding="utf-8"))
        assert pictures and all((site / picture).stat().st_size > 5000 for picture in pictures), page.name


def test_no_page_asks_another_machine(site):
    asked = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=\"(?:https?:)?//", re.DOTALL)
    for page in site.rglob("*.html"):
        assert not asked.search(page.read_text(encoding="utf-8")), page
    for sheet in (site / "_static").rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_formulas_are_drawn_by_the_browser_itself(site):
    page = (site / "explanation/mathematics.html").read_text(encoding="utf-8")
    assert page.count("<math ") > 10
    assert not re.search(r"<script[^>]*mathjax", page, re.IGNORECASE)
