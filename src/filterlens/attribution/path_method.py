# SPDX-License-Identifier: Apache-2.0
"""What the methods that integrate gradients share: units of work, the engine, and the check of its precision."""

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from filterlens.attribution.adaptive import Adaptive
from filterlens.attribution.engine import Engine
from filterlens.attribution.method import Method
from filterlens.attribution.path import TOP, top_filters
from filterlens.attribution.quadrature import Quadrature
from filterlens.attribution.units import Measurement, Runner, Unit
from filterlens.data.images import center_crop
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.pair import ModelPair
from filterlens.progress import Progress

CHECK_SIDE = 64  # LR pixels of the crop on which precisions are compared
CHECK_NODES = Quadrature("gauss-legendre", 3)
LEAST_OVERLAP = 0.97
MOST_ROUNDING = 2.0  # times the tolerance: beyond it no number of nodes makes the integral stand


class PathMethod(Method):
    """A method whose scores come from gradients of single images with single degradations."""

    quadrature: Quadrature | Adaptive

    def __init__(self, pair: ModelPair, **conditions: Any) -> None:
        super().__init__(pair, **conditions)
        self.overlap_with_fp32: float | None = None
        self.rounding: float | None = None
        self.engine = self._engine(self.precision, lambda text: None)

    @property
    @abstractmethod
    def passes(self) -> int:
        """How many gradients an image with one degradation usually takes."""

    @abstractmethod
    def prepare(self, unit: Unit) -> tuple[Tensor, ...]:
        """Read and degrade."""

    @abstractmethod
    def measure(self, unit: Unit, prepared: tuple[Tensor, ...], step: Callable[[], None]) -> Measurement:
        """Compute the magnitudes of one image with one degradation."""

    def rounding_of(self, prepared: tuple[Tensor, ...], engines: Sequence[Engine]) -> float:
        """Return how much of the loss's change on the path is rounding of the first engine against the second."""
        return 0.0

    def measure_images(
        self, samples: Sequence[Sample], degradations: Sequence[Degradation], progress: Progress, runner: Runner
    ) -> Iterator[list[Measurement]]:
        """Yield the measurements of one image after the other, one per degradation."""
        self._settle_precision(samples[0], degradations, progress, runner)
        units = [Unit(sample, degradation) for sample in samples for degradation in degradations]
        stream = runner.measurements(self, units, progress)
        for _ in samples:
            yield [next(stream) for _ in degradations]
        next(stream, None)  # lets the stream close its bar

    def magnitudes(self, contributions: Tensor) -> Tensor:
        r"""Sum \|·\| of a flat vector over each filter's slice: ``(filters,)`` float64 on the CPU."""
        return self.pair.pool(contributions.abs()).to("cpu", torch.float64)

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return what decided the scores, for the record."""
        known = {"overlap_with_fp32": self.overlap_with_fp32, "rounding_of_bf16": self.rounding}
        checked = {name: value for name, value in known.items() if value is not None}
        return super().settings(**checked, **more)

    def _settle_precision(
        self, sample: Sample, degradations: Sequence[Degradation], progress: Progress, runner: Runner
    ) -> None:
        """Compare bfloat16 with float32 on a crop of one image, and fall back where the ranking would differ.

        Also where adaptive nodes would chase its rounding: what a pass rounds off differs from node to node.
        """
        self.engine = self._engine(self.precision, progress.note)
        if not self.may_fall_back or self.precision == "fp32":
            return
        overlap = float(runner.agree(f"{self.name}-precision", lambda: str(self._overlap(sample, degradations))))
        self.overlap_with_fp32 = overlap
        if overlap < LEAST_OVERLAP:
            self._fall_back(
                progress,
                f"on '{sample.name}' the top {TOP:.0%} in {self.precision} overlaps with that in fp32 by only "
                f"{overlap:.1%}",
            )
        elif isinstance(self.quadrature, Adaptive):
            rounding = float(runner.agree(f"{self.name}-rounding", lambda: str(self._rounding(sample, degradations))))
            if rounding > MOST_ROUNDING * self.quadrature.tolerance:
                self.rounding = rounding
                self._fall_back(
                    progress,
                    f"on '{sample.name}' {self.precision} rounds the loss by {rounding:.1%} of its change on the path, "
                    f"with a tolerance of {self.quadrature.tolerance:g}",
                )

    def _fall_back(self, progress: Progress, reason: str) -> None:
        progress.note(f"warning: {reason}: computing in fp32")
        self.precision = "fp32"
        self.engine = self._engine(self.precision, progress.note)

    def _overlap(self, sample: Sample, degradations: Sequence[Degradation]) -> float:
        """Return the smallest overlap of the top filters in this precision with those in float32, on a crop."""
        overlaps = []
        for unit in self._crops(sample, degradations):
            tops = []
            for precision in (self.precision, "fp32"):
                trial = copy.copy(self)
                trial.quadrature, trial.engine = CHECK_NODES, self._engine(precision, lambda text: None)
                tops.append(top_filters(trial.measure(unit, self.prepare(unit), lambda: None).magnitudes))
            overlaps.append(float((tops[0] & tops[1]).sum() / tops[0].sum()))
        return min(overlaps)

    def _rounding(self, sample: Sample, degradations: Sequence[Degradation]) -> float:
        """Return the largest share of the loss's change that is rounding in this precision, on a crop."""
        engines = [self._engine(precision, lambda text: None) for precision in (self.precision, "fp32")]
        return max(self.rounding_of(self.prepare(unit), engines) for unit in self._crops(sample, degradations))

    def _crops(self, sample: Sample, degradations: Sequence[Degradation]) -> list[Unit]:
        multiple = math.lcm(self.pair.scale, self.protocol.multiple)
        side = max(multiple, CHECK_SIDE * self.pair.scale // multiple * multiple)
        crop = Sample(sample.name, lambda: center_crop(self.truth_of(sample), side).cpu())
        return [Unit(crop, degradation) for degradation in degradations]

    def _engine(self, precision: str, note: Callable[[str], None]) -> Engine:
        memory = None if self.memory is None else self.memory * 2**30
        return Engine(self.pair, precision, memory=memory, note=note)
