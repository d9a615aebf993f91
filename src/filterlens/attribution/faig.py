# SPDX-License-Identifier: Apache-2.0
"""Filter attribution integrated gradients, the paper's method, and two methods from a single gradient."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from filterlens.attribution.engine import Engine
from filterlens.attribution.method import DegradedImage, GradientMethod, Measurement, Method
from filterlens.attribution.objectives import SquaredDistance as SquaredDistance
from filterlens.attribution.path import over_parameters, require_gradient, rounding_on_path
from filterlens.attribution.quadrature import Adaptive, Quadrature
from filterlens.attribution.result import Attribution, Completeness, as_scores
from filterlens.attribution.settings import AttributeSettings, Rule
from filterlens.data.samples import Images
from filterlens.degradations.given import AnyDegradations
from filterlens.degradations.inputs import Example, GivenPairs, Inputs
from filterlens.degradations.pipeline import CLEAN
from filterlens.errors import UsageError, unknown
from filterlens.execution.hardware import widened
from filterlens.pair import ModelPair
from filterlens.showing.bars import AnyProgress, as_progress
from filterlens.work.store import NOTHING_KEPT, Step, Store

CONTRASTS = ("mean", "max")


def discriminate(magnitudes: Tensor, contrast: str = "mean") -> Tensor:
    """Subtract from each degradation's magnitudes those of the other degradations (paper, equation 7).

    Args:
        magnitudes: |FAIG| of one image, ``(K, filters)`` for K ≥ 2 degradations.
        contrast: ``mean`` or ``max`` of the other degradations. The paper defines K = 2, where both equal the other
            one, and the two rankings are exact negatives.

    Returns:
        Differences ``(K, filters)``; positive where a filter serves that degradation more than the others.
    """
    if contrast not in CONTRASTS:
        raise unknown("contrast", contrast, CONTRASTS)
    kinds = len(magnitudes)
    others = torch.stack([magnitudes[[j for j in range(kinds) if j != k]] for k in range(kinds)])  # (K, K-1, filters)
    return magnitudes - (others.mean(1) if contrast == "mean" else others.amax(1))


class FAIG(GradientMethod):
    r"""FAIG_i(θ, x) = ∫₀¹ ∂L(γ(α), x)/∂γ_i (θ_i − θ̄_i) dα on the straight path from baseline to target (equation 6).

    The integral is taken per weight, then \|·\| per weight, then the sum over the filter's slice; the mean over the
    images of the excess over the other degradations is the score (equation 7, gradient elimination).

    Args:
        pair: Baseline and target.
        settings: All settings in one value; None takes ``given``.
        eliminate: Whether other degradations are subtracted; False scores by a degradation's own magnitudes alone
            ("FAIG without elimination").
        **given: Settings as keywords. ``objective``: reference of the distance L: ``truth`` (the paper), ``target`` or
            ``baseline``; or L itself: an :class:`~filterlens.attribution.objectives.Objective`, or any function
            (output, reference) → scalar. ``loss``: L by name, ``squared`` (the paper), ``l1``, ``charbonnier``,
            ``psnr`` or ``lpips``. ``quadrature``: a rule; by default nodes are added to each image until its
            integral is exact enough. ``contrast``: with K > 2 degradations, the ``mean`` (default) or ``max`` of the
            others is subtracted. Also ``nodes``, ``tolerance``, ``protocol``, ``precision``, ``seed`` and ``memory``;
            see :class:`filterlens.attribution.settings.AttributeSettings`.
    """

    name = "faig"
    summary = (
        "integrated gradients on the path from baseline to target, less what other degradations use too (the paper)"
    )
    takes = Method.takes | {"objective", "loss", "contrast", "quadrature", "nodes", "tolerance"}

    def __init__(
        self, pair: ModelPair, settings: AttributeSettings | None = None, *, eliminate: bool = True, **given: Any
    ) -> None:
        super().__init__(pair, settings, **given)
        self.objective = self.settings.attributed
        self.rule = self._rule()
        self.eliminate = eliminate

    def _rule(self) -> Rule:
        return self.settings.rule(self.conventions.parameter_rule)

    def attribute(
        self,
        images: Images | Inputs | None = None,
        degradations: AnyDegradations = None,
        *,
        pairs: GivenPairs | None = None,
        progress: AnyProgress = False,
        store: Store = NOTHING_KEPT,
    ) -> Attribution:
        """Score every filter for each degradation; see :meth:`filterlens.attribution.method.Method.attribute`.

        With a single degradation its filters are discriminated against the clean input, and a note says so.
        """
        progress = as_progress(progress)
        inputs = self.inputs(images, degradations, pairs, progress)
        if self.eliminate:
            refuse_clean_alone(inputs.degradations)
        both = self.attribute_both(inputs, progress=progress, store=store)
        return both[0] if self.eliminate else both[1]

    def attribute_both(
        self,
        images: Images | Inputs | None = None,
        degradations: AnyDegradations = None,
        *,
        pairs: GivenPairs | None = None,
        progress: AnyProgress = False,
        store: Store = NOTHING_KEPT,
    ) -> tuple[Attribution, Attribution]:
        """Return the scores with and without elimination from one pass."""
        progress = as_progress(progress)
        inputs = self.inputs(images, degradations, pairs, progress)
        wanted = list(inputs.degradations)
        if len(wanted) == 1 and CLEAN not in wanted:
            inputs = inputs.with_clean()
            progress.note(f"one degradation: '{wanted[0]}' is discriminated against the clean input")
        if store.processes.size > 1 and "process" in self.objective.facts:
            raise UsageError(
                f"The objective '{self.objective}' uses what cannot be hashed, so several processes cannot share its "
                "results. Use one process, or a function of plain values, tensors and modules."
            )
        totals = _Totals(list(inputs.degradations), len(self.pair.space), self.settings.contrast)
        completeness: list[Completeness] = []
        if inputs.are_shared:
            count = len(next(iter(inputs.samples.values())))
            for measured in self.measure_images(inputs, progress, store):
                completeness += [each.completeness for each in measured if each.completeness is not None]
                totals.add_image(torch.stack([each.magnitudes for each in measured]), count)
        else:
            for name, each in self.measure_inputs(inputs, progress, store):
                completeness += [each.completeness] if each.completeness is not None else []
                totals.add(name, each.magnitudes / len(inputs.samples[name]))
            totals.compare(
                {name: fmean(sample.pixels() for sample in samples) for name, samples in inputs.samples.items()}
            )
        make = partial(self._result, list(inputs.degradations), wanted, tuple(completeness))
        return make(self.name, totals.scores), make(f"{self.name}-no-elimination", totals.own)

    def prepare(self, image: DegradedImage) -> Example:
        """Return the ground truth and the degraded input."""
        return self.example(image)

    def measure(self, image: DegradedImage, prepared: Example, step: Step) -> Measurement:
        """Return the magnitudes of FAIG for one image with one degradation, nothing eliminated."""
        with image.named():
            inputs, reference = prepared.lowered, self._reference(prepared, self.engine)
            found = over_parameters(self.engine, inputs, reference, self.objective, self.rule, step)
            attributed = float(widened(found.contributions).sum())
            ends = found.loss_target, found.loss_baseline
            return Measurement(
                self.magnitudes(found.contributions),
                Completeness(image.sample.name, image.input, attributed, *ends, found.nodes, found.change),
            )

    def rounding_of(self, prepared: Example, engines: Sequence[Engine]) -> float:
        """Return the share of the loss's change on the path that is rounding of the first engine against the second."""
        reference = self._reference(prepared, engines[1])
        return rounding_on_path(engines[0], engines[1], prepared.lowered, reference, self.objective)

    def _reference(self, prepared: Example, engine: Engine) -> Tensor:
        """Return the image that the objective compares outputs with."""
        point = self.objective.network(self.pair)
        if point is not None:
            return engine.output(point, prepared.lowered)
        if prepared.truth is None:
            raise UsageError(
                "there is no clean image of this scene, which the objective compares with. Give it, or compare with "
                "the target's output: objective='target' (--objective target)."
            )
        return prepared.truth

    def record(self, **more: Any) -> dict[str, Any]:
        """Return everything that decided the scores, for the record."""
        rule = self.rule
        detail = asdict(rule) if isinstance(rule, Adaptive) else {"nodes": rule.nodes}
        detail |= {} if type(self.objective) is SquaredDistance else {"loss": self.objective.facts}
        own = {"objective": self.objective.to, "quadrature": rule.rule, **detail, "contrast": self.settings.contrast}
        return super().record(**own, **more)

    def _result(
        self, inputs: list[str], wanted: list[str], completeness: tuple[Completeness, ...], name: str, scores: Tensor
    ) -> Attribution:
        by_name = {each: as_scores(scores[inputs.index(each)], self.pair.dtype) for each in wanted}
        return Attribution(name, self.pair.space, by_name, self.record(contrasted_with=inputs), completeness)


