# SPDX-License-Identifier: Apache-2.0
"""Integrated gradients over the input path, as the reference implementation compares against."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from filterlens.attribution.method import IN_ORDER
from filterlens.attribution.path import over_inputs
from filterlens.attribution.path_method import PathMethod
from filterlens.attribution.quadrature import Quadrature
from filterlens.attribution.result import Attribution, as_scores
from filterlens.attribution.units import Measurement, Runner, Unit
from filterlens.data.samples import Images, as_samples
from filterlens.degradations import Degradation, parse_degradations
from filterlens.degradations.pipeline import Degradations
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress


class InputIG(PathMethod):
    r"""IG_i = \|∫₀¹ ∂ ΣF(θ, x(α))/∂θ_i dα\| while the input goes from the clean LR image to the degraded one.

    The gradient of the summed output is taken with respect to the *filters* of the target and is not multiplied by
    the input's change; \|·\| per weight, sum over the slice, mean over images. The baseline network plays no part, and
    nothing is eliminated.

    Args:
        pair: Its target is attributed.
        quadrature: Default: the protocol's (Gauss-Legendre with 8 nodes; reference: 100 nodes α = k/100).
        **conditions: ``protocol``, ``precision``, ``seed``, ``memory``; see
            :class:`filterlens.attribution.method.Method`.
    """

    name = "ig"
    summary = "integrated gradients of the output while the input goes from clean to degraded (the paper's comparison)"
    quadrature: Quadrature

    def __init__(self, pair: ModelPair, *, quadrature: Quadrature | None = None, **conditions: Any) -> None:
        super().__init__(pair, **conditions)
        self.quadrature = quadrature or self.protocol.input_quadrature

    def attribute(
        self,
        images: Images,
        degradations: Degradations,
        *,
        progress: Progress = SILENT,
        runner: Runner = IN_ORDER,
    ) -> Attribution:
        """Score every filter for each degradation; see :meth:`filterlens.attribution.method.Method.attribute`."""
        wanted = parse_degradations(degradations)
        samples = as_samples(images, progress.note)
        scores = torch.zeros(len(wanted), len(self.pair.space), dtype=torch.float64)
        for measured in self.measure_images(samples, list(wanted.values()), progress, runner):
            scores += torch.stack([each.magnitudes for each in measured]) / len(samples)
        by_name = {name: as_scores(values, self.pair.dtype) for name, values in zip(wanted, scores, strict=True)}
        return Attribution(self.name, self.pair.space, by_name, self.settings())

    @property
    def passes(self) -> int:
        """How many gradients an image with one degradation takes."""
        return self.quadrature.nodes

    def prepare(self, unit: Unit) -> tuple[Tensor, ...]:
        """Return the clean and the degraded LR input."""
        truth = self.truth_of(unit.sample)
        return self.degraded(truth, Degradation()), self.degraded(truth, unit.degradation)

    def measure(self, unit: Unit, prepared: tuple[Tensor, ...], step: Callable[[], None]) -> Measurement:
        """Return the magnitudes for one image with one degradation."""
        clean, degraded = prepared
        return Measurement(self.magnitudes(over_inputs(self.engine, clean, degraded, _total, self.quadrature, step)))

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return what decided the scores, for the record."""
        return super().settings(quadrature=self.quadrature.rule, nodes=self.quadrature.nodes, **more)


def _total(output: Tensor, reference: Tensor) -> Tensor:
    return output.sum()
