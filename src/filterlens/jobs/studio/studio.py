# SPDX-License-Identifier: Apache-2.0
"""A pair with its found filters, kept warm: every question of the app is one call."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from filterlens.diagnosis.classify import Classifier
from filterlens.diagnosis.found_filters import FoundFilters, filter_count
from filterlens.editing.dial import dialled
from filterlens.errors import UsageError
from filterlens.execution.near_tiling import tiling_for_pictures
from filterlens.execution.tiling import Tiling
from filterlens.filters import Selection
from filterlens.jobs.adapter_export import found_adapter
from filterlens.jobs.studio.explanation import Explanation, explaining
from filterlens.jobs.studio.restoration import Step, check_finite, restoring
from filterlens.jobs.studio.scene import Scene
from filterlens.metrics import psnr
from filterlens.pair import ModelPair

PERCENTS = (0.5, 1.0, 3.0, 5.0)


@dataclass(frozen=True, eq=False)
class Studio:
    """What the app asks.

    Attributes:
        pair: Baseline and target, on the device that computes.
        found: Rankings per degradation, with calibrations where there are any.
        precision: ``fp32`` or ``bf16``, for pictures.
        run: The run folder that the rankings come from; None where they ship with the pair.
    """

    pair: ModelPair
    found: FoundFilters
    precision: str = "fp32"
    run: Path | None = None

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

    def restoring(self, scene: Scene, strengths: Mapping[str, float], percent: float) -> Iterator[Step]:
        """Restore a scene with every function at its strength, step by step.

        Args:
            scene: What is restored.
            strengths: Degradation → λ; 1 where it is not named.
            percent: Share of the filters that belong to each function.

        Raises:
            UsageError: The percentage is not possible, or a strength is not finite.
            FilterlensError: Out of memory, or the picture holds NaN or infinity.
        """
        dials = [(selection, strengths.get(name, 1.0)) for name, selection in self.selections(percent).items()]
        vector = dialled(self.pair, dials)
        for step in restoring(self.pair, vector, scene.image, lambda: self._tiling, precision=self.precision):
            if step.picture is not None:
                check_finite(scene.name, step.picture)
            yield step

    @cached_property
    def _tiling(self) -> Tiling | None:
        found = tiling_for_pictures(self.pair.network(self.pair.target), self.pair.scale)
        return found.tiling if found else None

    def explaining(self, scene: Scene) -> Iterator[Explanation | None]:
        """Say what a scene has and why; see :func:`filterlens.jobs.studio.explanation.explaining`."""
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
            found_adapter([degradation], percent, run=self.run, pair=shipped, architecture=code).save(path)
        return path
