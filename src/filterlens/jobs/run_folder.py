# SPDX-License-Identifier: Apache-2.0
"""The files of a run folder: names, tables, and what is recorded of every job."""

import csv
import io
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from filterlens.editing.weights_hash import weights_hash
from filterlens.errors import FilterlensError, UsageError
from filterlens.files import sha256_of, write_text
from filterlens.filters import ROWS
from filterlens.jobs.run_facts import RUN, require_run
from filterlens.models.user_module import is_factory, not_named
from filterlens.pair import ModelPair
from filterlens.record import Record, listed
from filterlens.version import __version__

SCORES, SCORES_AS_TEXT, FILTERS = "scores.safetensors", "scores.json", "filters.csv"
DISTRIBUTION, DAMAGE, DAMAGE_PER_IMAGE = "distribution.csv", "damage.csv", "damage_per_image.csv"
PARTIAL, NETWORKS = "partial", "networks.csv"
ROLES = ("baseline", "target")
RESULTS_OF = ("attribute", "mask", "report", "classify")  # a new ranking replaces what these made of the old one
RUN_JOBS = (*RESULTS_OF, "demo", "retrain")


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


def describe_pair(pair: ModelPair, run: Path | None = None) -> dict[str, Any]:
    """Return what ``run.json`` says of the pair: names, hashes, places, cards, and every layer."""
    checkpoints = {role: _describe_checkpoint(pair, role, run) for role in ROLES if role in pair.facts}
    return {
        "name": pair.name or None,
        **pair.facts,
        **checkpoints,
        "scale": pair.scale,
        "parameters": pair.target.numel(),
        "filters": len(pair.space),
        "left_out": list(pair.space.left_out),
        "layers": [
            {"name": layer.name, "out": layer.out_channels, "in": layer.in_channels, "filters": layer.count}
            for layer in pair.space.layers
        ],
    }


def _describe_checkpoint(pair: ModelPair, role: str, run: Path | None) -> dict[str, Any]:
    facts: dict[str, Any] = dict(pair.facts[role])
    if not pair.name and run is not None and Path(facts["path"]).is_file():
        facts |= placed(facts["path"], run) | {"weights_sha256": weights_hash(pair.network(getattr(pair, role)))}
    return facts


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


@dataclass(frozen=True)
class Moved:
    """Where the checkpoints of a run lie now, as the user says; None looks where they lay, from here and the run."""

    baseline: Path | None = None
    target: Path | None = None

    def __bool__(self) -> bool:
        return self.baseline is not None or self.target is not None


STAYED = Moved()


def reopen_pair(run: Path, architecture: str | None = None, moved: Moved = STAYED) -> ModelPair:
    """Load the pair of a run folder again and check that it is still the same.

    Args:
        run: The folder.
        architecture: Of a run of the user's own code: its factory, named again. Run folders travel, and nothing is
            imported because a file says so.
        moved: Where its checkpoints lie now.

    Raises:
        UsageError: The run is of a factory that is not named, or of another architecture than the one named.
        FilterlensError: A checkpoint is gone, or holds other weights.
    """
    facts = require_run(run)["pair"]
    said = facts.get("architecture")
    if is_factory(said) and architecture is None:
        raise UsageError(f"'{run}' is of a network of your own code. {not_named(str(said))}")
    if architecture not in (None, said):
        raise UsageError(f"'{run}' is of '{said}', not of '{architecture}'.")
    if facts.get("name"):
        if moved:
            raise UsageError(
                f"'{run}' is of the pair '{facts['name']}', which ships: leave --baseline and --target out."
            )
        pair = ModelPair.pretrained(facts["name"])
    else:
        paths = {role: _checkpoint_of(run, facts, role, getattr(moved, role)) for role in ROLES}
        linear = facts.get("linear", ROWS)
        pair = ModelPair.load(*paths.values(), architecture=said, linear=linear)
    for role in ROLES:
        _check_same_weights(run, role, facts[role], pair)
    return pair


def checkpoint_of(run: Path, role: str, moved: Path | None = None) -> Path:
    """Return the file of a run's baseline or target: where it lay, seen from here or from the run, or where it is now.

    Raises:
        FilterlensError: There is none.
    """
    return _checkpoint_of(run, require_run(run)["pair"], role, moved)


