# SPDX-License-Identifier: Apache-2.0
"""The one-shot goal-directed score: what each filter removes along the path, less what it disturbs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from filterlens.attribution.engine import Engine
from filterlens.attribution.goal import Pairing
from filterlens.attribution.objective import SquaredDistance
from filterlens.attribution.path import Step
from filterlens.attribution.quadrature import Quadrature
from filterlens.degradations.pipeline import CLEAN

MUS = (1.0, 2.0, 4.0, 8.0)
PARTS = ("half", "whole")  # of the path: the half that ends at the target, where the edited network stays, or all of it
CLEAN_FACTOR = 2.0  # on clean inputs the two networks differ least, so the same disturbance spoils a larger share
HALF = Quadrature("gauss-legendre", 3)


@dataclass(frozen=True)
class Choice:
    """What decides the one-shot score.

    Attributes:
        mu: What disturbance costs.
        part: Of the path: ``half`` or ``whole``.
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
        engine: Computes the gradients.
        inputs: LR ``(1, 3, h, w)``.
        reference: Output to compare with.
        step: Called after every gradient.

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


def removal_and_disturbance(engine: Engine, pairing: Pairing, step: Step = lambda: None) -> Tensor:
    r"""Return r and p of one input, each normalised so that \|·\| sums to 1 over the filters.

    r_i = −Σ_k ∫ ∂‖F(γ, x) − F(θ̄, x)‖²/∂γ_k (θ̄ − θ)_k dα, signed: positive where the filter's return to the baseline
    takes the function away. p_i = \|Σ_k ∫ ∂‖F(γ, x) − F(θ, x)‖²/∂γ_k (θ̄ − θ)_k dα\|.

    Returns:
        ``(2, parts, filters)``: r, then p; zeros where the two networks do not differ.
    """
    if not pairing.differs:
        return torch.zeros(2, len(PARTS), len(engine.pair.space), dtype=torch.float64)
    removed = -contributions(engine, pairing.inputs, pairing.baseline, step)
    disturbed = contributions(engine, pairing.inputs, pairing.target, step).abs()
    both = torch.stack([removed, disturbed])
    sums = both.abs().sum(-1, keepdim=True)
    return both / torch.where(sums > 0, sums, 1)


def one_shot(parts: Mapping[str, Tensor], own: str, choice: Choice) -> Tensor:
    """Return r − μ Σ_E p^E over all inputs E but the own one, clean counted twice.

    Args:
        parts: Input's name → mean over the crops of :func:`removal_and_disturbance`.
        own: Name of the input whose function shall go.
        choice: μ and the part of the path.

    Returns:
        ``(filters,)`` float64.
    """
    part = PARTS.index(choice.part)
    score = parts[own][0, part].clone()
    for name in sorted(parts):
        if name != own:
            score -= choice.mu * (CLEAN_FACTOR if name == CLEAN else 1.0) * parts[name][1, part]
    return score


def mean_parts(measured: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean over crops, per input."""
    return {name: torch.stack([crop[name] for crop in measured]).mean(0) for name in measured[0]}
