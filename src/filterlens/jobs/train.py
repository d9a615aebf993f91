# SPDX-License-Identifier: Apache-2.0
"""The training job: a recipe and folders of images in, a pair out.

A training with ``--fresh`` runs in a folder of its own inside the output, ``fresh``; only when it is complete do its
files replace the old ones. A killed training continues there. A complete one is renamed before its files are moved, so
that the next run completes a move that was interrupted.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filterlens.data.listing import find_images
from filterlens.degradations.inputs import GivenPairs
from filterlens.errors import FilterlensError, UsageError
from filterlens.execution.hardware import resolve_device, resolve_precision
from filterlens.files import check_writable, folder_lock, read_json, write_json
from filterlens.jobs.training_images import HELD_OUT_EVERY, HeldOut, ReadImages, read_images, said_of
from filterlens.jobs.training_pairs import read_pairs
from filterlens.models.checkpoints import load_network, read_content
from filterlens.models.user_module import is_factory
from filterlens.progress import SILENT, Progress
from filterlens.record import RECORD, Record, check_output_folder
from filterlens.run.folder import provenance
from filterlens.training.checkpointing import is_log_line, is_state
from filterlens.training.recipe import Recipe, load_recipe
from filterlens.training.trainer import check_baseline
from filterlens.work.processes import Processes, processes_of_this_job

VALIDATION_IMAGES = 10
JOB = "train"
FRESH, WHOLE = "fresh", "fresh.whole"
SETTINGS, LOG = "train.json", "log.jsonl"
ROLES = ("baseline", "target")
STATES = tuple(f"{role}.state.pt" for role in ROLES)
WEIGHTS = tuple(f"{role}.safetensors" for role in ROLES)
NAMES = (LOG, *STATES, *WEIGHTS, SETTINGS)
_SMALL = 4 << 20  # bytes of a train.json that is read


def recipe_from(start: Path, recipe: str, *, architecture: str | None, scale: int | None, seed: int | None) -> Recipe:
    """Return the recipe for a target of a given network: architecture and scale are the network's.

    Args:
        start: The checkpoint.
        recipe: Name or file of the recipe whose stages are taken.
        architecture: The checkpoint's architecture, where it cannot be read off it.
        scale: Scale that the user gave.
        seed: Seed in place of the recipe's.

    Raises:
        FilterlensError: The checkpoint cannot be read.
        UsageError: The scale is not the network's, or the recipe does not fit it.
    """
    given = load_network(start, architecture, scale)
    return load_recipe(recipe, architecture=given.architecture, scale=given.scale, seed=seed, network={})


def train_to_folder(
    recipe: Recipe,
    images: Sequence[Path],
    output: Path,
    *,
    pairs: GivenPairs | None = None,
    validation: Path | None = None,
    baseline: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    fresh: bool = False,
    processes: Processes | None = None,
    progress: Progress = SILENT,
) -> dict[str, Path]:
    """Train the pair of a recipe; resumes a killed run.

    An image that cannot be read is left out; ``train.json`` lists it.

    Args:
        recipe: The settings.
        images: Folders of HR training images; none where there are ``pairs``, whose GT is taken then.
        output: Folder for weights, log and checkpoints.
        pairs: Name → LQ and GT images, on which the target is trained: alone where the recipe's target has no
            degradations, else those together are as likely as each name. Every 20th scene is held out.
        validation: Folder of HR images for the PSNR; None holds out every 20th training image.
        baseline: Checkpoint of an existing network from which only the target is fine-tuned; None trains both.
        device: ``auto``, ``cpu``, ``cuda``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        fresh: Train anew in the folder ``fresh`` inside ``output``, and replace what ``output`` holds of an earlier
            training when the new one is whole; killed before, it goes on there.
        processes: Processes that train together; None takes those of the launcher. The first one writes and reports.
        progress: Receiver of bars and notes.

    Returns:
        ``{"baseline": path, "target": path}``.

    Raises:
        FilterlensError: Another process trains in ``output``, it cannot be written or holds files that are not ours,
            or no image can be read.
        UsageError: There are neither images nor pairs.
    """
    from filterlens.training.memory import demand_of
    from filterlens.training.trainer import fingerprint_of, train

    processes = processes or processes_of_this_job()
    leads = processes.rank == 0
    code = recipe.architecture if is_factory(recipe.architecture) else None
    given = None if baseline is None else load_network(baseline, code)
    if given is not None:
        for folder in (output, output / FRESH):
            check_baseline(given, recipe, folder)
    if not images and not pairs:
        raise UsageError("There is nothing to train on: --images is missing, or --pairs.")
    paths = HeldOut.of(images, validation, at_least=HELD_OUT_EVERY, most=VALIDATION_IMAGES)
    judges = len(paths.judging)
    if validation is None and leads and images:
        note = f"{judges} of the images are held out" if judges else "too few images to hold any out"
        progress.note(f"validation: {note} (--validation DIR takes others)")
    where = resolve_device(device)
    chosen = resolve_precision(precision, where)
    demand_of(recipe, processes.size, None if given is None else given.network).check(where)
    with contextlib.ExitStack() as held:
        if leads:
            check_output_folder(output)
            check_writable(output)
            held.enter_context(folder_lock(output, "training"))
            record_of(output)
        else:
            progress = SILENT
        of_pairs = read_pairs(pairs, recipe.scale, progress, at_least=HELD_OUT_EVERY) if pairs else None
        if of_pairs is not None:
            paths = paths.without(of_pairs.held_out)
        if images:
            progress.note(f"{len(paths.training)} training images, {judges} for validation, {where}, {chosen}")
        is_given = bool(paths.training or paths.judging)
        training, judging = (
            read_images(paths, progress, chosen=validation is not None) if is_given else (ReadImages(), ReadImages())
        )
        names = ", ".join(f"{folder.name} ({len(find_images(folder).images)})" for folder in images)
        if of_pairs is not None:
            training, judging = of_pairs.completed(training, judging)
            names = ", ".join(filter(None, (names, of_pairs.described)))
            progress.note(f"pairs: {of_pairs.described}, {of_pairs.judges} for validation, {where}, {chosen}")
        learnt = {} if of_pairs is None else of_pairs.training
        fingerprint = fingerprint_of(recipe, processes.size, chosen, given, training.pixels, learnt)
        place = Path(processes.agree("training folder", lambda: str(place_of(output, fingerprint, fresh))))
        said = {"recipe": recipe.model_dump(mode="json"), "images": names, **said_of(training, judging)}
        said |= {} if of_pairs is None else {"pairs": of_pairs.facts}
        said |= {} if given is None else {"baseline": {"path": str(given.path), "sha256": given.sha256}}
        writing = _Writing(place, fingerprint, said)
        with writing:
            train(
                recipe,
                training.pixels,
                place,
                validation=judging.pixels,
                pairs=learnt,
                judging_pairs={} if of_pairs is None else of_pairs.judging,
                device=where,
                precision=chosen,
                baseline=given,
                data=names,
                names=[*training.names, *judging.names],
                fingerprint=fingerprint,
                on_begin=writing.begin,
                progress=progress,
            )
        if place != output and leads:
            take_place(output)
    return {role: output / f"{role}.safetensors" for role in ("baseline", "target")}


class _Writing(contextlib.ExitStack):
    """Records the files of a training from the moment it begins; one that is finished already writes nothing."""

    def __init__(self, folder: Path, fingerprint: str, said: dict[str, Any]) -> None:
        super().__init__()
        self._folder, self._fingerprint, self._said = folder, fingerprint, said
        self._has_begun = False

    def begin(self) -> None:
        """Write ``train.json`` and record what will be written."""
        if self._has_begun:
            return
        self._has_begun = True
        self.enter_context(record_of(self._folder).writing(*NAMES, made_of=self._fingerprint))
        write_json(self._folder / SETTINGS, provenance() | {"fingerprint": self._fingerprint} | self._said)


def record_of(folder: Path) -> Record:
    """Return the record of a training's folder and refuse files with our names that are not ours.

    A folder of an earlier version, which kept no record, is taken over where its files are what a training writes.

    Raises:
        UsageError: The folder is a file.
        FilterlensError: Such files, named.
    """
    record = Record(folder, JOB)
    if not set(record.names) & set(NAMES):
        record.adopt([name for name in NAMES if _looks_ours(folder / name)])
    record.check(NAMES)
    return record


def place_of(output: Path, fingerprint: str, fresh: bool) -> Path:
    """Return where a training runs: in the folder, or in ``fresh`` inside, from which it replaces what is there.

    A training that was begun with ``--fresh`` goes on there, also without it; another one that was begun there gives
    way to a new ``--fresh``.

    Raises:
        FilterlensError: Files in the way are not ours.
    """
    staged = output / FRESH
    if _move(output) == fingerprint:
        return output
    if is_begun(staged, fingerprint):
        return staged
    if not fresh:
        return output
    record_of(staged).remove(NAMES)
    return staged


def is_begun(folder: Path, fingerprint: str) -> bool:
    """Whether a training of this fingerprint was begun in a folder."""
    return _fingerprint_in(folder) == fingerprint


def _fingerprint_in(folder: Path) -> str | None:
    """Return what the settings of a training say, None where they say nothing."""
    path = folder / SETTINGS
    try:
        said = read_json(path)["fingerprint"] if path.is_file() and path.stat().st_size < _SMALL else None
    except (FilterlensError, OSError, KeyError, TypeError, RecursionError):
        return None
    return said if isinstance(said, str) else None


def take_place(output: Path) -> None:
    """Let the whole training in ``fresh`` replace the one in the folder.

    Raises:
        FilterlensError: A file in the way is not ours, or cannot be moved.
    """
    record_of(output)
    (output / FRESH).replace(output / WHOLE)
    _move(output)


def _move(output: Path) -> str | None:
    """Move the files of a training that is whole, if there is one, and return its fingerprint.

    The old target goes first and the new one comes after the new baseline: at no moment does one training's target lie
    next to the other's baseline. The settings, which hold the fingerprint, come last.
    """
    whole = output / WHOLE
    present, fingerprint = [name for name in NAMES if (whole / name).is_file()], _fingerprint_in(whole)
    if present:
        with record_of(output).writing(*NAMES, made_of=fingerprint):
            if WEIGHTS[1] in present:
                for name in (WEIGHTS[1], *STATES):
                    (output / name).unlink(missing_ok=True)
            for name in present:
                (whole / name).replace(output / name)
    if whole.is_dir():
        (whole / RECORD).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other files are there
            whole.rmdir()
    if whole.is_dir() and not (output / FRESH).exists():
        whole.replace(output / FRESH)
    return fingerprint


def _looks_ours(path: Path) -> bool:
    """Whether a file of an earlier version's folder is what a training writes under its name."""
    if path.is_symlink() or not path.is_file():
        return False
    try:
        if path.suffix == ".safetensors":
            return bool(read_content(path)[1]["card"]["role"] == path.stem)
        if path.name in STATES:
            return is_state(path)
        if path.name == LOG:
            with path.open("rb") as stream:
                return is_log_line(stream.readline(1 << 16).decode())
        return path.stat().st_size < _SMALL and {"filterlens", "recipe"} <= set(read_json(path))
    except (FilterlensError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
