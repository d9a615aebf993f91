# SPDX-License-Identifier: Apache-2.0
"""The proof: replace the found filters with the baseline's and measure own and cross damage."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from filterlens.attribution.image_free import Random
from filterlens.attribution.method import channels_of
from filterlens.attribution.methods import CONTROLS, image_free
from filterlens.attribution.result import Attribution, load_attributions
from filterlens.attribution.settings import AttributeSettings
from filterlens.data.images import center_crop, to_uint8, write_image
from filterlens.data.samples import Images
from filterlens.degradations import AnyDegradation, Degradation
from filterlens.degradations.given import OneDegradation
from filterlens.degradations.inputs import GivenPairs
from filterlens.degradations.pipeline import CLEAN
from filterlens.errors import FilterlensError
from filterlens.evaluation.damage import Keeper
from filterlens.evaluation.damage_table import damage
from filterlens.evaluation.function_distance import FUNCTION_DISTANCE, REFERENCE_DISTANCE
from filterlens.evaluation.settings import MaskSettings
from filterlens.files import folder_lock, write_json
from filterlens.jobs.inputs import UsableInputs, recorded_degradations, require_plugins, usable_inputs
from filterlens.jobs.pairs import AS_IT_LAY, RunPair
from filterlens.metrics import specification
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress
from filterlens.record import Record, listed
from filterlens.run.facts import KeptPicture
from filterlens.run.folder import (
    DAMAGE,
    DAMAGE_PER_IMAGE,
    MASK,
    NETWORKS,
    PICTURES,
    SCORES,
    mask_facts,
    pictures_of,
    provenance,
    require_run,
    run_record,
)
from filterlens.run.rows import write_rows
from filterlens.run.tables import Damage, DamageSummary, Edit, NetworkQuality

PICTURE_SIZE = 512
TABLES = (DAMAGE, DAMAGE_PER_IMAGE, NETWORKS, PICTURES, MASK)


@dataclass(frozen=True)
class Judging:
    """The results of a judging.

    Attributes:
        facts: Content of ``mask.json``.
        damage: The rows of ``damage.csv``.
    """

    facts: dict[str, Any]
    damage: Sequence[DamageSummary]


def mask_to_folder(
    run: Path,
    images: Images | None,
    settings: MaskSettings | None = None,
    *,
    pairs: GivenPairs | None = None,
    degradations: Mapping[str, OneDegradation] | None = None,
    pair: ModelPair | None = None,
    reopening: RunPair = AS_IT_LAY,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> Judging:
    """Judge the rankings of a run folder on images, and write ``damage.csv`` and what belongs to it.

    Args:
        run: A folder that ``filterlens attribute`` made.
        images: Clean HR images to judge on; best ones that were not used to find the filters. None where all
            degradations of the run are given as pairs.
        settings: Settings of the judging; see :class:`MaskSettings`.
        pairs: Name → pairs to judge on, for degradations of the run that were given as pairs, or any other.
        degradations: Name → function, for degradations of the run that are functions of the user's.
        pair: The run's pair, if it is loaded already.
        reopening: New paths of the run's checkpoints and the user's own code, where the folder cannot know them.
        device: Device to compute on.
        progress: Receiver of bars and notes.

    Raises:
        FilterlensError: No run folder, changed checkpoints, no readable image; or another job is at work there.
    """
    require_run(run)
    with folder_lock(run, "judging"):
        opened = (pair or reopening.open(run)).to(device)
        asked = _Asked(images, degradations or {}, pairs or {})
        return _mask(run, asked, settings or MaskSettings(), opened, progress)


@dataclass(frozen=True)
class _Asked:
    """What to judge on, as the user gave it."""

    images: Images | None
    own: Mapping[str, OneDegradation]
    pairs: GivenPairs

    def inputs(
        self, run: Path, about: Mapping[str, Any], pair: ModelPair, progress: Progress, *, strict: bool
    ) -> UsableInputs:
        """Read the inputs of the degradations of a run, of which ``about`` is ``run.json``, and clean ones."""
        require_plugins(about.get("plugins", []), str(run), progress.note)
        ranked = about["settings"]
        names, said = ranked["degradations"], ranked.get("inputs", {})
        made: dict[str, AnyDegradation] = recorded_degradations(names, said, self.own, self.pairs, str(run))
        if self.images is not None:
            made.setdefault(CLEAN, Degradation())
        channels = channels_of(pair, ranked.get("channels"))
        usable = usable_inputs(self.images, made or None, self.pairs, channels, progress, strict=strict)
        return UsableInputs(usable.inputs.with_clean().only([*names, CLEAN]), usable.described, usable.left_out)


def _mask(run: Path, asked: _Asked, settings: MaskSettings, pair: ModelPair, progress: Progress) -> Judging:
    started = time.monotonic()
    facts = require_run(run)
    ranked = facts["settings"]
    decided = {name: ranked[name] for name in ("seed", "protocol", "channels") if name in ranked}
    made_with = AttributeSettings.of(decided, str(run))
    record = run_record(run, "mask", [*TABLES, *_pictures_of(run)])
    record.check(TABLES)
    found = _rankings(run, pair, made_with, settings.controls)
    usable = asked.inputs(run, facts, pair, progress, strict=settings.strict)
    _note_replaced(run, usable.described, progress)
    before = record.of_jobs("mask")
    pictured = {each.name for samples in usable.inputs.samples.values() for each in samples[: settings.pictures]}
    keeper, kept = _keeper(record, next(iter(found)), min(settings.percents), pictured, pair.scale)
    judged = damage(
        pair,
        found,
        usable.inputs,
        percent=settings.percents,
        protocol=made_with.protocol,
        seed=made_with.seed,
        precision=settings.precision,
        keeper=keeper,
        progress=progress,
    )
    judging = Judging(
        provenance()
        | {
            "images": usable.described,
            **usable.record,
            "held_out": _is_held_out(usable.described, facts["images"]),
            "percents": list(settings.percents),
            "methods": list(found),
            "metrics": f"distance: {FUNCTION_DISTANCE}; reference distance: {REFERENCE_DISTANCE}; "
            f"PSNR and SSIM: {specification(pair.scale)}; "
            "removal and preservation: squared distances of unrounded outputs, pooled over all images",
            "precision": settings.precision,
            "seed": made_with.seed,
            "seconds": round(time.monotonic() - started, 2),
        },
        judged.rows,
    )
    with record.writing(*TABLES):
        write_rows(run / DAMAGE, DamageSummary, judging.damage)
        write_rows(run / DAMAGE_PER_IMAGE, Damage, judged.images)
        write_rows(run / NETWORKS, NetworkQuality, judged.networks)
        write_json(run / PICTURES, [picture.model_dump() for picture in kept])
        write_json(run / MASK, judging.facts)
    now = {*TABLES, *(picture.file for picture in kept)}
    record.remove(name for name in before if name not in now and record.is_ours(name))  # an earlier judging's pictures
    return judging


def _rankings(run: Path, pair: ModelPair, made_with: AttributeSettings, controls: bool) -> dict[str, Attribution]:
    """Return the run's rankings by method, and after them those of the controls."""
    found = load_attributions(run / SCORES)
    first = next(iter(found.values()))
    if first.space != pair.space:
        raise FilterlensError(
            f"The scores in '{run}' are of another network than its pair. Run `filterlens attribute` again."
        )
    if not controls:
        return found
    found = image_free(CONTROLS, pair, first.degradations, first, made_with) | found
    return dict(sorted(found.items(), key=lambda each: each[0] in CONTROLS))


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
        return [picture.file for picture in pictures_of(run)]
    except FilterlensError:
        return []


