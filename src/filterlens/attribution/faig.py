# SPDX-License-Identifier: Apache-2.0
"""Filter attribution integrated gradients, the paper's method."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from filterlens.attribution.adaptive import Adaptive
from filterlens.attribution.discriminate import CONTRASTS, discriminate
from filterlens.attribution.engine import Engine
from filterlens.attribution.method import IN_ORDER
from filterlens.attribution.objective import SquaredDistance
from filterlens.attribution.path import over_parameters, rounding_on_path
from filterlens.attribution.path_method import PathMethod
from filterlens.attribution.quadrature import Quadrature
from filterlens.attribution.result import Attribution, Completeness, as_scores
from filterlens.attribution.units import Measurement, Runner, Unit
from filterlens.data.samples import Images, as_samples
from filterlens.degradations import Degradation, parse_degradations
from filterlens.degradations.pipeline import CLEAN, Degradations
from filterlens.errors import UsageError, unknown
from filterlens.execution.hardware import widened
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress


class FAIG(PathMethod):
    r"""FAIG_i(θ, x) = ∫₀¹ ∂L(γ(α), x)/∂γ_i (θ_i − θ̄_i) dα on the straight path from baseline to target (equation 6).

    The integral is taken per weight, then \|·\| per weight, then the sum over the filter's slice; the mean over the
    images of what one degradation has more than the others is the score (equation 7, gradient elimination).

    Args:
        pair: Baseline and target.
        objective: What L is the squared distance to: ``truth`` (the paper), ``target`` or ``baseline``.
        quadrature: Default: the protocol's (nodes added to each image until its integral stands).
        eliminate: False scores a degradation by its own magnitudes alone ("FAIG without elimination").
        contrast: For K > 2 degradations: against the ``mean`` (default) or ``max`` of the others.
        **conditions: ``protocol``, ``precision``, ``seed``, ``memory``; see
            :class:`filterlens.attribution.method.Method`.
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
        quadrature: Quadrature | Adaptive | None = None,
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
        self,
        images: Images,
        degradations: Degradations,
        *,
        progress: Progress = SILENT,
        runner: Runner = IN_ORDER,
    ) -> Attribution:
        """Score every filter for each degradation; see :meth:`filterlens.attribution.method.Method.attribute`.

        With a single degradation its filters are discriminated against the clean input, and a note says so.
        """
        if self.eliminate:
            degradations = list(parse_degradations(degradations).values())
            refuse_clean_alone(map(str, degradations))
        both = self.attribute_both(images, degradations, progress=progress, runner=runner)
        return both[0] if self.eliminate else both[1]

    def attribute_both(
        self,
        images: Images,
        degradations: Degradations,
        *,
        progress: Progress = SILENT,
        runner: Runner = IN_ORDER,
    ) -> tuple[Attribution, Attribution]:
        """Return the scores with and without elimination from one pass."""
        wanted = parse_degradations(degradations)
        inputs = dict(wanted)
        if len(inputs) == 1 and "clean" not in inputs:
            inputs["clean"] = Degradation()
            progress.note(f"one degradation: '{next(iter(wanted))}' is discriminated against the clean input")
        samples = as_samples(images, progress.note)
        shape = (len(inputs), len(self.pair.space))
        own, scores = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
        completeness: list[Completeness] = []
        for measured in self.measure_images(samples, list(inputs.values()), progress, runner):
            stacked = torch.stack([each.magnitudes for each in measured])
            completeness += [each.completeness for each in measured if each.completeness is not None]
            own += stacked / len(samples)
            if len(inputs) > 1:
                scores += discriminate(stacked, self.contrast) / len(samples)
        make = partial(self._result, list(inputs), list(wanted), tuple(completeness))
        return make(self.name, scores), make(f"{self.name}-no-elimination", own)

    @property
    def passes(self) -> int:
        """How many gradients an image with one degradation usually takes."""
        return self.quadrature.nodes

    def prepare(self, unit: Unit) -> tuple[Tensor, ...]:
        """Return the ground truth and the degraded input."""
        truth = self.truth_of(unit.sample)
        return truth, self.degraded(truth, unit.degradation)

    def measure(self, unit: Unit, prepared: tuple[Tensor, ...], step: Callable[[], None]) -> Measurement:
        """Return the magnitudes of FAIG for one image with one degradation, nothing eliminated."""
        inputs, reference = prepared[1], self._reference(prepared, self.engine)
        found = over_parameters(self.engine, inputs, reference, self.objective.loss, self.quadrature, step)
        attributed = float(widened(found.contributions).sum())
        ends = found.loss_target, found.loss_baseline
        return Measurement(
            self.magnitudes(found.contributions),
            Completeness(unit.sample.name, str(unit.degradation), attributed, *ends, found.nodes, found.change),
        )

    def rounding_of(self, prepared: tuple[Tensor, ...], engines: Sequence[Engine]) -> float:
        """Return how much of the loss's change on the path is rounding of the first engine against the second."""
        reference = self._reference(prepared, engines[1])
        return rounding_on_path(engines[0], engines[1], prepared[1], reference, self.objective.loss)

    def _reference(self, prepared: tuple[Tensor, ...], engine: Engine) -> Tensor:
        """Return what the objective compares outputs with."""
        point = self.objective.network(self.pair)
        return prepared[0] if point is None else engine.output(point, prepared[1])

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return what decided the scores, for the record."""
        rule = self.quadrature
        detail = asdict(rule) if isinstance(rule, Adaptive) else {"nodes": rule.nodes}
        own = {"objective": self.objective.to, "quadrature": rule.rule, **detail, "contrast": self.contrast}
        return super().settings(**own, **more)

    def _result(
        self, inputs: list[str], wanted: list[str], completeness: tuple[Completeness, ...], name: str, scores: Tensor
    ) -> Attribution:
        by_name = {each: as_scores(scores[inputs.index(each)], self.pair.dtype) for each in wanted}
        return Attribution(name, self.pair.space, by_name, self.settings(contrasted_with=inputs), completeness)


def refuse_clean_alone(degradations: Iterable[str]) -> None:
    """Refuse to look for the filters of clean inputs where there is nothing to tell them from.

    Raises:
        UsageError: ``clean`` is the only degradation.
    """
    if list(degradations) == [CLEAN]:
        raise UsageError(f"'{CLEAN}' alone has nothing that its filters could be told from: name a degradation too.")
