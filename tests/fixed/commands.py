# SPDX-License-Identifier: Apache-2.0
"""The command lines whose files are kept: every command that writes for a user, on fixed inputs and small networks.

``python -m tests.fixed.commands FOLDER`` runs them all and leaves what they wrote there. Two versions of filterlens on
one machine must leave the same bytes (seconds, versions and paths aside); between machines, sums differ in the last
digits.
"""

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from filterlens.cli.main import app, main

HERE = Path(__file__).parent
INPUTS, KEPT = HERE / "inputs", HERE / "kept"
PAIR = ("--baseline", "inputs/baseline.safetensors", "--target", "inputs/target.safetensors")
BOTH = ("--degradation", "blur:2", "--degradation", "noise:0.1")
SMALL = ("--device", "cpu", "--precision", "fp32")
RUN = ("--run", "run")

COMMANDS: dict[str, tuple[str, ...]] = {
    "attribute": (
        "attribute", *PAIR, "--images", "inputs/images", *BOTH, "--output", "run", "--nodes", "3", *SMALL,
        *(word for method in ("faig", "ig", "taylor", "change-absolute", "random") for word in ("--method", method)),
    ),
    "attribute-adaptive": (
        "attribute", *PAIR, "--images", "inputs/images", *BOTH, "--output", "adaptive", "--tolerance", "0.05", *SMALL,
    ),
    "attribute-reference": (
        "attribute", *PAIR, "--images", "inputs/images", *BOTH, "--output", "reference", "--protocol", "reference",
        "--nodes", "4", *SMALL,
    ),
    "attribute-goal": (
        "attribute", *PAIR, "--images", "inputs/images", *BOTH, "--output", "goal", "--method", "goal-directed", *SMALL,
    ),
    "mask": ("mask", "run", "--images", "inputs/images", "--percent", "1", "--percent", "5", *SMALL),
    "report": ("report", "run"),
    "classify": ("classify", "inputs/low", *RUN, "--csv", "classes.csv", "--whole", *SMALL),
    "restore": ("restore", "inputs/low", "restored", *RUN, "--without", "blur:2", "--percent", "5", "--device", "cpu"),
    "restore-dialled": (
        "restore", "inputs/low", "dialled", *RUN, "--without", "noise:0.1", "--strength", "0.5", "--device", "cpu",
    ),
    "degrade": ("degrade", "inputs/images", "degraded", "--degradation", "blur:1+noise:0.05", "--seed", "3"),
    "adapter export": (
        "adapter", "export", *RUN, "--degradation", "blur:2", "--percent", "5", "--output", "blur.safetensors",
    ),
    "adapter show": ("adapter", "show", "blur.safetensors"),
    "adapter merge": (
        "adapter", "merge", "--base", "inputs/baseline.safetensors", "--adapter", "blur.safetensors", "--output",
        "merged.safetensors",
    ),
    "retrain": (
        "retrain", "run", "--degradation", "blur:2", "--images", "inputs/images", "--iterations", "3", "--batch", "2",
        "--patch", "32", *SMALL,
    ),
    "train": (
        "train", "--images", "inputs/images", "--recipe", "inputs/recipe.toml", "--from", "inputs/baseline.safetensors",
        "--output", "trained", *SMALL,
    ),
}  # fmt: skip

# Wrong uses: the exit code is a promise, the sentence a help.
REFUSED: dict[str, tuple[str, ...]] = {
    "no-run": ("mask", "nowhere", "--images", "inputs/images"),
    "empty-output": ("attribute", *PAIR, "--images", "inputs/images", *BOTH, "--output", ""),
    "unknown-degradation": ("degrade", "inputs/images", "other", "--degradation", "blurr:2"),
    "unknown-method": (
        "attribute", *PAIR, "--images", "inputs/images", *BOTH, "--output", "other", "--method", "faigg",
    ),
    "unknown-option": ("mask", "run", "--image", "inputs/images"),
    "no-images": ("degrade", "inputs/none", "other", "--degradation", "blur:2"),
    "another-ranking": ("attribute", *PAIR, "--images", "inputs/images", *BOTH, "--output", "run", "--nodes", "2"),
    "negative-percent": ("mask", "run", "--images", "inputs/images", "--percent", "-1"),
    "no-adapter": ("adapter", "show", "inputs/baseline.safetensors"),
    "two-sources": ("restore", "inputs/low", "other", *RUN, "--model", "inputs/target.safetensors"),
    "existing-outputs": ("restore", "inputs/low", "inputs/images", *RUN),
}  # fmt: skip


def run_all(folder: Path) -> dict[str, dict[str, object]]:
    """Run every command in ``folder`` and return its exit code, the JSON it printed and its error."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(INPUTS, folder / "inputs")
    outcomes = {}
    with contextlib.chdir(folder):
        for name, words in {**COMMANDS, **REFUSED}.items():
            json_or_not = () if name in REFUSED else ("--json",)
            out, err = io.StringIO(), io.StringIO()
            sys.argv = ["filterlens", *words]  # what run.json says of the command
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main([*words, *json_or_not])
            printed = json.loads(out.getvalue()) if out.getvalue().startswith("{") else None
            error = err.getvalue() if name in REFUSED else ""
            outcomes[name] = {"code": code, "json": printed, "error": " ".join(error.split())}
            if code and name not in REFUSED:
                raise AssertionError(f"{name}: exit code {code}\n{err.getvalue()}")
    return outcomes


def options() -> dict[str, dict[str, dict[str, object]]]:
    """Return every command's options and arguments with their spellings and defaults."""
    return {name: {_spelling(each): _promise(each) for each in params} for name, params in _commands(_root(), "")}


def _root() -> Any:
    return typer.main.get_command(app)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        context = command.make_context(name, [], resilient_parsing=True)
        yield name, [each for each in command.get_params(context) if each.name != "help"]
    for each, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, f"{name} {each}".strip())


def _spelling(parameter: Any) -> str:
    return " ".join((*parameter.opts, *parameter.secondary_opts))


def _promise(parameter: Any) -> dict[str, object]:
    default, shown = parameter.default, getattr(parameter, "show_default", None)
    return {
        "default": default if isinstance(default, str | int | float | bool | None) else str(default),
        "default in words": shown if isinstance(shown, str) else None,
        "required": parameter.required,
        "several": parameter.nargs != 1 or getattr(parameter, "multiple", False),
    }


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "200")
    where = Path(sys.argv[1]).absolute()
    text = json.dumps(run_all(where), indent=1, sort_keys=True) + "\n"
    where.with_name(f"{where.name}.json").write_text(text)
