# SPDX-License-Identifier: Apache-2.0
"""Kills a job before each of its file operations in turn, and lets it run again: a script, started in a fresh process.

A kill is ``SIGKILL`` to a forked process, so that nothing is cleaned up. The operations are those that Python's audit
events tell of: files opened to be written, and whatever is renamed, removed, made or given other permissions, below the
output folder. Every run is another fork, so that nothing but files goes from one to the next.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from filterlens.files import sha256_of
from filterlens.record import RECORD

EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink"}
MOMENTS = {"created", "seconds", "command", "it_s", "run", "weights"}  # in JSON: moments, speeds, places
Job = Callable[[Path], None]


def kill_before(operation: int | None, folder: Path) -> list[int]:
    """Kill this process before its n-th file operation below a folder; return the counter of operations."""
    counted = [0]
    prefix = os.fspath(folder)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        is_write = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if not (is_write or event in EVENTS):
            return
        if not any(isinstance(each, str | os.PathLike) and os.fspath(each).startswith(prefix) for each in arguments):
            return
        counted[0] += 1
        if counted[0] == operation:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return counted


def run(job: Job, folder: Path, operation: int | None = None) -> tuple[int, int]:
    """Run a job in a forked process; return its wait status and how many file operations it made."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            counted = kill_before(operation, folder)
            job(folder)
            os.write(writer, str(counted[0]).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    said = os.read(reader, 64)
    os.close(reader)
    return status, int(said or b"0")


def check(job: Job, home: Path, prepare: Job = lambda folder: None, most: int = 10_000) -> int:
    """Kill the job before each operation, run it again, and compare the folder with one that was never disturbed.

    Args:
        job: Writes into the folder it is given.
        home: Folder for the trials.
        prepare: Puts into the folder what was there before.
        most: Largest number of kills; spread evenly where there are more operations.

    Returns:
        The number of kills.
    """
    calm, folder = home / "calm", home / "trial"
    home.mkdir(parents=True, exist_ok=True)
    prepare(calm)
    status, operations = run(job, calm)
    assert status == 0 and operations > 3, (status, operations)
    expected = content(calm)
    kills = range(1, operations + 1, -(-operations // most))
    for operation in kills:
        prepare(folder)
        status, _ = run(job, folder, operation)
        assert os.WIFSIGNALED(status), f"kill {operation} of {operations} did not happen"
        left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []
        trial = f"kill {operation} of {operations}, which left {left}"
        status, _ = run(job, folder)
        assert status == 0, f"the run after {trial} failed"
        found = content(folder)
        differing = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        assert not differing, f"after {trial}: {differing} differ"
        shutil.rmtree(folder)
    return len(kills)


def content(folder: Path) -> dict[str, object]:
    """Return what every file of a folder holds, temporary files included.

    Of records only what they say at last, of JSON all but moments; locks are left out.
    """
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".filterlens."))
    return {str(path.relative_to(folder)): _held(path) for path in files}


def _held(path: Path) -> object:
    if path.name == RECORD:
        lines = [json.loads(line) for line in path.read_text().splitlines() if _is_json(line)]
        last = {line["file"]: line for line in lines if "file" in line}
        timed = {name for name in last if name.endswith((".json", ".jsonl"))}
        return {
            name: line | ({"sha256": line["sha256"] is not None} if name in timed else {})
            for name, line in last.items()
        }
    if path.suffix in (".json", ".jsonl"):
        return [
            _without_moments(json.loads(line))
            for line in ([path.read_text()] if path.suffix == ".json" else path.read_text().splitlines())
        ]
    return sha256_of(path)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _without_moments(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_moments(inner) for key, inner in value.items() if key not in MOMENTS}
    return [_without_moments(inner) for inner in value] if isinstance(value, list) else value
