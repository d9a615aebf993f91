# SPDX-License-Identifier: Apache-2.0
"""The written pages of the site, and the blocks of code in them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"
MADE = ("gallery", "_build", "_sphinx", "_templates", "reference/api", "reference/generated", "results")


def written_pages() -> list[Path]:
    """Return the README and every page that people wrote; none where there is no checkout."""
    found = [path for path in sorted(DOCS.rglob("*.md")) if not str(path.relative_to(DOCS)).startswith(MADE)]
    return [path for path in (ROOT / "README.md", *found) if path.is_file()]


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def named(page: Path) -> str:
    """Return what a test of a page is called."""
    return str(page.relative_to(ROOT))


def require_checkout() -> None:
    """Skip where only the tests are installed."""
    if not (DOCS / "conf.py").is_file():
        pytest.skip("the documentation is not beside the tests (installed without a checkout)")
