# SPDX-License-Identifier: Apache-2.0
"""Jobs that turn a folder of images into another: own earlier results are kept, others' files stay untouched.

While one image is computed, the next is read and the previous one is written.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from PIL import Image

from filterlens.data.listing import Listing, find_images, shown
from filterlens.data.pictures import PNG, WRITTEN, Picture, write_picture
from filterlens.data.usable import LeftOut, failure_of
from filterlens.errors import FilterlensError, UsageError
from filterlens.files import sha256_of
from filterlens.progress import Bar, Progress
from filterlens.record import Record, check_output_folder
from filterlens.work.ahead import ahead

Item = TypeVar("Item")

_HASH = re.compile("[0-9a-f]{64}")
_SHOWN = 64  # letters of a setting in an error
_HASHING = 4  # files at once; a disk gives no more


@dataclass(frozen=True)
class Task:
    """One image of a batch: where it comes from and where it goes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Rules:
    """Treatment of existing files, of images that cannot be used, and of subfolders.

    Attributes:
        force: Overwrite what exists.
        skip_existing: Keep existing files, whatever made them.
        strict: Stop at the first image that cannot be used.
        recursive: Take the images of subfolders too; the output mirrors them.
    """

    force: bool = False
    skip_existing: bool = False
    strict: bool = False
    recursive: bool = False

    def __post_init__(self) -> None:
        if self.force and self.skip_existing:
            raise UsageError("--force overwrites what --skip-existing keeps: give one of them.")


USUAL = Rules()


@dataclass(frozen=True)
class Conversion(Generic[Item]):
    """One way to turn every image of a folder into another.

    Attributes:
        title: Name of the work for the progress bar.
        output: Folder of the results; for one image also a file.
        settings: Everything that decides a result, except the image it is made of.
        read: Reads a file into the value that is converted.
        change: Function that returns the result for such a value.
        suffix_of: Suffix of an image → suffix of its result, where that is not PNG.
    """

    title: str
    output: Path
    settings: Mapping[str, Any]
    read: Callable[[Path], Item]
    change: Callable[[Item, Task], Picture]
    suffix_of: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Converted:
    """The result of a job on a folder.

    Attributes:
        files: The results, in the order of the images; those of earlier runs included.
        kept: Files among them that were already there.
        failures: The images without a result.
    """

    files: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    failures: list[LeftOut] = field(default_factory=list)

    def add(self, tasks: Sequence[Task], plan: "Plan", failures: Sequence[LeftOut]) -> None:
        """Add the result of one conversion."""
        bad, known = ({failure.path for failure in each} for each in (failures, self.failures))
        self.files.extend(task.target for task in tasks if str(task.source) not in bad)
        self.kept.extend(task.target for task in plan.kept)
        self.failures.extend(failure for failure in failures if failure.path not in known)


def convert_folder(
    source: Path, output: Path, job: str, conversions: Sequence[Conversion[Any]], rules: Rules, progress: Progress
) -> Converted:
    """Convert every image of a folder, after everything that can be refused has been checked.

    Args:
        source: A folder of images, or one image.
        output: Folder of all results; it may be inside the source.
        job: Name of the command.
        conversions: Conversions of every image.
        rules: Treatment of existing files, bad images and subfolders.
        progress: Receiver of bars and notes.

    Raises:
        UsageError: An output would replace an input, or is called like what cannot be written.
        FilterlensError: A file is in the way, a folder cannot be written, or (strict) an image cannot be used.
    """
    listing = find_images(source, recursive=rules.recursive, leave_out=output)
    for note in listing.notes:
        progress.note(note)
    planned = []
    for conversion in conversions:
        tasks, is_file = tasks_of(listing, source, conversion.output, conversion.suffix_of)
        folder = conversion.output.parent if is_file else conversion.output
        outputs = Outputs(folder, job, conversion.settings, rules, is_file)
        planned.append((conversion, outputs, tasks, outputs.plan(tasks)))
    done = Converted()
    for conversion, outputs, tasks, plan in planned:
        done.add(tasks, plan, _convert(conversion, outputs, plan, rules.strict, progress))
    return done


@dataclass(frozen=True)
class Plan:
    """The remaining work of a batch, and the results that are already there."""

    todo: tuple[Task, ...]
    kept: tuple[Task, ...] = ()


