# SPDX-License-Identifier: Apache-2.0
"""Straight paths: through parameter space (FAIG) and through input space (IG)."""

from collections.abc import Callable

from torch import Tensor

from filterlens.attribution.gradients import Loss, gradient
from filterlens.pair import ModelPair


def parameter_path(pair: ModelPair, inputs: Tensor, loss: Loss, precision: str) -> Callable[[float], Tensor]:
    """Return α → ∂L(γ(α), x)/∂γ on γ(α) = θ̄ + α(θ − θ̄); 0 is the baseline, 1 the target."""
    return lambda alpha: gradient(pair, pair.at(alpha), inputs, loss, precision)


def input_path(pair: ModelPair, start: Tensor, end: Tensor, loss: Loss, precision: str) -> Callable[[float], Tensor]:
    """Return α → ∂L(θ, x(α))/∂θ on x(α) = start + α(end − start), the parameters fixed at the target's."""
    return lambda alpha: gradient(pair, pair.target, start + alpha * (end - start), loss, precision)
