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
from filterlens.data.samples import Images, as_samples
from filterlens.degradations import Degradation
from filterlens.errors import FilterlensError
from filterlens.evaluation.damage import Damage, Edit, Keeper, Quality, measure_damage
from filterlens.evaluation.function_distance import FUNCTION_DISTANCE, REFERENCE_DISTANCE
from filterlens.evaluation.image_metrics import specification
from filterlens.evaluation.summary import summarise_damage, summarise_quality
from filterlens.files import write_json
from filterlens.hardware import resolve_precision
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress
from filterlens.workflow.run_folder import (
    DAMAGE,
    DAMAGE_PER_IMAGE,
    MASK,
    NETWORKS,
    PICTURES,
    SCORES,
    provenance,
    reopen_pair,
    require_run,
    write_table,
)

HEADER = (
    "method", "percent", "masked", "input", "distance", "distance_reference", "psnr", "ssim", "removal", "preservation",
)  # fmt: skip
PICTURE_SIZE = 512


def mask_to_folder(
    run: Path,
    images: Images,
    *,
    percents: Sequence[float] = (1, 3, 5, 10),
    pair: ModelPair | None = None,
    architecture: str | None = None,
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
        architecture: Of a run of the user's own code; see :func:`filterlens.workflow.run_folder.reopen_pair`.
        device: Where to compute.
        precision: ``fp32`` by default: the judge rounds nothing away.
        controls: Add the methods that need no image (changes, random, layer-matched random).
        pictures: Of how many images pictures are kept.
        progress: Where bars and notes go.

    Returns:
        What ``mask.json`` holds.

    Raises:
        FilterlensError: No run folder, changed checkpoints, unreadable images.
    """
    started = time.monotonic()
    facts = require_run(run)
    settings = facts["settings"]
    pair = (pair or reopen_pair(run, architecture)).to(device)
    found = load_attributions(run / SCORES)
    if next(iter(found.values())).space != pair.space:
        raise FilterlensError(
            f"The scores in '{run}' are of another network than its pair. Run `filterlens attribute` again."
        )
    if controls:
        first = next(iter(found.values()))
        found = image_free(CONTROLS, pair, first.degradations, first, seed=settings["seed"]) | found
        found = dict(sorted(found.items(), key=lambda each: each[0] in CONTROLS))  # the run's own methods come first
    samples = as_samples(images)
    described = [sample.provenance() for sample in samples]
    inputs = {name: Degradation.parse(name) for name in settings["degradations"]} | {"clean": Degradation()}
    selections = {
        Edit(method, percent, masked): each.select(masked, percent)
        for method, each in found.items()
        for percent in percents
        for masked in each.degradations
    }
    keeper, kept = _keeper(
        run, next(iter(found)), min(percents), [image["name"] for image in described[:pictures]], pair.scale
    )
    protocol = protocol_named(settings["protocol"])
    damages, qualities = measure_damage(
        pair,
        selections,
        samples,
        inputs,
        resampler=protocol.resampler,
        multiple=protocol.multiple,
        seed=settings["seed"],
        precision=resolve_precision(precision, pair.device),
        keeper=keeper,
        progress=progress,
    )
    _write_tables(run, damages, qualities)
    write_json(run / PICTURES, kept)
    record = provenance() | {
        "images": described,
        "held_out": _is_held_out(described, facts["images"]),
        "percents": list(percents),
        "methods": list(found),
        "metrics": f"distance: {FUNCTION_DISTANCE}; reference distance: {REFERENCE_DISTANCE}; "
        f"PSNR and SSIM: {specification(pair.scale)}; "
        "removal and preservation: squared distances of unrounded outputs, pooled over all images",
        "precision": precision,
        "seed": settings["seed"],
        "seconds": round(time.monotonic() - started, 2),
    }
    write_json(run / MASK, record)
    return record


def _keeper(
    run: Path, method: str, percent: float, images: Sequence[str], scale: int
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
        write_image(run / file, center_crop(to_uint8(pixels), size))
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
