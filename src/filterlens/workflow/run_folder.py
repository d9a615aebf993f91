# SPDX-License-Identifier: Apache-2.0
"""The files of a run folder: names, tables, and what is recorded of every job."""

import csv
import io
import platform
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filterlens.errors import FilterlensError, UsageError
from filterlens.files import read_json, write_text
from filterlens.models.user_module import is_factory, not_named
from filterlens.pair import ModelPair
from filterlens.units import ROWS
from filterlens.version import __version__

RUN, SCORES, FILTERS = "run.json", "scores.safetensors", "filters.csv"
DISTRIBUTION, DAMAGE, DAMAGE_PER_IMAGE = "distribution.csv", "damage.csv", "damage_per_image.csv"
PARTIAL = "partial"
NETWORKS, MASK, PICTURES, REPORT = "networks.csv", "mask.json", "pictures.json", "report.html"


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV, whole or not at all; None becomes an empty cell, floats keep six significant digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    write_text(path, stream.getvalue())


def _cell(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def provenance() -> dict[str, Any]:
    """Return versions, time and command: what every job records."""
    return {
        "filterlens": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {"python": platform.python_version(), **_versions("torch", "numpy", "pillow", "safetensors")},
        "machine": f"{platform.system()} {platform.machine()}",
    }


def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def describe_pair(pair: ModelPair) -> dict[str, Any]:
    """Return what ``run.json`` says of the pair: names, hashes, cards, and every layer."""
    return {
        "name": pair.name or None,
        **pair.facts,
        "scale": pair.scale,
        "parameters": pair.target.numel(),
        "filters": len(pair.space),
        "left_out": list(pair.space.left_out),
        "layers": [
            {"name": layer.name, "out": layer.out_channels, "in": layer.in_channels, "filters": layer.count}
            for layer in pair.space.layers
        ],
    }


def open_pair(
    name: str | None,
    baseline: Path | None,
    target: Path | None,
    default: str | None = None,
    *,
    architecture: str | None = None,
    linear: str = ROWS,
) -> ModelPair:
    """Load the pair that the user named: a shipped one, or two checkpoints.

    Args:
        name: Of a shipped pair.
        baseline: Checkpoint before fine-tuning.
        target: And after it.
        default: The shipped pair where nothing is named.
        architecture: Of the checkpoints; see :func:`filterlens.models.checkpoints.load_network`.
        linear: What a filter of their linear layers is.

    Raises:
        UsageError: Neither, both, or only one checkpoint is given.
    """
    if name and (baseline or target):
        raise UsageError("Give either --pair or --baseline and --target, not both.")
    if (baseline is None) != (target is None):
        raise UsageError(f"--{'target' if baseline else 'baseline'} is missing: a pair needs both checkpoints.")
    if baseline and target:
        return ModelPair.load(baseline, target, architecture=architecture, linear=linear)
    if architecture is not None or linear != ROWS:
        raise UsageError("--architecture and --linear are for your own checkpoints: give --baseline and --target.")
    if name is None and default is None:
        raise UsageError("Which pair? Give --pair NAME (one that ships) or --baseline FILE --target FILE.")
    return ModelPair.pretrained(name or str(default))


def reopen_pair(run: Path, architecture: str | None = None) -> ModelPair:
    """Load the pair of a run folder again and check that it is still the same.

    Args:
        run: The folder.
        architecture: Of a run of the user's own code: its factory, named again. Run folders travel, and nothing is
            imported because a file says so.

    Raises:
        UsageError: The run is of a factory that is not named, or of another architecture than the one named.
        FilterlensError: A checkpoint was moved or changed since.
    """
    facts = read_json(run / RUN)["pair"]
    said = facts.get("architecture")
    if is_factory(said) and architecture is None:
        raise UsageError(f"'{run}' is of a network of your own code. {not_named(str(said))}")
    if architecture not in (None, said):
        raise UsageError(f"'{run}' is of '{said}', not of '{architecture}'.")
    if facts["name"]:
        pair = ModelPair.pretrained(facts["name"])
    else:
        paths = (facts[role]["path"] for role in ("baseline", "target"))
        linear = facts.get("linear", ROWS)
        pair = ModelPair.load(*paths, architecture=said, linear=linear)
    for role in ("baseline", "target"):
        if pair.facts[role]["sha256"] != facts[role]["sha256"]:
            raise FilterlensError(
                f"The {role} '{facts[role]['path']}' changed since '{run}' was made (its hash differs). "
                "Run `filterlens attribute` again."
            )
    return pair


def drop_results(run: Path) -> None:
    """Delete what earlier jobs wrote into a run folder, so that a new ranking never stands beside an old proof."""
    for name in (RUN, SCORES, "scores.json", FILTERS, DISTRIBUTION, DAMAGE, DAMAGE_PER_IMAGE, NETWORKS, MASK, PICTURES):
        (run / name).unlink(missing_ok=True)
    (run / REPORT).unlink(missing_ok=True)
    for name in ("pictures", "figures"):
        shutil.rmtree(run / name, ignore_errors=True)


def require_run(run: Path) -> dict[str, Any]:
    """Return ``run.json`` of a run folder.

    Raises:
        FilterlensError: It is no run folder.
    """
    if not (run / RUN).is_file():
        raise FilterlensError(f"'{run}' is no run folder: '{run / RUN}' is missing. `filterlens attribute` makes one.")
    facts: dict[str, Any] = read_json(run / RUN)
    return facts
