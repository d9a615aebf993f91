# SPDX-License-Identifier: Apache-2.0
"""Units of an attribution in a folder: any number of processes fill it, and a killed job goes on where it stopped."""

import contextlib
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open

from filterlens.attribution.result import Completeness
from filterlens.attribution.units import POINTS, Job, Measurement, Unit, measured, prepared
from filterlens.files import whole_file
from filterlens.jobs.processes import Alone, Processes, wait_until
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Bar, Progress
from filterlens.tensors import write_tensors
from filterlens.version import __version__

_MEASUREMENT = re.compile(r"(?:[a-z-]+-[0-9a-f]{24}\.safetensors|[0-9a-f]{24}\.txt)")
_JOBS = itertools.count()  # the same in all processes, which run the same program


class SharedRunner:
    """Computes each unit once among all processes and keeps its measurement as a file.

    The name of the file is a hash of everything that decides the numbers, so what another pair, setting or image left
    behind is never taken. Processes take the largest images first, each the next one that nobody took; a folder that
    they all see is what they need to share.

    Args:
        folder: Where the measurements lie.
        network: What identifies the pair; see :func:`identity_of`.
        processes: This job's; default: this process alone.
    """

    def __init__(self, folder: Path, network: str, processes: Processes | None = None) -> None:
        self.folder = folder
        self.network = network
        self.processes = processes or Alone()
        self._job = str(next(_JOBS))

    def agree(self, question: str, answer: Callable[[], str]) -> str:
        """Return one answer for all processes and for the job when it is resumed."""
        path = self.folder / f"{self._digest(question)}.txt"

        def known() -> str:
            if not path.exists():
                with whole_file(path) as temporary:
                    temporary.write_text(answer(), encoding="utf-8")
            return path.read_text(encoding="utf-8")

        return self.processes.agree(path.name, known)

    def measurements(self, job: Job, units: Sequence[Unit], progress: Progress) -> Iterator[Measurement]:
        """Yield one measurement per unit, in the order of the units, once all processes together have them all."""
        settings = json.dumps(job.settings(), sort_keys=True, default=str)
        contents = {sample: sample.fingerprint() for sample in {unit.sample for unit in units}}  # each read once
        paths = {unit: self._path(job.name, settings, contents[unit.sample], str(unit.degradation)) for unit in units}
        self._compute(job, paths, progress)
        for unit in units:
            loaded = _load(paths[unit], unit)
            assert loaded is not None
            yield loaded

    def close(self) -> None:
        """Delete the measurements when no process reads them any more; call it in every process, after the last job.

        Measurements of earlier, killed jobs go too; a file of any other name stays, and so does its folder.
        """
        self.processes.add(f"{self._job}/closed", 1)
        if self.processes.rank == 0:
            wait_until(lambda: self.processes.add(f"{self._job}/closed", 0) >= self.processes.size, lambda: None)
            _remove_measurements(self.folder)

    def _compute(self, job: Job, paths: dict[Unit, Path], progress: Progress) -> None:
        """Fill the folder together with the other processes."""
        ordered = sorted(paths, key=lambda unit: (-unit.sample.pixels(), paths[unit].name))
        done = [unit for unit in ordered if _load(paths[unit], unit) is not None]
        leads = self.processes.rank == 0
        if done and leads:
            progress.note(f"{job.name}: {len(done)} of {len(ordered)} were measured before and are taken from disk")
        key = self._digest(self._job, job.name, *sorted(path.name for path in paths.values()))
        known = frozenset(done)
        with (progress if leads else SILENT).bar(job.name, len(ordered) * POINTS, len(done) * POINTS) as shown:
            bar = _SharedBar(shown, self.processes, f"{key}/points")
            for unit, tensors in prepared(self._taken(key, ordered, known), job.prepare):
                _save(paths[unit], measured(job, unit, tensors, bar))
            finished = f"{key}/finished"
            self.processes.add(finished, 1)
            wait_until(lambda: self.processes.add(finished, 0) >= self.processes.size, lambda: bar.advance(0))
            bar.advance(0)

    def _taken(self, key: str, ordered: Sequence[Unit], known: frozenset[Unit]) -> Iterator[Unit]:
        """Yield the units that this process is the first to take and that were not known when the job began."""
        while (index := self.processes.add(f"{key}/next", 1) - 1) < len(ordered):
            if ordered[index] not in known:
                yield ordered[index]

    def _path(self, name: str, *decisive: str) -> Path:
        return self.folder / f"{name}-{self._digest(name, *decisive)}.safetensors"

    def _digest(self, *parts: str) -> str:
        text = "\x1f".join((__version__, self.network, *parts))
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def identity_of(pair: ModelPair) -> str:
    """Hash what a measurement depends on: every parameter of both networks, their places, and the scale.

    Networks with buffers (running statistics, DAN's basis) may also have options that no parameter shows.
    """
    digest = hashlib.sha256(repr((pair.scale, pair.space.layers)).encode())
    for vector in (pair.baseline, pair.target):
        digest.update(vector.cpu().numpy().tobytes())
    buffers = dict(pair.network(pair.target).named_buffers())
    for name, buffer in buffers.items():
        digest.update(name.encode() + buffer.cpu().contiguous().numpy().tobytes())
    if buffers:
        digest.update(repr(sorted(pair.facts.get("options", {}).items())).encode())
    return digest.hexdigest()


class _SharedBar:
    """A bar that all processes push and the first one shows."""

    def __init__(self, bar: Bar, processes: Processes, counter: str) -> None:
        self._bar, self._processes, self._counter = bar, processes, counter
        self._shown = 0

    def advance(self, steps: int = 1) -> None:
        """Move on, by what the other processes did as well."""
        total = self._processes.add(self._counter, steps)
        self._bar.advance(total - self._shown)
        self._shown = total

    def describe(self, text: str) -> None:
        """Change the text beside the bar."""
        self._bar.describe(text)


def _remove_measurements(folder: Path) -> None:
    if not folder.is_dir() or folder.is_symlink():
        return
    for path in folder.iterdir():
        if _MEASUREMENT.fullmatch(path.name) and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.unlink()
    with contextlib.suppress(OSError):  # something else lies there
        folder.rmdir()


def _save(path: Path, measurement: Measurement) -> None:
    entry = None if measurement.completeness is None else asdict(measurement.completeness)
    write_tensors(path, {"magnitudes": measurement.magnitudes}, {"completeness": json.dumps(entry)})


def _load(path: Path, unit: Unit) -> Measurement | None:
    """Read a measurement; None where there is none or it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            entry = json.loads(file.metadata()["completeness"])
            magnitudes = file.get_tensor("magnitudes")
    except (FileNotFoundError, SafetensorError, KeyError, ValueError):
        return None
    if entry is not None:  # two images of equal content share a measurement, but not a name
        entry = Completeness(**entry | {"image": unit.sample.name})
    return Measurement(magnitudes, entry)
