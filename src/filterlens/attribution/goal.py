# SPDX-License-Identifier: Apache-2.0
"""The goal of goal-directed rankings: a few filters, put back to the baseline, remove one function and nothing else.

:class:`Goal` measures how far a set of filters is from that; :func:`one_shot` guesses the set from gradients.

J = w_own (1 − R) + w_other Σ_E (1 − P_E) + w_clean (1 − P_clean), with removal R and preservation P as in
:mod:`filterlens.evaluation.function_distance`, pooled over crops. No ground truth is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from filterlens.arguments import real_number
from filterlens.attribution.engine import Engine
from filterlens.attribution.objectives import SquaredDistance
from filterlens.attribution.quadrature import Quadrature
from filterlens.degradations.pipeline import CLEAN
from filterlens.execution.hardware import widened
from filterlens.pixels import require_finite
from filterlens.work.store import Step

Point = Tensor  # flat parameters
MUS = (1.0, 2.0, 4.0, 8.0)
PARTS = ("half", "whole")  # of the path: the half that ends at the target, where the edited network stays, or all of it
CLEAN_FACTOR = 2.0  # on clean inputs the two networks differ least, so the same disturbance spoils a larger share
HALF = Quadrature("gauss-legendre", 3)
INVISIBLE = 1e-10  # mean squared difference of two outputs, about (1/400 of an 8-bit level)²


@dataclass(frozen=True)
class Weights:
    """Weights of missing removal, missing preservation, and missing preservation on clean inputs in the goal.

    On clean inputs baseline and target differ least, so the same disturbance costs more preservation there.
    """

    own: float = 5.0
    other: float = 1.0
    clean: float = 0.5

    def __post_init__(self) -> None:
        for name, value in (("own", self.own), ("other", self.other), ("clean", self.clean)):
            real_number(value, f"weight of '{name}'", least=0)

    def of(self, name: str, own: str) -> float:
        """Return the weight of one input for the function ``own``."""
        return self.own if name == own else self.clean if name == CLEAN else self.other


@dataclass(frozen=True, eq=False)
class Pairing:
    """One input, and the outputs of target and baseline for it.

    Attributes:
        inputs: LR ``(1, 3, h, w)``.
        target: F(θ, x), HR.
        baseline: F(θ̄, x), HR.
    """

    inputs: Tensor
    target: Tensor
    baseline: Tensor

    @classmethod
    def of(cls, engine: Engine, inputs: Tensor) -> "Pairing":
        """Run both networks."""
        ends = [
            require_finite(engine.output(getattr(engine.pair, role), inputs), f"the {role}")
            for role in ("target", "baseline")
        ]
        return cls(inputs, *ends)

    @property
    def scale(self) -> float:
        """‖T − B‖², by which removal and preservation are measured."""
        return float(widened(self.target - self.baseline).square().sum())

    @property
    def differs(self) -> bool:
        """Whether the two networks differ at all here; where they do not, there is no scale to measure by."""
        return self.scale > INVISIBLE * self.target.numel()


Crop = Mapping[str, Pairing]  # input's name → what the networks make of it


class Goal:
    """J for one function on a set of crops.

    Args:
        engine: Engine that computes outputs and gradients.
        crops: Crops, each with the same inputs.
        own: Name of the input whose function is removed.
        weights: Weights of the parts of J.
    """

    def __init__(self, engine: Engine, crops: Sequence[Crop], own: str, weights: Weights) -> None:
        self.engine, self.crops, self.own = engine, crops, own
        self.inputs = sorted(crops[0])
        self.weights = {name: weights.of(name, own) for name in self.inputs}
        totals = {name: sum(crop[name].scale for crop in crops) for name in self.inputs}
        differ = {name: any(crop[name].differs for crop in crops) for name in self.inputs}
        self.factors = {name: 1 / totals[name] if differ[name] else 0.0 for name in self.inputs}

    def gradient(self, crop: int, point: Point) -> Tensor:
        """Return ∂J/∂m per filter, estimated on one crop: m moves a filter from the target (0) to the baseline (1).

        Args:
            crop: Number of the crop.
            point: The edited network, flat.

        Returns:
            ``(filters,)`` in the weights' type, on the CPU; the mean over all crops is the gradient of J.
        """
        pair, total = self.engine.pair, torch.zeros_like(point)
        for name in self.inputs:
            pairing = self.crops[crop][name]
            weight = self.weights[name] * self.factors[name] * len(self.crops)
            _, gradient = self.engine.loss_and_gradient(
                point, pairing.inputs, self._reference(name, pairing), SquaredDistance().loss
            )
            total.add_(gradient, alpha=weight)
        return pair.pool(total.mul_(pair.baseline - pair.target)).cpu()

    def missing(self, point: Point) -> dict[str, float]:
        """Return 1 − R for the own input and 1 − P for every other one, pooled over the crops."""
        return {
            name: self.factors[name] * sum(self._residual(crop[name], name, point) for crop in self.crops)
            for name in self.inputs
        }

    def value(self, point: Point) -> float:
        """Return J."""
        return sum(self.weights[name] * missing for name, missing in self.missing(point).items())

    def _reference(self, name: str, pairing: Pairing) -> Tensor:
        return pairing.baseline if name == self.own else pairing.target

    def _residual(self, pairing: Pairing, name: str, point: Point) -> float:
        output = require_finite(self.engine.output(point, pairing.inputs), f"the target edited for '{self.own}'")
        return float(widened(output - self._reference(name, pairing)).square().sum())


@dataclass(frozen=True)
class Choice:
    """Choices that decide the one-shot score.

    Attributes:
        mu: Cost of disturbance.
        part: Part of the path, ``half`` or ``whole``.
    """

    mu: float
    part: str


CHOICES = tuple(Choice(mu, part) for part in PARTS for mu in MUS)


def nodes() -> list[tuple[float, Tensor]]:
    """Return every node α with its weights in the integrals over the parts of the path, in the order of PARTS."""
    near = [(0.5 + alpha / 2, (weight / 2, weight / 2)) for alpha, weight in HALF]
    far = [(alpha / 2, (0.0, weight / 2)) for alpha, weight in HALF]
    return [(alpha, torch.tensor(weights, dtype=torch.float64)) for alpha, weights in near + far]


def contributions(engine: Engine, inputs: Tensor, reference: Tensor, step: Step) -> Tensor:
    """Return Σ_k ∫ ∂‖F(γ, x) − reference‖²/∂γ_k (θ̄ − θ)_k dα over each filter's slice, per part of the path.

    Args:
        engine: Engine that computes the gradients.
        inputs: LR ``(1, 3, h, w)``.
        reference: Output to compare with.
        step: Function called after every gradient.

    Returns:
        ``(parts, filters)`` float64 on the CPU.
    """
    pair = engine.pair
    total = torch.zeros(len(PARTS), len(pair.space), dtype=torch.float64)
    for alpha, weights in nodes():
        _, gradient = engine.loss_and_gradient(pair.at(alpha), inputs, reference, SquaredDistance().loss)
        pooled = pair.pool(gradient.mul_(pair.baseline - pair.target)).to("cpu", torch.float64)
        total += weights[:, None] * pooled
        step()
    return total


def removal_and_disturbance(engine: Engine, pairing: Pairing, step: Step) -> tuple[Tensor, Tensor]:
    r"""Return r and p of one input, each normalised so that \|·\| sums to 1 over the filters.

    r_i = −Σ_k ∫ ∂‖F(γ, x) − F(θ̄, x)‖²/∂γ_k (θ̄ − θ)_k dα, signed: positive where the filter's return to the baseline
    removes the function. p_i = \|Σ_k ∫ ∂‖F(γ, x) − F(θ, x)‖²/∂γ_k (θ̄ − θ)_k dα\|.

    Returns:
        ``(parts, filters)`` each; zeros where the two networks do not differ.
    """
    if not pairing.differs:
        nothing = torch.zeros(len(PARTS), len(engine.pair.space), dtype=torch.float64)
        return nothing, nothing.clone()
    removed = -contributions(engine, pairing.inputs, pairing.baseline, step)
    disturbed = contributions(engine, pairing.inputs, pairing.target, step).abs()
    return _normalised(removed), _normalised(disturbed)


def _normalised(values: Tensor) -> Tensor:
    sums = values.abs().sum(-1, keepdim=True)
    return values / torch.where(sums > 0, sums, 1)


def one_shot(removed: Tensor, disturbed: Mapping[str, Tensor], choice: Choice) -> Tensor:
    """Return r − μ Σ_E p^E over all inputs E but the own one, clean counted twice.

    Args:
        removed: r of the own input, mean over the crops; see :func:`removal_and_disturbance`.
        disturbed: Name of every other input → p, mean over the crops.
        choice: μ and the part of the path.

    Returns:
        ``(filters,)`` float64.
    """
    part = PARTS.index(choice.part)
    score = removed[part].clone()
    for name in sorted(disturbed):
        score -= choice.mu * (CLEAN_FACTOR if name == CLEAN else 1.0) * disturbed[name][part]
    return score