@dataclass(frozen=True)
class Outputs:
    """The place of a job's results, with a record of what each was made of.

    Attributes:
        folder: Folder of the results; for a single file the folder that holds it.
        job: Name of the command.
        settings: Everything that decides a result, except the image it is made of.
        rules: Treatment of files that exist already.
        is_file: Whether the output is one named file: nothing is recorded for that.
    """

    folder: Path
    job: str
    settings: Mapping[str, Any]
    rules: Rules = USUAL
    is_file: bool = False

    def plan(self, tasks: Sequence[Task]) -> Plan:
        """Tell what is to be done, before anything is.

        Raises:
            UsageError: An output would replace an input, or two outputs have one name.
            FilterlensError: A file is in the way that the same job did not make of the same things, or the folder
                cannot be written.
        """
        self._check_inputs(tasks)
        _check_can_be_written(self.folder)
        there = [task for task in tasks if os.path.lexists(task.target)]
        odd = [task.target for task in there if task.target.exists() and not task.target.is_file()]
        if odd:
            raise FilterlensError(f"'{odd[0]}' exists already and is no file. Give another output.")
        if self.rules.force:
            return Plan(tuple(tasks))
        kept = there if self.rules.skip_existing else self._recognised(there)
        names = {task.target for task in kept}
        return Plan(tuple(task for task in tasks if task.target not in names), tuple(kept))

    @contextlib.contextmanager
    def writing(self, task: Task, digest: str) -> Iterator[None]:
        """Record a result while it is written.

        Args:
            task: Task whose result is written.
            digest: SHA-256 of the image that it is made of.
        """
        if self.is_file:
            yield
            return
        made_of, force = self._made_of(digest), self.rules.force
        with self._record.writing(self._name(task), made_of=made_of, settings=self.settings, force=force):
            yield

    def _recognised(self, there: Sequence[Task]) -> list[Task]:
        if not there:
            return []
        if self.is_file:
            raise FilterlensError(_in_the_way(there[0].target, ""))
        with ThreadPoolExecutor(_HASHING) as pool:
            states = list(pool.map(self._state, there))
        for task, state in zip(there, states, strict=True):
            if state not in ("made", "begun"):
                raise FilterlensError(_in_the_way(task.target, state))
        return [task for task, state in zip(there, states, strict=True) if state == "made"]

    def _state(self, task: Task) -> str:
        """Say ``made`` or ``begun`` of the job's own results, else why a file is not one."""
        record, name = self._record, self._name(task)
        if name not in record.names:
            return " and was not made by filterlens"
        made_of = self._made_of(sha256_of(task.source))
        if record.is_made(name, made_of):
            return "made"
        if record.is_begun(name, made_of):
            return "begun"
        return self._difference(name) if record.is_ours(name) else ", changed since"

    def _difference(self, name: str) -> str:
        """Say how a result of ours differs from the one to be made."""
        before, now = self._record.settings_of(name), json.loads(json.dumps(self.settings, default=str))
        if self._record.job_of(name) != self.job:
            return f", made by `filterlens {self._record.job_of(name)}`"
        if before is None:
            return ", made with other settings or of another image"
        if before == now:
            return ", made of another image"
        names = [each for each in {**now, **before} if before.get(each) != now.get(each)]
        return f", made with other settings ({'; '.join(_change(each, before, now) for each in names)})"

    @cached_property
    def _record(self) -> Record:
        return Record(self.folder, self.job)

    def _name(self, task: Task) -> str:
        return task.target.relative_to(self.folder).as_posix()

    def _made_of(self, digest: str) -> str:
        everything = {"job": self.job, "image": digest, "settings": self.settings}
        return hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()

    def _check_inputs(self, tasks: Sequence[Task]) -> None:
        inputs = {_real(task.source) for task in tasks}
        seen: dict[Path, Path] = {}
        for task in tasks:
            if _real(task.target) in inputs:
                raise UsageError(f"Input and output are both '{task.target}'. Give another output.")
            if task.target in seen:
                raise UsageError(f"'{task.source}' and '{seen[task.target]}' would both become '{task.target}'.")
            seen[task.target] = task.source


