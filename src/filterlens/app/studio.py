# SPDX-License-Identifier: Apache-2.0
"""A pair with its found filters, kept in memory: everything that the app computes, without knowledge of the page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from filterlens.app.scene import Scene
from filterlens.data.images import write_image
from filterlens.data.photographs import photograph, square
from filterlens.degradations import parse_degradations
from filterlens.diagnosis.classify import Classifier, Verdict
from filterlens.diagnosis.found_filters import FoundFilters, filter_count, shipped_filters
from filterlens.diagnosis.overlap import cut_patches, input_magnitudes, overlap_scores, patch_corners
from filterlens.editing.dial import dialled
from filterlens.errors import FilterlensError, UsageError
from filterlens.execution.bounded import PictureSoFar, TileLimit, joined
from filterlens.execution.hardware import resolve_precision
from filterlens.execution.inexact_tiles import tiling_for_pictures
from filterlens.execution.tiled_network import TILE_LIVE
from filterlens.execution.tiling import Tiling
from filterlens.filters import ROWS, Selection
from filterlens.jobs.adapter import found_adapter
from filterlens.jobs.attribute import attribute_to_folder
from filterlens.jobs.classify import filters_of_run
from filterlens.jobs.pairs import RunPair, open_pair
from filterlens.metrics import psnr
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress

PERCENTS = (0.5, 1.0, 3.0, 5.0)
SHIPPED = "srresnet-x2"
DEGRADATIONS = ("blur:2", "noise:0.1")
SIDE = 192
SQUARES = (("astronaut", 20, 110), ("coffee", 60, 180))


@dataclass(frozen=True, eq=False)
class Explanation:
    """A verdict with its reasons.

    Attributes:
        verdict: Degradations of the input.
        thresholds: Degradation → smallest overlap at which it counts as present.
        percent: Share of the filters that the overlap compares.
        shares: Share of each filter in the change that fine-tuning made to this input, ``(filters,)`` float64 with
            the sum 1.
    """

    verdict: Verdict
    thresholds: Mapping[str, float]
    percent: float
    shares: Tensor


@dataclass(frozen=True, eq=False)
class Studio:
    """Answers every question of the app in one call.

    Attributes:
        pair: Baseline and target, on the device that computes.
        found: Rankings per degradation, with calibrations where there are any.
        precision: ``fp32`` or ``bf16``, for pictures.
        run: The run folder that the rankings come from; None where they ship with the pair.
        tile: Side in LR pixels of a square with as many pixels as the largest tile, halo included.
    """

    pair: ModelPair
    found: FoundFilters
    precision: str = "fp32"
    run: Path | None = None
    tile: int = TILE_LIVE

    @property
    def degradations(self) -> tuple[str, ...]:
        """The degradations whose filters are known."""
        return tuple(self.found.rankings)

    @property
    def percents(self) -> tuple[float, ...]:
        """The shares of the filters that the rankings allow."""
        held = min(len(ranking) for ranking in self.found.rankings.values())
        return tuple(each for each in PERCENTS if 1 <= filter_count(len(self.pair.space), each) <= held)

    def selections(self, percent: float) -> dict[str, Selection]:
        """Return the top ``percent`` % of the filters for every degradation; see :class:`FoundFilters`."""
        return self.found.selections(self.pair, percent)

    def restoring(self, scene: Scene, strengths: Mapping[str, float], percent: float) -> Iterator[PictureSoFar]:
        """Restore a scene with every function at its strength, tile by tile, so that the caller may stop in between.

        Args:
            scene: The scene to restore.
            strengths: Degradation → λ; 1 where it is not named.
            percent: Share of the filters that belong to each function.

        Yields:
            How far the picture is, after every tile.

        Raises:
            UsageError: The percentage is not possible, or a strength is not finite.
            FilterlensError: Out of memory, or the picture holds NaN or infinity.
        """
        dials = [(selection, strengths.get(name, 1.0)) for name, selection in self.selections(percent).items()]
        vector, image = dialled(self.pair, dials), scene.image.to(self.pair.dtype)

        @torch.no_grad()
        def run(window: Tensor) -> Tensor:
            return self.pair.run(vector, window, self.precision)

        for so_far in joined(self._limit.tiles(image), run, image):
            if so_far.picture is not None:
                check_finite(scene.name, so_far.picture)
            yield so_far

    @cached_property
    def _limit(self) -> TileLimit:
        return TileLimit(self.tile**2, lambda: self._tiling, self.pair.device)

    @cached_property
    def _tiling(self) -> Tiling | None:
        found = tiling_for_pictures(self.pair.on_images(self.pair.target), self.pair.scale, self.pair.channels_in)
        return found.tiling if found else None

    def explaining(self, scene: Scene) -> Iterator[Explanation | None]:
        """Say what a scene has and why; see :func:`explaining`."""
        return explaining(self._classifier, scene.image)

    @cached_property
    def _classifier(self) -> Classifier:
        """Judge with 1 % of the filters, and with calibrated thresholds where there are any."""
        percent = 1.0 if 1.0 in self.percents else self.percents[-1]
        thresholds = "calibrated" if percent in self.found.calibrations else "paper"
        return self.found.classifier(self.pair, percent, thresholds)

    def psnr(self, scene: Scene, picture: Tensor) -> float | None:
        """Return the PSNR of a result in dB (RGB, 8 bits, without a border of ``scale`` pixels), or None.

        None where the truth is not known.
        """
        if scene.truth is None:
            return None
        return float(psnr(picture, scene.truth, crop=self.pair.scale))

    def save_adapter(self, folder: Path, degradation: str, percent: float) -> Path:
        """Write the filters of one function as an adapter, unless that file is there already, and return its path.

        Raises:
            UsageError: No filters are known for that degradation.
        """
        if degradation not in self.degradations:
            raise UsageError(f"There are no filters for '{degradation}', only for {', '.join(self.degradations)}.")
        name = degradation.replace(":", "-").replace(",", "-").replace("=", "")
        path = folder / f"{self.pair.name or 'pair'}-{name}-{percent:g}-percent.safetensors"
        if not path.exists():
            shipped = None if self.run else self.pair.name
            code = self.pair.facts.get("architecture") if self.run else None
            found_adapter([degradation], percent, run=self.run, pair=shipped, reopening=RunPair(code)).save(path)
        return path


def explaining(classifier: Classifier, image: Tensor) -> Iterator[Explanation | None]:
    """Judge an input as :meth:`Classifier.classify` does, pausing after each patch so that the caller may stop.

    Args:
        classifier: With a reading that needs no ground truth.
        image: LR ``(1, 3, h, w)`` in [0, 1].

    Yields:
        None after every patch, and the explanation at last.

    Raises:
        UsageError: The image is too small.
        FilterlensError: The magnitudes are not finite or all zero.
    """
    pair, reading = classifier.pair, classifier.reading
    corners = patch_corners(image.shape[-2], image.shape[-1], most=reading.patches)
    total = torch.zeros(len(pair.space), dtype=torch.float64)
    for patch in cut_patches(image, corners):
        total += input_magnitudes(pair, patch.unsqueeze(0), None, reading)
        yield None
    shares = total / total.sum()
    scores = overlap_scores(shares, classifier.selections, classifier.percent)
    yield Explanation(classifier.judge(scores), dict(classifier.thresholds), classifier.percent, shares)


def check_finite(name: str, picture: Tensor) -> None:
    """Refuse a picture that is partly no picture.

    Args:
        name: The name of the image.
        picture: The output of the network, ``(1, 3, H, W)``.

    Raises:
        FilterlensError: It holds NaN or infinity; says in what share of the pixels.
    """
    share = 1 - picture.isfinite().all(1).double().mean().item()
    if share:
        raise FilterlensError(
            f"The network gives NaN or infinity for '{name}', in {100 * share:.3g} % of the pixels. Move the strengths "
            "towards 1, start the app with --precision fp32, or check the network's weights."
        )


def open_studio(
    *,
    pair: str | None = None,
    run: Path | None = None,
    baseline: Path | None = None,
    target: Path | None = None,
    architecture: str | None = None,
    linear: str = ROWS,
    degradations: Sequence[str] = (),
    scratch: Path,
    device: torch.device,
    precision: str = "fp32",
    progress: Progress = SILENT,
) -> Studio:
    """Load a pair and the filters of its functions.

    Args:
        pair: Name of a shipped pair, with its shipped rankings; the default is ``srresnet-x2``.
        run: Instead, a run folder of ``filterlens attribute``.
        baseline: Instead, a checkpoint, together with ``target``; the filters are found on two photographs that ship.
        target: The checkpoint after fine-tuning.
        architecture: The architecture of checkpoints that do not name it, or of a run of the user's own code.
        linear: Filters of linear layers in the checkpoints.
        degradations: With checkpoints, the degradations to find filters for; default: blur:2 and noise:0.1.
        scratch: A folder for what is found.
        device: The device that computes.
        precision: The precision of the pictures: ``fp32``, ``bf16`` or ``auto``.
        progress: The receiver of bars and notes.

    Raises:
        UsageError: The choices contradict each other, or a name is unknown.
        FilterlensError: A file is missing or damaged.
    """
    resolved = resolve_precision(precision, device)
    if sum(choice is not None for choice in (pair, run, baseline or target)) > 1:
        raise UsageError("Give one of --pair, --run, and --baseline with --target.")
    if degradations and baseline is None:
        raise UsageError("--degradation goes with --baseline and --target: shipped pairs and runs have their own.")
    if run is not None and linear != ROWS:
        raise UsageError("--linear is for your own checkpoints: a run knows its own.")
    if run is None and (baseline or target or architecture is not None or linear != ROWS):
        own = open_pair(None, baseline, target, architecture=architecture, linear=linear)
        run = scratch / "run"
        _find(own.to(device), run, degradations or DEGRADATIONS, progress)
    if run is not None:
        opened, found = filters_of_run(run, 1.0, device, reopening=RunPair(architecture), progress=progress)
        return Studio(opened, found, resolved, run)
    opened, found = shipped_filters(pair or SHIPPED, device)
    return Studio(opened, found, resolved)


def _find(pair: ModelPair, run: Path, degradations: Sequence[str], progress: Progress) -> None:
    """Rank the filters on squares of photographs that ship; enough to play with, too little to publish."""
    names = list(parse_degradations(degradations))
    progress.note(
        f"finding the filters for {' and '.join(names)} on {len(SQUARES)} photographs; --run uses a ranking of yours"
    )
    for name, top, left in SQUARES:
        write_image(run.parent / "images" / f"{name}.png", square(photograph(name), SIDE, top, left))
    attribute_to_folder(pair, run.parent / "images", names, run, allow_small=True, progress=progress)