class _Totals:
    """Scores of every degradation while images are added to them.

    Args:
        names: Names of the inputs.
        filters: Number of filters.
        contrast: What is subtracted; see :func:`discriminate`.
    """

    def __init__(self, names: Sequence[str], filters: int, contrast: str) -> None:
        self.names, self.contrast = list(names), contrast
        self.own, self.scores = (torch.zeros(len(names), filters, dtype=torch.float64) for _ in range(2))

    def add_image(self, magnitudes: Tensor, count: int) -> None:
        """Add the magnitudes ``(K, filters)`` of one of ``count`` images with every degradation."""
        self.own += magnitudes / count
        if len(self.names) > 1:
            self.scores += discriminate(magnitudes, self.contrast) / count

    def add(self, name: str, magnitudes: Tensor) -> None:
        """Add a share of the magnitudes ``(filters,)`` of one degradation."""
        self.own[self.names.index(name)] += magnitudes

    def compare(self, pixels: Mapping[str, float]) -> None:
        """Discriminate the mean magnitudes of degradations that have images of their own.

        An objective that is a sum over pixels grows with the image, so means are compared as of images of one size.

        Args:
            pixels: Name → mean number of pixels of its images.
        """
        sizes = torch.tensor([pixels[name] for name in self.names], dtype=torch.float64)
        self.own *= (sizes.mean() / sizes)[:, None]
        self.scores = discriminate(self.own, self.contrast)