def tasks_of(listing: Listing, source: Path, output: Path, suffix_of: Mapping[str, str]) -> tuple[list[Task], bool]:
    """Return the output of each image: its place in the output folder, as in the input, or one named file.

    Args:
        listing: Files that were found.
        source: Folder or image that the user named.
        output: A folder; of a single image also a file, if it is called like an image and no such folder exists.
        suffix_of: Suffix of an image → suffix of its result, where it does not become a PNG.

    Returns:
        The tasks, and whether the output is a file.

    Raises:
        UsageError: The output is called like an image that is not written, or like one for a whole folder.
    """
    if names_a_file(output):
        if output.suffix.lower() not in WRITTEN:
            raise UsageError(f"'{output}' cannot be written. Legal: {', '.join(WRITTEN)}, or a folder.")
        if source.is_dir():
            raise UsageError(f"'{output}' is called like one image, but '{source}' is a folder. Give a folder.")
        return [Task(listing.images[0], output)], True
    check_output_folder(output)
    if output.resolve() == (source if source.is_dir() else source.parent).resolve():
        raise UsageError(f"Input and output are both '{output}'. Give another output.")
    return [
        Task(path, output / path.relative_to(listing.root).with_name(f"{path.stem}{_suffix(path, suffix_of)}"))
        for path in listing.images
    ], False


def names_a_file(output: Path) -> bool:
    """Whether an output is called like an image, and no folder of that name exists."""
    return output.suffix.lower() in Image.registered_extensions() and not output.is_dir()


def _suffix(path: Path, suffix_of: Mapping[str, str]) -> str:
    return suffix_of.get(path.suffix.lower(), PNG)


def _real(path: Path) -> Path:
    """The place of the file itself: a link that is replaced is not what it leads to."""
    return path.parent.resolve() / path.name


def _change(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say how a setting changed; of hashes only that they did."""
    values = [shown(str(each.get(name, "none")))[:_SHOWN] for each in (before, now)]
    if any(_HASH.fullmatch(value) for value in values):
        return f"another {name}"
    return f"{name} {values[0]}, now {values[1]}"


def _in_the_way(path: Path, why: str) -> str:
    return (
        f"'{shown(path)}' exists already{why}. Give another output, --force to overwrite, or --skip-existing to keep "
        "what is there."
    )


def _check_can_be_written(folder: Path) -> None:
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise FilterlensError(f"Cannot write into '{folder}': '{place}' is no folder. Choose another place.")
    if not os.access(place, os.W_OK):
        raise FilterlensError(f"Cannot write into '{folder}': Permission denied. Choose another place.")


@dataclass(frozen=True)
class _Prepared(Generic[Item]):
    """An image that was read, with the hash of its file; or why it was not."""

    item: Item | None = None
    digest: str = ""
    error: FilterlensError | None = None


def _convert(
    conversion: Conversion[Item], outputs: Outputs, plan: Plan, strict: bool, progress: Progress
) -> list[LeftOut]:
    """Read ahead, change, and write behind; an image that cannot be used stops nothing, unless strict."""
    failures: list[LeftOut] = []

    def prepare(task: Task) -> _Prepared[Item]:
        try:
            return _Prepared(conversion.read(task.source), sha256_of(task.source))
        except Exception as error:
            return _Prepared(error=failure_of(error, task.source))

    def fail(task: Task, error: FilterlensError) -> None:
        if strict or isinstance(error, UsageError):
            raise error
        failures.append(LeftOut(task.source.name, str(error), str(task.source)))

    def write(task: Task, picture: Picture, digest: str) -> None:
        with outputs.writing(task, digest):
            write_picture(task.target, picture, progress.note)

    if plan.kept:
        progress.note(f"{len(plan.kept)} of {len(plan.kept) + len(plan.todo)} images are done already")
    with progress.bar(conversion.title, len(plan.todo)) as bar, ThreadPoolExecutor(1) as pool:
        behind = _Behind(fail, bar)
        for task, prepared in ahead(plan.todo, prepare):
            bar.describe(f"{conversion.title}, {shown(task.source.name)}")
            try:
                if prepared.error is not None:
                    raise prepared.error
                assert prepared.item is not None
                changed = conversion.change(prepared.item, task)
            except Exception as error:
                behind.finish()
                fail(task, failure_of(error, task.source))
                bar.advance()
                continue
            behind.finish()
            behind.start(task, pool.submit(write, task, changed, prepared.digest))
        behind.finish()
    return failures


class _Behind:
    """The one image that is being written while the next is computed."""

    def __init__(self, fail: Callable[[Task, FilterlensError], None], bar: Bar) -> None:
        self._fail, self._bar = fail, bar
        self._current: tuple[Task, Future[None]] | None = None

    def start(self, task: Task, future: Future[None]) -> None:
        self._current = (task, future)

    def finish(self) -> None:
        """Wait for it. What concerns this image alone is a failure of it; a full disk ends the job."""
        if self._current is None:
            return
        (task, future), self._current = self._current, None
        try:
            future.result()
        except Exception as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
                raise
            self._fail(task, failure_of(error, task.source))
        self._bar.advance()
