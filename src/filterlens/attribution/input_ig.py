# SPDX-License-Identifier: Apache-2.0
"""Integrated gradients over the input path, which the reference implementation compares with."""

from typing import Any

import torch
from torch import Tensor

from filterlens.attribution.method import DegradedImage, GradientMethod, Measurement, Method
from filterlens.attribution.path import over_inputs
from filterlens.attribution.quadrature import Quadrature
from filterlens.attribution.result import Attribution, as_scores
from filterlens.attribution.settings import AttributeSettings
from filterlens.data.samples import Images
from filterlens.degradations import Degradation
from filterlens.degradations.given import AnyDegradations
from filterlens.degradations.inputs import GivenPairs, Inputs
from filterlens.errors import UsageError
from filterlens.pair import ModelPair
from filterlens.showing.bars import AnyProgress, as_progress
from filterlens.work.store import NOTHING_KEPT, Step, Store


class InputIG(GradientMethod):
    r"""IG_i = \|∫₀¹ ∂ ΣF(θ, x(α))/∂θ_i dα\| while the input goes from the clean LR image to the degraded one.

    The gradient of the summed output is taken with respect to the *filters* of the target and is not multiplied by
    the input's change; \|·\| per weight, sum over the slice, mean over images. The baseline network is not used, and
    nothing is eliminated.

    Args:
        pair: Pair whose target is attributed.
        settings: All settings in one value; None takes ``given``.
        **given: Settings as keywords. ``quadrature``: a fixed rule; by default Gauss-Legendre with 8 nodes (under the
            protocol ``reference`` 100 nodes α = k/100). Also ``nodes``, ``protocol``, ``precision``, ``seed`` and
            ``memory``; see :class:`filterlens.attribution.settings.AttributeSettings`.
    """

    name = "ig"
    summary = "integrated gradients of the output while the input goes from clean to degraded (the paper's comparison)"
    takes = Method.takes | {"quadrature", "nodes"}
    rule: Quadrature

    def __init__(self, pair: ModelPair, settings: AttributeSettings | None = None, **given: Any) -> None:
        super().__init__(pair, settings, **given)
        rule = self.settings.rule(self.conventions.input_rule)
        assert isinstance(rule, Quadrature)
        self.rule = rule

    @classmethod
    def idle(cls, settings: AttributeSettings) -> set[str]:
        """Return the names of changed settings without effect here: adaptive nodes need a path of parameters."""
        return super().idle(settings) | ({"quadrature"} if settings.is_adaptive and settings.quadrature else set())

    def attribute(
        self,
        images: Images | Inputs | None = None,
        degradations: AnyDegradations = None,
        *,
        pairs: GivenPairs | None = None,
        progress: AnyProgress = False,
        store: Store = NOTHING_KEPT,
    ) -> Attribution:
        """Score every filter for each degradation; see :meth:`filterlens.attribution.method.Method.attribute`."""
        progress = as_progress(progress)
        inputs = self.inputs(images, degradations, pairs, progress)
        wanted = list(inputs.degradations)
        scores = torch.zeros(len(wanted), len(self.pair.space), dtype=torch.float64)
        for name, measured in self.measure_inputs(inputs, progress, store):
            scores[wanted.index(name)] += measured.magnitudes / len(inputs.samples[name])
        by_name = {name: as_scores(values, self.pair.dtype) for name, values in zip(wanted, scores, strict=True)}
        return Attribution(self.name, self.pair.space, by_name, self.record())

    def prepare(self, image: DegradedImage) -> tuple[Tensor, Tensor]:
        """Return the clean and the degraded LR input."""
        truth, lowered = self.example(image)
        with image.named():
            if truth is None:
                raise UsageError(f"{self.name} starts at the clean input, and this scene has no clean image.")
            clean = self.degraded(truth, Degradation())
            if clean.shape != lowered.shape:
                raise UsageError(
                    f"{self.name} starts at the clean input, which is {tuple(clean.shape)}, but the degraded one is "
                    f"{tuple(lowered.shape)}."
                )
            return clean, lowered

    def measure(self, image: DegradedImage, prepared: tuple[Tensor, Tensor], step: Step) -> Measurement:
        """Return the magnitudes for one image with one degradation."""
        with image.named():
            clean, degraded = prepared
            return Measurement(self.magnitudes(over_inputs(self.engine, clean, degraded, _total, self.rule, step)))

    def record(self, **more: Any) -> dict[str, Any]:
        """Return everything that decided the scores, for the record."""
        return super().record(quadrature=self.rule.rule, nodes=self.rule.nodes, **more)


def _total(output: Tensor, reference: Tensor) -> Tensor:
    return output.sum()
