# SPDX-License-Identifier: Apache-2.0
"""The page's own scripts and styles, which ship inside the package."""

from pathlib import Path

_FOLDER = Path(__file__).parent / "static"


def asset(name: str) -> str:
    """Return the text of a file, without its licence line."""
    lines = asset_path(name).read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if "SPDX-License-Identifier" not in line)


def asset_path(name: str) -> Path:
    """Return where a file lies."""
    return _FOLDER / name
