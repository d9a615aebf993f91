# SPDX-License-Identifier: Apache-2.0
"""The training job: a recipe and folders of images in, a pair out."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filterlens.data.listing import find_images
from filterlens.errors import FilterlensError
from filterlens.execution.hardware import resolve_device, resolve_precision
from filterlens.files import check_writable, folder_lock, write_json
from filterlens.jobs.training_folder import FRESH, NAMES, SETTINGS, place_of, record_of, take_place
from filterlens.jobs.training_images import read_images, said_of
from filterlens.models.checkpoints import load_network
from filterlens.models.user_module import is_factory
from filterlens.progress import SILENT, Progress
from filterlens.record import check_output_folder
from filterlens.run.folder import provenance
from filterlens.training.recipe import Recipe, load_recipe
from filterlens.training.trainer import check_baseline
from filterlens.work.processes import processes_of_this_job

HELD_OUT_EVERY = 20
VALIDATION_IMAGES = 10


def leads_processes() -> bool:
    """Whether this is the process that writes and speaks, among those that ``torchrun`` started."""
    return os.environ.get("RANK", "0") == "0"


def recipe_from(start: Path, recipe: str, *, architecture: str | None, scale: int | None, seed: int | None) -> Recipe:
    """Return the recipe for a target of a given network: architecture and scale are the network's.

    Args:
        start: The checkpoint.
        recipe: Name or file of the recipe whose stages are taken.
        architecture: Of the checkpoint, where it cannot be read off it.
        scale: As the user knows it.
        seed: Instead of the recipe's.

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
    validation: Path | None = None,
    baseline: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    fresh: bool = False,
    progress: Progress = SILENT,
) -> dict[str, Path]:
    """Train the pair of a recipe; goes on where a killed run stopped.

    An image that cannot be read is left out; ``train.json`` lists it.

    Args:
        recipe: The settings.
        images: Folders of HR training images.
        output: Folder for weights, log and checkpoints.
        validation: Folder of HR images for the PSNR; None holds out every 20th training image.
        baseline: Checkpoint of an existing network from which only the target is fine-tuned; None trains both.
        device: ``auto``, ``cpu``, ``cuda``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        fresh: Train anew in the folder ``fresh`` inside ``output``, and replace what ``output`` holds of an earlier
            training when the new one is whole; killed before, it goes on there.
        progress: Where bars and notes go.

    Returns:
        ``{"baseline": path, "target": path}``.

    Raises:
        FilterlensError: Another process trains in ``output``, it cannot be written or holds files that are not ours,
            or no image can be read.
    """
    from filterlens.training.memory import demand_of
    from filterlens.training.trainer import fingerprint_of, train

    code = recipe.architecture if is_factory(recipe.architecture) else None
    given = None if baseline is None else load_network(baseline, code)
    if given is not None:
        for folder in (output, output / FRESH):
            check_baseline(given, recipe, folder)
    paths = [path for folder in images for path in find_images(folder).images]
    held_out = _held_out(paths, validation)
    if validation is None:
        paths = [path for path in paths if path not in set(held_out)]
        note = f"{len(held_out)} of the images are held out" if held_out else "too few images to hold any out"
        if leads_processes():
            progress.note(f"validation: {note} (--validation DIR takes others)")
    shared = {path.resolve() for path in paths} & {path.resolve() for path in held_out}
    if shared:
        raise FilterlensError(f"'{min(shared)}' is both a training and a validation image.")
    where = resolve_device(device)
    chosen = resolve_precision(precision, where)
    processes = processes_of_this_job()
    demand_of(recipe, processes.size, None if given is None else given.network).check(where)
    with contextlib.ExitStack() as held:
        if leads_processes():
            check_output_folder(output)
            check_writable(output)
            held.enter_context(folder_lock(output, "training"))
            record_of(output)
        else:
            progress = SILENT
        progress.note(f"{len(paths)} training images, {len(held_out)} for validation, {where}, {chosen}")
        training, judging = read_images(paths, held_out, progress, chosen=validation is not None)
        names = ", ".join(f"{folder.name} ({len(find_images(folder).images)})" for folder in images)
        fingerprint = fingerprint_of(recipe, processes.size, chosen, given, training.pixels)
        place = Path(processes.agree("training folder", lambda: str(place_of(output, fingerprint, fresh))))
        said = {"recipe": recipe.model_dump(mode="json"), "images": names, **said_of(training, judging)}
        said |= {} if given is None else {"baseline": {"path": str(given.path), "sha256": given.sha256}}
        writing = _Writing(place, fingerprint, said)
        with writing:
            train(
                recipe,
                training.pixels,
                place,
                validation=judging.pixels,
                device=where,
                precision=chosen,
                baseline=given,
                data=names,
                names=[*training.names, *judging.names],
                fingerprint=fingerprint,
                on_begin=writing.begin,
                progress=progress,
            )
        if place != output and leads_processes():
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


def _held_out(paths: Sequence[Path], validation: Path | None) -> list[Path]:
    """Return the images for the PSNR: some of the validation folder, or every 20th training image."""
    if validation is None:
        return list(paths[::HELD_OUT_EVERY]) if len(paths) >= HELD_OUT_EVERY else []
    every = list(find_images(validation).images)
    return every[:: max(1, len(every) // VALIDATION_IMAGES)]
