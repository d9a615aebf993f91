# SPDX-License-Identifier: Apache-2.0
"""Filter attribution integrated gradients, the paper's method."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from filterlens.attribution.discriminate import CONTRASTS, discriminate
from filterlens.attribution.gradients import integrate
from filterlens.attribution.method import Method
from filterlens.attribution.objective import SquaredDistance
from filterlens.attribution.path import parameter_path
from filterlens.attribution.quadrature import Quadrature
from filterlens.attribution.result import Attribution, Completeness, as_scores
from filterlens.data.samples import Images, as_samples
from filterlens.degradations import Degradation, parse_degradations
from filterlens.errors import unknown
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress


class FAIG(Method):
    r"""FAIG_i(θ, x) = ∫₀¹ ∂L(γ(α), x)/∂γ_i (θ_i − θ̄_i) dα on the straight path from baseline to target (equation 6).

    The integral is taken per weight, then \|·\| per weight, then the sum over the filter's slice; the mean over the
    images of what one degradation has more than the others is the score (equation 7, gradient elimination).

    Args:
        pair: Baseline and target.
        objective: What L is the squared distance to: ``truth`` (the paper), ``target`` or ``baseline``.
        quadrature: Default: the protocol's (Gauss-Legendre with 24 nodes).
        eliminate: False scores a degradation by its own magnitudes alone ("FAIG without elimination").
        contrast: For K > 2 degradations: against the ``mean`` (default) or ``max`` of the others.
        **conditions: ``protocol``, ``precision``, ``seed``; see :class:`filterlens.attribution.method.Method`.
    """

    name = "faig"
    summary = (
        "integrated gradients on the path from baseline to target, less what other degradations use too (the paper)"
    )
    default_quadrature: Quadrature | None = None

    def __init__(
        self,
        pair: ModelPair,
        *,
        objective: str | SquaredDistance = "truth",
        quadrature: Quadrature | None = None,
        eliminate: bool = True,
        contrast: str = "mean",
        **conditions: Any,
    ) -> None:
        super().__init__(pair, **conditions)
        if contrast not in CONTRASTS:
            raise unknown("contrast", contrast, CONTRASTS)
        self.objective = SquaredDistance(objective) if isinstance(objective, str) else objective
        self.quadrature = quadrature or self.default_quadrature or self.protocol.parameter_quadrature
        self.eliminate = eliminate
        self.contrast = contrast

    def attribute(
        self, images: Images, degradations: Sequence[str | Degradation], *, progress: Progress = SILENT
    ) -> Attribution:
        """Score every filter for each degradation; see :meth:`filterlens.attribution.method.Method.attribute`.

        With a single degradation its filters are discriminated against the clean input, and a note says so.
        """
        with_elimination, without = self.attribute_both(images, degradations, progress=progress)
        return with_elimination if self.eliminate else without

    def attribute_both(
        self, images: Images, degradations: Sequence[str | Degradation], *, progress: Progress = SILENT
    ) -> tuple[Attribution, Attribution]:
        """Return the scores with and without elimination from one pass."""
        wanted = parse_degradations(degradations)
        inputs = dict(wanted)
        if len(inputs) == 1 and "clean" not in inputs:
            inputs["clean"] = Degradation()
            progress.note(f"one degradation: '{next(iter(wanted))}' is discriminated against the clean input")
        samples = as_samples(images)
        shape = (len(inputs), len(self.pair.space))
        own, scores = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
        completeness: list[Completeness] = []
        with progress.bar(self.name, len(samples) * len(inputs) * self.quadrature.nodes) as bar:
            for sample in samples:
                bar.describe(f"{self.name}, {sample.name}")
                truth = self.truth_of(sample)
                magnitudes = []
                for name, degradation in inputs.items():
                    contribution, entry = self._contribution(truth, self.degraded(truth, degradation), bar.advance)
                    magnitudes.append(self.pair.pool(contribution.abs()).to("cpu", torch.float64))
                    completeness.append(Completeness(sample.name, name, *entry))
                stacked = torch.stack(magnitudes)
                own += stacked / len(samples)
                if len(inputs) > 1:
                    scores += discriminate(stacked, self.contrast) / len(samples)
        make = partial(self._result, list(inputs), list(wanted), tuple(completeness))
        return make(self.name, scores), make(f"{self.name}-no-elimination", own)

    def _contribution(
        self, truth: Tensor, inputs: Tensor, step: Callable[[], None]
    ) -> tuple[Tensor, tuple[float, float, float]]:
        """Return FAIG per weight (flat), and (attributed sum, L(θ), L(θ̄))."""
        pair = self.pair
        reference = self.objective.reference(pair, truth, inputs)
        loss = partial(self.objective.loss, reference=reference)
        integrated = integrate(parameter_path(pair, inputs, loss, self.precision), self.quadrature, step)
        contribution = integrated * pair.change
        with torch.no_grad():
            ends = [float(loss(pair.run(vector, inputs)).double()) for vector in (pair.target, pair.baseline)]
        return contribution, (float(contribution.double().sum()), ends[0], ends[1])

    def _result(
        self, inputs: list[str], wanted: list[str], completeness: tuple[Completeness, ...], name: str, scores: Tensor
    ) -> Attribution:
        settings = self.settings(
            objective=self.objective.to,
            quadrature=self.quadrature.rule,
            nodes=self.quadrature.nodes,
            contrast=self.contrast,
            contrasted_with=inputs,
        )
        by_name = {each: as_scores(scores[inputs.index(each)], self.pair.dtype) for each in wanted}
        return Attribution(name, self.pair.space, by_name, settings, completeness)