class Taylor(FAIG):
    """|∂L(θ, x)/∂θ_i · (θ_i − θ̄_i)|, pooled and discriminated exactly as FAIG; no path, one gradient."""

    name = "taylor"
    summary = "gradient at the target times change, discriminated as FAIG (one gradient instead of a path)"
    takes = Method.takes | {"objective", "loss", "contrast"}

    def _rule(self) -> Rule:
        return Quadrature("right", 1)


class EndpointGradient(Taylor):
    """|∂L(θ, x)/∂θ_i|, pooled and discriminated exactly as FAIG: the gradient without path and change.

    The baseline is not used, unless the objective names it.
    """

    name = "gradient"
    summary = "gradient at the target alone, discriminated as FAIG (neither a path nor the change)"

    def measure(self, image: DegradedImage, prepared: Example, step: Step) -> Measurement:
        """Return the magnitudes of the gradient for one image with one degradation, without completeness."""
        with image.named():
            reference = self._reference(prepared, self.engine)
            _, gradient = self.engine.loss_and_gradient(self.pair.target, prepared.lowered, reference, self.objective)
            step()
            return Measurement(self.magnitudes(require_gradient(gradient, self.objective)))


def refuse_clean_alone(degradations: Iterable[str]) -> None:
    """Refuse to look for the filters of clean inputs where no other degradation is given.

    Raises:
        UsageError: ``clean`` is the only degradation.
    """
    if list(degradations) == [CLEAN]:
        raise UsageError(f"'{CLEAN}' alone has nothing that its filters could be told from: name a degradation too.")
