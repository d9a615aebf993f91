# SPDX-License-Identifier: Apache-2.0
"""The classification job: degradations of a folder of images, by the filters of a shipped pair or a run folder."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from filterlens.attribution.method import channels_of
from filterlens.attribution.result import Attribution, load_attributions
from filterlens.data.images import read_image, to_float
from filterlens.data.listing import find_images
from filterlens.data.usable import LeftOut, failure_of
from filterlens.degradations.given import OneDegradation
from filterlens.degradations.inputs import GivenPairs
from filterlens.degradations.pipeline import CLEAN
from filterlens.diagnosis.calibration import Calibration, calibrate_on_images
from filterlens.diagnosis.classify import Classifier, Verdict
from filterlens.diagnosis.found_filters import FoundFilters, filter_count, load_found_filters, save_found_filters
from filterlens.diagnosis.overlap import MOST_PATCHES
from filterlens.errors import FilterlensError
from filterlens.files import sha256_of
from filterlens.filters import ranking
from filterlens.jobs.calibration import GONE, CalibrationImages, Given, calibration_images
from filterlens.jobs.pairs import AS_IT_LAY, RunPair
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress
from filterlens.record import Record
from filterlens.run.folder import SCORES, require_run
from filterlens.work.ahead import ahead

PERCENTS = (0.5, 1.0, 2.0, 3.0, 5.0)
CACHE = "classify.safetensors"
CALIBRATION_PATCHES = 16  # of a run's own images, each with every degradation: 64 readings for two degradations


@dataclass(frozen=True)
class Classified:
    """The result for one image: a verdict, or why there is none.

    Attributes:
        path: The image's file.
        verdict: None where it failed.
        left_out: Why it failed.
        seconds: From the image in memory to its verdict.
    """

    path: Path
    verdict: Verdict | None
    left_out: LeftOut | None = None
    seconds: float = 0.0


def filters_of_run(
    run: Path,
    percent: float,
    device: torch.device,
    *,
    reopening: RunPair = AS_IT_LAY,
    calibrated: bool = True,
    pairs: GivenPairs | None = None,
    degradations: Mapping[str, OneDegradation] | None = None,
    progress: Progress = SILENT,
) -> tuple[ModelPair, FoundFilters]:
    """Load the pair and rankings of a run folder, calibrated on the run's own images if these are still there.

    The calibration is kept in the run folder (``classify.safetensors``) and used again while the scores are the same,
    and the pairs where some are given.

    Args:
        run: A folder of ``filterlens attribute``.
        percent: Share of the filters that must be calibrated.
        device: Device to compute on.
        reopening: New paths of the run's checkpoints and the user's own code, where the folder cannot know them.
        calibrated: Whether a calibration is wanted; without one the paper's thresholds remain.
        pairs: Name → pairs to calibrate on, for degradations of the run; default: the run's own.
        degradations: Name → function, for degradations of the run that are functions of the user's.
        progress: Receiver of the bar and notes.

    Raises:
        FilterlensError: No run folder, or what it needs has changed; or given images cannot be read.
        UsageError: What is given does not belong to the run, or the percentage is not possible.
    """
    facts = require_run(run)
    pair = reopening.open(run).to(device)
    attributions = load_attributions(run / SCORES)
    found = rankings_of(attributions.get("faig") or next(iter(attributions.values())))
    found.selections(pair, percent)  # an impossible percentage is reported before the work
    if not calibrated:
        return pair, found
    channels = channels_of(pair, facts["settings"].get("channels"))
    given = Given.of(pairs, degradations, channels, progress.note)
    origin = {"scores": sha256_of(run / SCORES)} | ({"given": given.digest()} if given else {})
    kept = _kept_calibration(run / CACHE, pair, origin, percent)
    if kept is not None:
        with contextlib.suppress(FilterlensError):  # the folder cannot be written
            Record(run, "classify").settle([CACHE])
        return pair, FoundFilters(found.rankings, kept.calibrations, kept.provenance)
    try:
        images = calibration_images(run, facts, given, channels)
    except FilterlensError as error:
        if given:
            raise
        progress.note(str(error) if str(error) == GONE else f"Nothing is calibrated: {error}")
        return pair, found
    tables = _calibrate(pair, found, percent, images, facts["settings"], progress)
    complete = FoundFilters(found.rankings, tables, origin | {"images": [each.name for each in images.clean]})
    _keep(run / CACHE, complete, pair, progress)
    return pair, complete


def _calibrate(
    pair: ModelPair,
    found: FoundFilters,
    percent: float,
    images: CalibrationImages,
    settings: Mapping[str, Any],
    progress: Progress,
) -> dict[float, dict[str, Calibration]]:
    possible = [each for each in sorted({*PERCENTS, percent}) if filter_count(len(pair.space), each)]
    used = images.first(CALIBRATION_PATCHES)
    return calibrate_on_images(
        pair,
        {each: found.selections(pair, each) for each in possible},
        used.clean,
        known=used.degradations,
        patches=min(MOST_PATCHES, CALIBRATION_PATCHES // used.most),
        seed=settings["seed"],
        resampler=settings["resampler"],
        progress=progress,
    )


def rankings_of(attribution: Attribution, most: float = 100.0) -> FoundFilters:
    """Return the rankings of an attribution, cut after ``most`` % of the filters; ``clean`` is no degradation."""
    count = filter_count(len(attribution.space), most)
    names = [name for name in attribution.degradations if name != CLEAN]
    return FoundFilters({name: ranking(attribution.scores[name])[:count] for name in names})


def classify_images(
    source: Path,
    classifier: Classifier,
    progress: Progress = SILENT,
    *,
    strict: bool = False,
    recursive: bool = False,
) -> list[Classified]:
    """Classify every image of a folder, or one image; an image that fails does not stop the others, unless strict.

    Args:
        source: LR images, as the network would get them.
        classifier: Says what they have.
        progress: Receiver of the bar and notes.
        strict: Stop at the first image that cannot be used.
        recursive: Also the images of subfolders.

    Raises:
        FilterlensError: The folder is missing or holds no image, or (strict) an image cannot be used.
    """
    listing = find_images(source, recursive=recursive)
    for note in listing.notes:
        progress.note(note)
    results = []
    with progress.bar("classify", len(listing.images)) as bar:
        for path, image in ahead(listing.images, lambda path: _read(path, progress)):
            results.append(_classify_one(path, image, classifier, strict))
            bar.advance()
    return results


def _classify_one(path: Path, image: Tensor | FilterlensError, classifier: Classifier, strict: bool) -> Classified:
    began = time.perf_counter()
    try:
        if isinstance(image, FilterlensError):
            raise image
        (verdict,) = classifier.classify(to_float(image))
    except Exception as error:
        failure = failure_of(error, path)
        if strict:
            raise failure from error
        return Classified(path, None, LeftOut(path.name, str(failure), str(path)))
    return Classified(path, verdict, seconds=time.perf_counter() - began)


def _read(path: Path, progress: Progress) -> Tensor | FilterlensError:
    try:
        return read_image(path, progress.note)
    except Exception as error:
        return failure_of(error, path)


def _kept_calibration(path: Path, pair: ModelPair, origin: Mapping[str, str], percent: float) -> FoundFilters | None:
    try:
        kept = load_found_filters(path, pair)
    except FilterlensError:
        return None
    same = all(kept.provenance.get(key) == value for key, value in origin.items())
    return kept if same and percent in kept.calibrations else None


def _is_calibration(path: Path) -> bool:
    """Whether a file holds what found filters are written with, whatever pair they belong to."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return "filterlens" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def _keep(path: Path, found: FoundFilters, pair: ModelPair, progress: Progress) -> None:
    """Write the calibration without rankings next to the scores; a folder that cannot be written is no error."""
    try:
        record = Record(path.parent, "classify")
        if _is_calibration(path):
            record.adopt([path.name])  # of an earlier version, which kept no record
        with record.writing(path.name):
            save_found_filters(path, FoundFilters({}, found.calibrations, found.provenance), pair)
    except FilterlensError as error:
        progress.note(f"The calibration is not kept: {error}")
