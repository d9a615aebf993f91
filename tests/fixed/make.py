# SPDX-License-Identifier: Apache-2.0
"""How the fixed inputs and the kept files were made, once: ``python -m tests.fixed.make``.

Making them again accepts whatever changed in them: look at the difference first.
"""

import json
import shutil
import tempfile
from pathlib import Path

from filterlens.data.images import write_image
from filterlens.data.photographs import photograph, square
from tests.cli.test_train import RECIPE
from tests.fixed.commands import INPUTS, KEPT, options, run_all
from tests.small_srresnet import save_small_pair

NOT_KEPT = ("report.html", "figures", "inputs", "*.lock")  # the report holds pictures; its tests are elsewhere


def make_inputs() -> None:
    """A narrow pair, two squares of photographs, two low-resolution inputs, a recipe."""
    save_small_pair(INPUTS, scale=2, features=6, blocks=1)
    for name, top, left in (("astronaut", 100, 200), ("chelsea", 100, 150)):
        write_image(INPUTS / "images" / f"{name}.png", square(photograph(name), 64, top, left))
        write_image(INPUTS / "low" / f"{name}.png", square(photograph(name), 40, top, left))
    (INPUTS / "recipe.toml").write_text(RECIPE)


def keep() -> None:
    """Run the commands and keep what they wrote, without the name of the folder in which they ran."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "fixed"
        outcomes = run_all(folder)
        shutil.rmtree(KEPT, ignore_errors=True)
        shutil.copytree(folder, KEPT, ignore=shutil.ignore_patterns(*NOT_KEPT))
        (KEPT / "outcomes.json").write_text(json.dumps(outcomes, indent=1, sort_keys=True) + "\n")
        (KEPT / "options.json").write_text(json.dumps(options(), indent=1, sort_keys=True) + "\n")
        for path in (*KEPT.rglob("*.json"), *KEPT.rglob("*.jsonl")):
            path.write_text(path.read_text().replace(str(folder), "/fixed"))


if __name__ == "__main__":
    if not INPUTS.is_dir():
        make_inputs()
    keep()
