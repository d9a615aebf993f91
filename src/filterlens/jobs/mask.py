# SPDX-License-Identifier: Apache-2.0
"""The proof: replace the found filters by the baseline's and measure own and cross damage."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from filterlens.attribution.methods import CONTROLS, image_free
from filterlens.attribution.protocol import protocol_named
from filterlens.attribution.random import Random
from filterlens.attribution.result import load_attributions
from filterlens.data.images import center_crop, to_uint8, write_image
from filterlens.data.samples import Images
from filterlens.degradations import Degradation
from filterlens.errors import FilterlensError, UsageError
from filterlens.evaluation.damage import Damage, Edit, Keeper, Quality, measure_damage
from filterlens.evaluation.function_distance import FUNCTION_DISTANCE, REFERENCE_DISTANCE
from filterlens.evaluation.summary import summarise_damage, summarise_quality
from filterlens.execution.hardware import resolve_precision
from filterlens.files import folder_lock, write_json
from filterlens.jobs.readable import readable
from filterlens.jobs.run_facts import MASK, PICTURES, mask_facts, picture_facts, require_run
from filterlens.jobs.run_folder import (
    DAMAGE,
    DAMAGE_PER_IMAGE,
    NETWORKS,
    SCORES,
    STAYED,
    Moved,
    provenance,
    reopen_pair,
    run_record,
    write_table,
)
from filterlens.metrics import specification
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress
from filterlens.record import Record, listed

HEADER = (
    "method", "percent", "masked", "input", "distance", "distance_reference", "psnr", "ssim", "removal", "preservation",
)  # fmt: skip
PICTURE_SIZE = 512
TABLES = (DAMAGE, DAMAGE_PER_IMAGE, NETWORKS, PICTURES, MASK)


def mask_to_folder(
    run: Path,
    images: Images,
    *,
    percents: Sequence[float] = (1, 3, 5, 10),
    pair: ModelPair | None = None,
    architecture: str | None = None,
    moved: Moved = STAYED,
    strict: bool = False,
    device: str = "cpu",
    precision: str = "fp32",
    controls: bool = True,
    pictures: int = 2,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Judge the rankings of a run folder on images, and write ``damage.csv`` and what belongs to it.

    Args:
        run: A folder that ``filterlens attribute`` made.
        images: HR images to judge on; best ones that were not used to find the filters.
        percents: How many of the filters to replace.
        pair: The run's pair, if it is loaded already.
        architecture: Of a run of the user's own code; see :func:`filterlens.jobs.run_folder.reopen_pair`.
        moved: Where the run's checkpoints lie now.
        strict: Let the first image that cannot be read end the job; else it is left out, and ``mask.json`` says so.
        device: Where to compute.
        precision: ``fp32`` by default: the judge rounds nothing away.
        controls: Add the methods that need no image (changes, random, layer-matched random).
        pictures: Of how many images pictures are kept.
        progress: Where bars and notes go.

    Returns:
        What ``mask.json`` holds.

    Raises:
        FilterlensError: No run folder, changed checkpoints, no readable image; or another job is at work there.
        UsageError: An illegal percentage or number of pictures.
    """
    if pictures < 0:
        raise UsageError(f"{pictures} pictures are not legal: a number from 0.")
    require_run(run)
    with folder_lock(run, "judging"):
        pair = (pair or reopen_pair(run, architecture, moved)).to(device)
        return _mask(run, images, percents, pair, strict, precision, controls, pictures, progress)