def _checkpoint_of(run: Path, facts: dict[str, Any], role: str, moved: Path | None) -> Path:
    entry = facts.get(role)
    if entry is None:
        raise FilterlensError(f"'{run / RUN}' names no {role}. Run `filterlens attribute` again, into another folder.")
    places = [moved] if moved else places_of(entry, run)
    there = [place for place in places if place.is_file()]
    if not there:
        looked = ", ".join(f"'{place}'" for place in places)
        raise FilterlensError(f"The {role} of '{run}' is not at {looked}. Give --{role} FILE: where it is now.")
    return next((place for place in there if sha256_of(place) == entry["sha256"]), there[0])


def places_of(entry: Mapping[str, Any], run: Path) -> list[Path]:
    """Return where a recorded file may lie: as it was named, its absolute place, and its place seen from the run."""
    named = [Path(entry[key]) for key in ("path", "absolute") if entry.get(key)]
    beside = [run / entry["relative"]] if entry.get("relative") else []
    return list(dict.fromkeys([*named, *beside]))


def placed(path: Path | str, run: Path) -> dict[str, str]:
    """Say where a file lies, absolutely and seen from the run, so that either may move with the other."""
    absolute = Path(path).resolve()
    try:
        relative = {"relative": Path(os.path.relpath(absolute, run.resolve())).as_posix()}
    except ValueError:  # another drive
        relative = {}
    return {"absolute": str(absolute)} | relative


def _check_same_weights(run: Path, role: str, entry: Mapping[str, Any], pair: ModelPair) -> None:
    """Accept a file of the same bytes, or of the same weights in another wrapping."""
    if pair.facts[role]["sha256"] == entry["sha256"]:
        return
    recorded = entry.get("weights_sha256")
    if recorded is None or weights_hash(pair.network(getattr(pair, role))) != recorded:
        raise FilterlensError(
            f"The {role} '{pair.facts[role]['path']}' changed since '{run}' was made (its hash differs). "
            f"Give the old file with --{role}, or run `filterlens attribute` again."
        )


def refuse_strangers(run: Path) -> None:
    """Refuse a folder for a new ranking that holds files and is no run, before anything is written into it.

    Raises:
        UsageError: There are such files; or the path is a file.
        FilterlensError: It holds a ``run.json`` that is none of ours.
    """
    record = Record(run, "attribute")
    if (run / RUN).exists():
        require_run(run)
        return
    others = [name for name in record.names if name not in record.of_jobs(*RUN_JOBS)]
    if strangers := [*record.strangers({PARTIAL}), *others]:
        raise UsageError(
            f"'{run}' is no run folder and not empty: {listed(strangers)}. "
            f"Give a new folder, for example {run / 'run'}."
        )


def open_run_folder(
    run: Path, made_of: str, *, force: bool, replace_other: bool = False
) -> tuple[Record, dict[str, Any] | None]:
    """Look at the folder of a new ranking before anything is computed.

    Args:
        run: Where it goes.
        made_of: Hash of everything that decides the ranking.
        force: Replace the ranking, and what was made from it.
        replace_other: Replace another ranking, but keep this very one.

    Returns:
        The folder's record, and ``run.json`` where the folder holds this very ranking already.

    Raises:
        UsageError: The folder holds another ranking.
        FilterlensError: A file of the run was changed since it was written.
    """
    record = Record(run, "attribute")
    if not (run / RUN).exists():
        return record, None
    facts = require_run(run)
    if facts.get("made_of") == made_of and not force and record.is_ours(RUN) and record.is_ours(SCORES):
        return record, facts
    if RUN not in record.names:
        raise UsageError(
            f"'{run}' holds a run of an earlier version, which kept no record of its files, so none is removed. "
            "Give another folder, or delete it yourself."
        )
    results = record.of_jobs(*RESULTS_OF)
    if not (force or replace_other):
        going = dict.fromkeys(PurePosixPath(name).parts[0] for name in results if (run / name).exists())
        raise UsageError(
            f"'{run}' holds a ranking of other settings (for {', '.join(facts['settings']['degradations'])}). Give "
            f"another --output; or --force, which deletes {listed(going, most=len(going))} there."
        )
    record.check(name for name in results if (run / name).exists())
    return record, None


def run_record(run: Path, job: str, adopted: Iterable[str] = ()) -> Record:
    """Return the record of a finished run for a job that goes on with it.

    Args:
        run: The folder.
        job: The command.
        adopted: Its own files, which in a run of an earlier version, that kept no record, count as ours.
    """
    record = Record(run, job)
    if RUN not in record.names:
        record.adopt(adopted)
    return record
