# SPDX-License-Identifier: Apache-2.0
"""Run experiments one after the other and write their pages; a failure does not stop the others."""

import itertools
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from filterlens.errors import FilterlensError, unknown
from filterlens.execution.hardware import has_fast_bf16
from filterlens.files import check_writable
from filterlens.paper.catalogue import EXPERIMENTS
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.page import INDEX, Origin, main_files, write_index, write_page
from filterlens.paper.recipe import PaperRecipe
from filterlens.record import Record
from filterlens.version import __version__

ALL = "all"


@dataclass(frozen=True)
class Report:
    """Pages and failures of a run.

    Attributes:
        pages: Experiment → its page.
        failures: Experiment → why there is none.
        seconds: Experiment → wall time.
        index: The page of all claims.
    """

    pages: dict[str, Path]
    failures: dict[str, str]
    seconds: dict[str, float]
    index: Path


def chosen(names: Sequence[str]) -> list[str]:
    """Return the experiments that the user named; ``all`` is every one.

    Raises:
        UsageError: No experiment has that name.
    """
    for name in names:
        if name != ALL and name not in EXPERIMENTS:
            raise unknown("experiment", name, [ALL, *EXPERIMENTS])
    return list(EXPERIMENTS) if ALL in names else list(dict.fromkeys(names))


def run_experiments(names: Sequence[str], laboratory: Laboratory, recipe: PaperRecipe, output: Path) -> Report:
    """Run the experiments and write their pages into ``output``; the first process writes.

    An experiment that misses its images or models is reported and the others still run.

    Raises:
        FilterlensError: A folder cannot be written, or a file of others is in the way of a page; nothing is computed.
    """
    pages: dict[str, Path] = {}
    failures: dict[str, str] = {}
    seconds: dict[str, float] = {}
    leads = laboratory.processes.rank == 0
    record = Record(output, "paper")
    if leads:  # before hours of computing
        record.check([INDEX, *(file for name in chosen(names) for file in main_files(name))])
        for folder in (output, laboratory.folder):
            check_writable(folder)
    for name in chosen(names):
        experiment = EXPERIMENTS[name]
        laboratory.progress.note(f"{name}: {experiment.summary}")
        began = time.monotonic()
        try:
            outcome = experiment.run(laboratory, recipe.own[name])
        except FilterlensError as error:
            failures[name] = str(error)
            laboratory.progress.note(f"{name}: failed: {error}")
            continue
        seconds[name] = round(time.monotonic() - began, 1)
        if leads:
            origin = _origin(name, recipe, laboratory, seconds[name])
            settings = {
                "common": recipe.common.model_dump(mode="json"),
                name: recipe.own[name].model_dump(mode="json"),
            }
            pages[name] = write_page(record, experiment, outcome, origin, settings)
    index = write_index(record, list(EXPERIMENTS.values())) if leads else output / INDEX
    return Report(pages, failures, seconds, index)


def _origin(name: str, recipe: PaperRecipe, laboratory: Laboratory, seconds: float) -> Origin:
    return Origin(
        command=_command(name),
        recipe=recipe.name,
        commit=_commit(),
        machine=_machine(laboratory),
        created=datetime.now(UTC).isoformat(timespec="minutes"),
        seconds=seconds,
    )


def _command(name: str) -> str:
    """Return the command line that makes this page again, without the places where this machine keeps things."""
    words = list(sys.argv[1:])
    kept = ["filterlens", "paper", name]
    for option, value in itertools.pairwise([*words, ""]):
        if option in ("--recipe", "--seeds", "--find", "--judge", "--train"):
            kept += [option, value if option in ("--recipe", "--seeds") else "DIR"]
    return shlex.join(kept)


def _commit() -> str:
    """Return the commit of the checkout that this code runs from, or its version."""
    here = Path(__file__).parent
    try:
        told = ("git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
        found = subprocess.run(told, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return f"version {__version__}"
    return found.stdout.strip()


def _machine(laboratory: Laboratory) -> str:
    device = laboratory.device
    threads = f"CPU, {torch.get_num_threads()} threads"
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else threads
    fast = "with" if has_fast_bf16(device) else "without"
    return f"{where}, {fast} fast bfloat16, {laboratory.processes.size} process(es), PyTorch {torch.__version__}"
