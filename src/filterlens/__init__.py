# SPDX-License-Identifier: Apache-2.0
"""filterlens finds the few filters that a restoration network uses for each degradation, and proves it."""

import ast
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from filterlens.version import __version__ as __version__

if sys.platform == "darwin":  # what PyTorch lacks on Apple GPUs runs on the CPU; it looks while it is imported
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

_PLACES = {  # public name → module; the names are written in __init__.pyi
    name.name: line.module or ""
    for line in ast.parse(Path(__file__).with_name("__init__.pyi").read_text(encoding="utf-8")).body
    if isinstance(line, ast.ImportFrom)
    for name in line.names
}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import filterlens`` costs nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module 'filterlens' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
