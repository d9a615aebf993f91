# SPDX-License-Identifier: Apache-2.0
"""The re-training job: the found filters of a run folder, trained alone in the baseline."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from filterlens.attribution.result import Attribution, load_attributions
from filterlens.data.listing import find_images
from filterlens.degradations import Degradation
from filterlens.degradations.randomness import derive_seed
from filterlens.editing.low_rank import LowRank
from filterlens.editing.retrain import fingerprint_of, retrain, save_retrained
from filterlens.editing.retrain_settings import RetrainSettings
from filterlens.editing.trained_part import AllFilters, LastLayers, SelectedFilters, TrainedPart, weights_in
from filterlens.errors import FilterlensError, UsageError, unknown
from filterlens.execution.hardware import resolve_device, resolve_precision
from filterlens.files import check_writable, folder_lock, write_json
from filterlens.filters import FilterSpace, Selection
from filterlens.jobs.pairs import STAYED, Moved, reopen_pair
from filterlens.jobs.retrained_files import Place
from filterlens.jobs.train import HELD_OUT_EVERY
from filterlens.jobs.training_images import ReadImages, read_images, said_of
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress
from filterlens.record import check_output_folder
from filterlens.run.folder import SCORES, provenance, require_run
from filterlens.training.validation import CROP, psnr_per_degradation

WEIGHTS = "retrained.safetensors"
PARTS: dict[str, Callable[[Selection, int], TrainedPart]] = {
    "found": lambda found, _: SelectedFilters(found),
    "random": lambda found, seed: SelectedFilters(_random(found, seed)),
    "all": lambda _, __: AllFilters(),
    "last-layers": lambda found, _: LastLayers(weights_in(found)),
    "low-rank": lambda found, _: LowRank(weights_in(found)),
}


@dataclass(frozen=True, eq=False)
class HeldOut:
    """HR images to train on, and others that judge.

    Attributes:
        training: Paths of the training images.
        judging: Paths of the others; may be none.
    """

    training: list[Path]
    judging: list[Path]

    @classmethod
    def of(cls, images: Path, validation: Path | None) -> "HeldOut":
        """List the images; without a validation folder every 20th training image, from the first, is held out.

        Raises:
            FilterlensError: A folder is missing or empty, or an image is in both.
        """
        training = list(find_images(images).images)
        if validation is not None:
            judging = list(find_images(validation).images)
        else:
            judging = training[::HELD_OUT_EVERY] if len(training) > 1 else []
            training = [path for path in training if path not in set(judging)]
        shared = {path.resolve() for path in training} & {path.resolve() for path in judging}
        if shared:
            raise FilterlensError(f"'{min(shared)}' is both a training and a validation image.")
        return cls(training, judging)


def retrain_to_folder(
    run: Path,
    settings: RetrainSettings,
    images: Path,
    *,
    percent: float = 1.0,
    part: str = "found",
    found_for: str | None = None,
    validation: Path | None = None,
    output: Path | None = None,
    architecture: str | None = None,
    moved: Moved = STAYED,
    device: str = "auto",
    precision: str = "auto",
    fresh: bool = False,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Re-train filters of a run's baseline and measure what it brought; goes on where a killed one stopped.

    An image that cannot be read is left out; the JSON lists it.

    Args:
        run: Run folder of ``filterlens attribute``; its first method's ranking is used.
        settings: On what, how long; see :func:`filterlens.editing.retrain_settings.settings_for`.
        images: Folder of HR training images.
        percent: Share of the filters.
        part: ``found``, or at the same number of weights ``random``, ``last-layers``, ``low-rank``; or ``all``.
        found_for: Degradation whose filters are trained; by default the one that they are trained on.
        validation: Folder of HR images for the PSNR; None holds out every 20th training image.
        output: A ``.safetensors`` file, or a folder for ``retrained.safetensors``; by default the run folder.
        architecture: Of a run of the user's own code; see :func:`filterlens.jobs.pairs.reopen_pair`.
        moved: Where the run's checkpoints lie now.
        device: ``auto``, ``cpu``, ``cuda``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        fresh: Start over, and replace an earlier result when the new one is whole; killed before, it goes on.
        progress: Where bars and notes go.

    Returns:
        What is also written as JSON beside the weights: part, settings, losses, PSNR of the baseline, the re-trained
        network and the target, with provenance.

    Raises:
        UsageError: An illegal setting, or ``output`` holds another re-training.
        FilterlensError: No run folder, unreadable or too small images, or the loss diverged.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("A re-training runs in one process. Start it without torchrun or accelerate launch.")
    require_run(run)
    path = _weights_path(output or run)
    check_writable(path.parent)
    pair = reopen_pair(run, architecture, moved)
    trained = _part(run, part, found_for or _name(settings), percent, settings.seed)
    where = resolve_device(device)
    chosen = resolve_precision(precision, where)
    held_out = HeldOut.of(images, validation)
    with folder_lock(path.parent, "re-training", path.name):
        place = Place(path)
        training, judging = read_images(held_out.training, held_out.judging, progress, chosen=validation is not None)
        fingerprint = fingerprint_of(pair, trained, settings, training.pixels, chosen)
        finished = place.begin(fingerprint, fresh)
        if finished is not None:
            progress.note(f"already trained, {path}")
            return finished
        judge = _Judge(pair, settings, judging, where)
        progress.note(f"{len(training.paths)} training images, {len(judging.paths)} for the PSNR, {where}, {chosen}")
        psnr = judge.of_pair()  # first, so that images which cannot be degraded stop no finished training
        began = time.monotonic()
        with place.writing(fingerprint):
            result = retrain(
                pair,
                trained,
                settings,
                training.pixels,
                state=place.state,
                device=where,
                precision=chosen,
                names=training.names,
                fingerprint=fingerprint,
                progress=progress,
            )
            seconds = round(time.monotonic() - began, 1)
            psnr["retrained"] = judge.psnr(result.parameters)
            record = {
                **provenance(),
                "run": str(run),
                **result.card(),
                "losses": result.losses,
                "psnr": psnr,
                "training_images": {"folder": str(images), "count": len(training.paths)},
                "judged_on": judging.names,
                **said_of(training, judging),
                "seconds": seconds,
                "weights": str(path),
            }
            save_retrained(path, pair, result, {"psnr": psnr, "training_images": record["training_images"]})
            write_json(path.with_suffix(".json"), record)
            place.drop_states()  # last: whoever finds no state finds a whole result
    return record


class _Judge:
    """Measures networks of a pair on held-out images."""

    def __init__(self, pair: ModelPair, settings: RetrainSettings, images: ReadImages, where: torch.device) -> None:
        self._pair, self._settings, self._images, self._where = pair, settings, images, where
        own = Degradation.parse(_name(settings))
        self._degradations = {str(own): own, str(Degradation()): Degradation()}

    def of_pair(self) -> dict[str, dict[str, float]]:
        return {"baseline": self.psnr(self._pair.baseline), "target": self.psnr(self._pair.target)}

    def psnr(self, parameters: Tensor) -> dict[str, float]:
        """Return input → mean PSNR in dB of the images' centres; nothing without images."""
        if not self._images.pixels:
            return {}
        return psnr_per_degradation(
            self._pair.network(parameters).to(self._where),
            self._images.pixels,
            self._degradations,
            scale=self._pair.scale,
            resampler=self._settings.resampler,
            seed=self._settings.seed,
            crop=CROP,
            names=self._images.names,
        )


