# SPDX-License-Identifier: Apache-2.0
"""Integrated gradients over the input path, as the reference implementation compares against."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from filterlens.attribution.gradients import integrate
from filterlens.attribution.method import Method
from filterlens.attribution.path import input_path
from filterlens.attribution.quadrature import Quadrature
from filterlens.attribution.result import Attribution, as_scores
from filterlens.data.samples import Images, as_samples
from filterlens.degradations import Degradation, parse_degradations
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress


class InputIG(Method):
    r"""IG_i = \|∫₀¹ ∂ ΣF(θ, x(α))/∂θ_i dα\| while the input goes from the clean LR image to the degraded one.

    The gradient of the summed output is taken with respect to the *filters* of the target and is not multiplied by
    the input's change; \|·\| per weight, sum over the slice, mean over images. The baseline network plays no part, and
    nothing is eliminated.

    Args:
        pair: Its target is attributed.
        quadrature: Default: the protocol's (Gauss-Legendre with 8 nodes; reference: 100 nodes α = k/100).
        **conditions: ``protocol``, ``precision``, ``seed``; see :class:`filterlens.attribution.method.Method`.
    """

    name = "ig"
    summary = "integrated gradients of the output while the input goes from clean to degraded (the paper's comparison)"

    def __init__(self, pair: ModelPair, *, quadrature: Quadrature | None = None, **conditions: Any) -> None:
        super().__init__(pair, **conditions)
        self.quadrature = quadrature or self.protocol.input_quadrature

    def attribute(
        self, images: Images, degradations: Sequence[str | Degradation], *, progress: Progress = SILENT
    ) -> Attribution:
        """Score every filter for each degradation; see :meth:`filterlens.attribution.method.Method.attribute`."""
        wanted = parse_degradations(degradations)
        samples = as_samples(images)
        scores = {name: torch.zeros(len(self.pair.space), dtype=torch.float64) for name in wanted}
        with progress.bar(self.name, len(samples) * len(wanted) * self.quadrature.nodes) as bar:
            for sample in samples:
                bar.describe(f"{self.name}, {sample.name}")
                truth = self.truth_of(sample)
                clean = self.degraded(truth, Degradation())
                for name, degradation in wanted.items():
                    path = input_path(self.pair, clean, self.degraded(truth, degradation), _total, self.precision)
                    integrated = integrate(path, self.quadrature, bar.advance)
                    scores[name] += self.pair.pool(integrated.abs()).to("cpu", torch.float64) / len(samples)
        settings = self.settings(quadrature=self.quadrature.rule, nodes=self.quadrature.nodes)
        by_name = {name: as_scores(values, self.pair.dtype) for name, values in scores.items()}
        return Attribution(self.name, self.pair.space, by_name, settings)


def _total(output: Tensor) -> Tensor:
    return output.sum()
