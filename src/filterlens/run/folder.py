# SPDX-License-Identifier: Apache-2.0
"""The files of a run folder: their names, the jobs that may replace them, and the record of every job."""

import os
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from filterlens.errors import FilterlensError, UsageError
from filterlens.files import read_checked
from filterlens.record import Record, listed
from filterlens.run.facts import KeptPicture, MaskFacts, PicturesFacts, RunFacts, is_of_pairs
from filterlens.version import __version__

RUN, SCORES, SCORES_AS_TEXT = "run.json", "scores.safetensors", "scores.json"
FILTERS, DISTRIBUTION, PARTIAL = "filters.csv", "distribution.csv", "partial"
MASK, PICTURES, NETWORKS = "mask.json", "pictures.json", "networks.csv"
DAMAGE, DAMAGE_PER_IMAGE = "damage.csv", "damage_per_image.csv"
RESULTS_OF = ("attribute", "mask", "report", "classify")  # a new ranking replaces what these made of the old one
RUN_JOBS = (*RESULTS_OF, "demo", "retrain")
ATTRIBUTE = "filterlens attribute"
_AGAIN = f"Run `{ATTRIBUTE}` again, into another folder."


def mask_command(run: Path | str, about: Mapping[str, Any]) -> str:
    """Return what judges the filters of a run: a command, or lines of Python where a function of the user's is needed.

    Args:
        run: The run folder.
        about: Content of its ``run.json``.
    """
    settings = about["settings"]
    said = settings.get("inputs") or {}
    names = settings["degradations"]
    pairs = [name for name in names if is_of_pairs(said.get(name))]
    own = [name for name in names if isinstance(said.get(name), Mapping) and name not in pairs]
    images = len(pairs) < len(names)
    if not own:
        given = [f"--pairs {name}=LQ_FOLDER,GT_FOLDER" for name in pairs]
        return " ".join([f"filterlens mask {run}", *(["--images DIR"] if images else []), *given])
    words = [f'Path("{run}"), "DIR"', f"degradations={{{', '.join(f'{name!r}: function' for name in own)}}}"]
    words += [f"pairs={{{', '.join(f'{name!r}: (LQ_FOLDER, GT_FOLDER)' for name in pairs)}}}"] if pairs else []
    return f"from filterlens.jobs.mask import mask_to_folder\nmask_to_folder({', '.join(words)})"


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


def require_run(run: Path) -> dict[str, Any]:
    """Return ``run.json`` of a run folder, checked.

    Raises:
        FilterlensError: It is not a run folder, or the file does not say what it must.
    """
    if not (run / RUN).is_file():
        raise FilterlensError(f"'{run}' is no run folder: '{run / RUN}' is missing. `{ATTRIBUTE}` makes one.")
    facts: dict[str, Any] = read_checked(run / RUN, RunFacts, _AGAIN)
    return facts


def mask_facts(run: Path) -> dict[str, Any]:
    """Return ``mask.json`` of a run folder, checked; errors as in :func:`require_run`."""
    facts: dict[str, Any] = read_checked(run / MASK, MaskFacts, f"Run `filterlens mask {run}` again.")
    return facts


def pictures_of(run: Path) -> list[KeptPicture]:
    """Return ``pictures.json`` of a run folder, checked: every file is inside, also when links are followed.

    Raises:
        FilterlensError: As in :func:`require_run`, or a picture is outside the folder.
    """
    remedy = f"Run `filterlens mask {run}` again."
    pictures = [KeptPicture.model_validate(entry) for entry in read_checked(run / PICTURES, PicturesFacts, remedy)]
    home = run.resolve()
    for picture in pictures:
        if not (run / picture.file).resolve().is_relative_to(home):
            raise FilterlensError(f"'{run / PICTURES}': the picture '{picture.file}' lies outside the run. {remedy}")
    return pictures


def places_of(entry: Mapping[str, Any], run: Path) -> list[Path]:
    """Return the possible paths of a recorded file: as named, its absolute path, and its path from the run."""
    named = [Path(entry[key]) for key in ("path", "absolute") if entry.get(key)]
    seen = [run / entry["relative"]] if entry.get("relative") else []
    return list(dict.fromkeys([*named, *seen]))


def placed(path: Path | str, run: Path) -> dict[str, str]:
    """Return the place of a file, absolute and relative to the run, so that either may move with the other."""
    absolute = Path(path).resolve()
    try:
        relative = {"relative": Path(os.path.relpath(absolute, run.resolve())).as_posix()}
    except ValueError:  # another drive
        relative = {}
    return {"absolute": str(absolute)} | relative


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
        run: Run folder to write to.
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
        adopted: Own files of the run, which count as ours where an earlier version kept no record.
    """
    record = Record(run, job)
    if RUN not in record.names:
        record.adopt(adopted)
    return record
