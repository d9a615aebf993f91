# SPDX-License-Identifier: Apache-2.0
"""The look of the page: scripts and styles inside the package, so that nothing is loaded from elsewhere, and colours.

Colour-blind readers can tell the colours apart (Okabe and Ito), on light and on dark.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"
_KINDS = {"blur": "#2a86cf", "motion": "#2a86cf", "noise": "#dd6b20", "poisson": "#dd6b20", "jpeg": "#12a37a"}
_OTHERS = ("#b566ad", "#c79a00", "#6b7280")


def asset(name: str) -> str:
    """Return the text of a file, without its licence line."""
    lines = asset_path(name).read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if "SPDX-License-Identifier" not in line)


def asset_path(name: str) -> Path:
    """Return the path of a file."""
    return _FOLDER / name


def colours(degradations: Sequence[str]) -> dict[str, str]:
    """Return degradation → colour; two of one kind get different ones."""
    chosen: dict[str, str] = {}
    spare = [*_KINDS.values(), *_OTHERS]
    for name in degradations:
        own = _KINDS.get(name.partition(":")[0]) if "+" not in name else None
        free = [colour for colour in [*_OTHERS, *spare] if colour not in chosen.values()]
        chosen[name] = own if own and own not in chosen.values() else (free or list(_OTHERS))[0]
    return chosen


def style(colours: Iterable[str]) -> str:
    """Return the page's own rules; the strength sliders have the colours of their functions."""
    own = [f"#strength-{index} {{ --slider-color: {colour}; }}" for index, colour in enumerate(colours)]
    return "\n".join([asset("page.css"), *own])
