# SPDX-License-Identifier: Apache-2.0
"""The training job: a recipe and folders of images in, a pair out."""

import os
from collections.abc import Sequence
from pathlib import Path

from filterlens.data.images import list_images, read_image
from filterlens.errors import FilterlensError
from filterlens.files import write_json
from filterlens.hardware import resolve_device, resolve_precision
from filterlens.models.checkpoints import load_network
from filterlens.models.user_module import is_factory
from filterlens.progress import SILENT, Progress
from filterlens.training.baseline import check_baseline
from filterlens.training.recipe import Recipe, load_recipe
from filterlens.workflow.run_folder import provenance

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

    Args:
        recipe: The settings.
        images: Folders of HR training images.
        output: Folder for weights, log and checkpoints.
        validation: Folder of HR images for the PSNR; None holds out every 20th training image.
        baseline: Checkpoint of an existing network from which only the target is fine-tuned; None trains both.
        device: ``auto``, ``cpu``, ``cuda``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        fresh: Delete what ``output`` holds of an earlier training first.
        progress: Where bars and notes go.

    Returns:
        ``{"baseline": path, "target": path}``.
    """
    from filterlens.training.loop import train

    code = recipe.architecture if is_factory(recipe.architecture) else None
    given = None if baseline is None else load_network(baseline, code)
    if given is not None:
        check_baseline(given, recipe, output)  # before anything is deleted
    paths = [path for folder in images for path in list_images(folder)[0]]
    if validation is not None:
        held_out = list_images(validation)[0]
        held_out = held_out[:: max(1, len(held_out) // VALIDATION_IMAGES)]
    else:
        held_out = paths[::HELD_OUT_EVERY] if len(paths) >= HELD_OUT_EVERY else []
        paths = [path for path in paths if path not in set(held_out)]
        note = f"{len(held_out)} of the images are held out" if held_out else "too few images to hold any out"
        if leads_processes():
            progress.note(f"validation: {note} (--validation DIR takes others)")
    shared = {path.resolve() for path in paths} & {path.resolve() for path in held_out}
    if shared:
        raise FilterlensError(f"'{min(shared)}' is both a training and a validation image.")
    if not leads_processes():
        progress = SILENT
    if fresh and leads_processes():
        for file in ("baseline.safetensors", "target.safetensors", "baseline.state.pt", "target.state.pt", "log.jsonl"):
            (output / file).unlink(missing_ok=True)
    where = resolve_device(device)
    chosen = resolve_precision(precision, where)
    progress.note(f"{len(paths)} training images, {len(held_out)} for validation, {where}, {chosen}")
    names = ", ".join(f"{folder.name} ({len(list_images(folder)[0])})" for folder in images)
    with progress.bar("read images", len(paths) + len(held_out)) as bar:
        pixels = []
        for path in [*paths, *held_out]:
            pixels.append(read_image(path))
            bar.advance()
    if leads_processes():
        settings = {"recipe": recipe.model_dump(mode="json"), "images": names}
        source = {} if given is None else {"baseline": {"path": str(given.path), "sha256": given.sha256}}
        write_json(output / "train.json", provenance() | settings | source)
    return train(
        recipe,
        pixels[: len(paths)],
        output,
        validation=pixels[len(paths) :],
        device=where,
        precision=chosen,
        baseline=given,
        data=names,
        progress=progress,
    )