def _name(settings: RetrainSettings) -> str:
    """Write the degradation that every patch suffers."""
    return "+".join(effect for effect, _ in settings.degradations) or str(Degradation())


def _part(run: Path, part: str, found_for: str, percent: float, seed: int) -> TrainedPart:
    if part not in PARTS:
        raise unknown("part to train", part, PARTS)
    ranking: Attribution = next(iter(load_attributions(run / SCORES).values()))
    found = ranking.select(found_for, percent)
    if not len(found):
        raise UsageError(
            f"{percent:g} % of {len(ranking.space)} filters is no filter, so there is nothing to train. "
            f"Give --percent {106 / len(ranking.space):.2g} or more."  # 6 % more than one filter survive the rounding
        )
    return PARTS[part](found, seed)


def _random(found: Selection, seed: int) -> Selection:
    """Draw as many filters as were found."""
    space: FilterSpace = found.space
    generator = torch.Generator().manual_seed(derive_seed(seed, "random filters"))
    return Selection(space, torch.randperm(len(space), generator=generator)[: len(found)], "random")


def _weights_path(output: Path) -> Path:
    """Return the file of the result.

    Raises:
        UsageError: The path names a file or a folder of another kind.
    """
    path = output if output.suffix == ".safetensors" else output / WEIGHTS
    if path.is_dir():
        raise UsageError(f"Output '{output}' is a folder, and its name is that of a .safetensors file.")
    if output.suffix in (".pth", ".pt", ".ckpt", ".json"):
        raise UsageError(f"Output '{output}' is neither a .safetensors file nor a folder.")
    check_output_folder(path.parent)
    return path