def _mask(
    run: Path,
    images: Images,
    percents: Sequence[float],
    pair: ModelPair,
    strict: bool,
    precision: str,
    controls: bool,
    pictures: int,
    progress: Progress,
) -> dict[str, Any]:
    started = time.monotonic()
    facts = require_run(run)
    settings = facts["settings"]
    record = run_record(run, "mask", [*TABLES, *_pictures_of(run)])
    record.check(TABLES)
    found = load_attributions(run / SCORES)
    if next(iter(found.values())).space != pair.space:
        raise FilterlensError(
            f"The scores in '{run}' are of another network than its pair. Run `filterlens attribute` again."
        )
    if controls:
        first = next(iter(found.values()))
        found = image_free(CONTROLS, pair, first.degradations, first, seed=settings.get("seed", 0)) | found
        found = dict(sorted(found.items(), key=lambda each: each[0] in CONTROLS))  # the run's own methods come first
    usable = readable(images, progress, strict=strict)
    samples, described = usable.samples, usable.described
    _note_replaced(run, described, progress)
    inputs = {name: Degradation.parse(name) for name in settings["degradations"]} | {"clean": Degradation()}
    selections = {
        Edit(method, percent, masked): each.select(masked, percent)
        for method, each in found.items()
        for percent in percents
        for masked in each.degradations
    }
    before = record.of_jobs("mask")
    keeper, kept = _keeper(
        record, next(iter(found)), min(percents), [image["name"] for image in described[:pictures]], pair.scale
    )
    protocol = protocol_named(settings.get("protocol", "default"))
    damages, qualities = measure_damage(
        pair,
        selections,
        samples,
        inputs,
        resampler=protocol.resampler,
        multiple=protocol.multiple,
        seed=settings.get("seed", 0),
        precision=resolve_precision(precision, pair.device),
        keeper=keeper,
        progress=progress,
    )
    facts_of_mask = provenance() | {
        "images": described,
        **usable.record,
        "held_out": _is_held_out(described, facts["images"]),
        "percents": list(percents),
        "methods": list(found),
        "metrics": f"distance: {FUNCTION_DISTANCE}; reference distance: {REFERENCE_DISTANCE}; "
        f"PSNR and SSIM: {specification(pair.scale)}; "
        "removal and preservation: squared distances of unrounded outputs, pooled over all images",
        "precision": precision,
        "seed": settings.get("seed", 0),
        "seconds": round(time.monotonic() - started, 2),
    }
    with record.writing(*TABLES):
        _write_tables(run, damages, qualities)
        write_json(run / PICTURES, kept)
        write_json(run / MASK, facts_of_mask)
    now = {*TABLES, *(entry["file"] for entry in kept)}
    record.remove(name for name in before if name not in now and record.is_ours(name))  # an earlier judging's pictures
    return facts_of_mask


def _note_replaced(run: Path, described: Sequence[dict[str, Any]], progress: Progress) -> None:
    """Say so where the tables of a judging on other images are about to be replaced."""
    try:
        before = [image["name"] for image in mask_facts(run)["images"]]
    except (FilterlensError, KeyError):
        return
    if before != [image["name"] for image in described]:
        progress.note(
            f"'{run / DAMAGE}', judged on {listed(before)}, is replaced; a report shows it until it is made again"
        )


def _pictures_of(run: Path) -> list[str]:
    """Name the pictures of an earlier judging."""
    try:
        return [entry["file"] for entry in picture_facts(run)]
    except FilterlensError:
        return []


def _keeper(
    record: Record, method: str, percent: float, images: Sequence[str], scale: int
) -> tuple[Keeper, list[dict[str, Any]]]:
    """Return who writes pictures at the smallest percentage, and the list that it fills.

    Kept are all edits of the first method, and the random control of each input's own degradation.
    """
    kept: list[dict[str, Any]] = []

    def keep(image: str, name: str, what: str, edit: Edit | None, pixels: Tensor) -> None:
        if image not in images or (edit is not None and edit.method != method and edit.masked != name):
            return
        label = what if edit is None else f"{edit.method}-{edit.masked}"
        folder = f"pictures/{_safe(name)}/{_safe(image)}"
        size = PICTURE_SIZE // scale if what == "input" else PICTURE_SIZE // scale * scale
        file = f"{folder}/{_safe(label)}.png"
        with record.writing(file):
            write_image(record.folder / file, center_crop(to_uint8(pixels), size))
        entry: dict[str, Any] = {
            "image": image,
            "input": name,
            "what": what,
            "masked": None,
            "method": None,
            "percent": None,
            "file": file,
        }
        if edit is not None:
            entry |= {"masked": edit.masked, "method": edit.method, "percent": edit.percent}
        kept.append(entry)

    return Keeper(lambda edit: edit.method in (method, Random.name) and edit.percent == percent, keep), kept


def _safe(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_.=" else "_" for letter in text)


def _is_held_out(judged: Sequence[dict[str, Any]], used: Sequence[dict[str, Any]]) -> bool:
    """Whether no judged image was used for finding; compared by file hash, or by name where there is no file."""
    known = {image.get("sha256", image["name"]) for image in used}
    return all(image.get("sha256", image["name"]) not in known for image in judged)


def _write_tables(run: Path, damages: Sequence[Damage], qualities: Sequence[Quality]) -> None:
    write_table(
        run / DAMAGE,
        HEADER,
        (
            (
                *each.edit,
                each.input,
                each.distance,
                each.distance_reference,
                each.psnr,
                each.ssim,
                each.removal,
                each.preservation,
            )
            for each in summarise_damage(damages)
        ),
    )
    write_table(
        run / DAMAGE_PER_IMAGE,
        (
            "method",
            "percent",
            "masked",
            "input",
            "image",
            "distance",
            "distance_reference",
            "psnr",
            "ssim",
            "residual",
            "scale",
        ),
        (
            (*d.edit, d.input, d.image, d.distance, d.distance_reference, d.psnr, d.ssim, d.residual, d.scale)
            for d in damages
        ),
    )
    rows = ((*key, *values) for key, values in summarise_quality(qualities).items())
    write_table(run / NETWORKS, ("network", "input", "psnr", "ssim"), rows)
