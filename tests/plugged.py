# SPDX-License-Identifier: Apache-2.0
"""Packages with entry points, installed for one test: a module and its metadata in a folder on ``sys.path``."""

import sys

DEPTH = """
import torch
from filterlens import ImageFree

print("imported")

class Depth(ImageFree):
    name = "depth"
    summary = "the filter's number"

    def scores_for(self, degradation):
        return torch.arange(len(self.pair.space), dtype=self.pair.dtype)
"""


def install(folder, monkeypatch, *, package="filterlens-depth", version="1.2", entries, code=DEPTH):
    """Write a package into the folder and put this on ``sys.path``; ``entries`` are lines by group."""
    module = package.replace("-", "_")
    about = folder / f"{module}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    lines = [line for group, names in entries.items() for line in (f"[filterlens.{group}]", *names)]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (folder / f"{module}.py").write_text(code)
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(folder)