def _keeper(
    record: Record, method: str, percent: float, images: Collection[str], scale: int
) -> tuple[Keeper, list[KeptPicture]]:
    """Return who writes pictures at the smallest percentage, and the list that it fills.

    Kept are all edits of the first method, and the random control of each input's own degradation.
    """
    kept: list[KeptPicture] = []

    def keep(image: str, name: str, what: str, edit: Edit | None, pixels: Tensor) -> None:
        if image not in images or (edit is not None and edit.method != method and edit.masked != name):
            return
        label = what if edit is None else f"{edit.method}-{edit.masked}"
        file = f"pictures/{_safe(name)}/{_safe(image)}/{_safe(label)}.png"
        size = PICTURE_SIZE // scale if what == "input" else PICTURE_SIZE // scale * scale
        with record.writing(file):
            write_image(record.folder / file, center_crop(to_uint8(_in_colours(pixels)), size))
        kept.append(KeptPicture(image=image, input=name, what=what, file=file, **(edit._asdict() if edit else {})))

    return Keeper(lambda edit: edit.method in (method, Random.name) and edit.percent == percent, keep), kept


def _in_colours(pixels: Tensor) -> Tensor:
    """Return ``(1, c, h, w)`` as RGB: of gray ones three equal channels, of more than three the first three."""
    return pixels.expand(-1, 3, -1, -1) if pixels.shape[1] == 1 else pixels[:, :3]


def _safe(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_.=" else "_" for letter in text)


def _is_held_out(judged: Sequence[dict[str, Any]], used: Sequence[dict[str, Any]]) -> bool:
    """Whether no judged image was used for finding; compared by file hash, or by name where there is no file."""
    known = {image.get("sha256", image["name"]) for image in used}
    return all(image.get("sha256", image["name"]) not in known for image in judged)
