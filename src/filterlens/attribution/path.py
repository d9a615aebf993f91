# SPDX-License-Identifier: Apache-2.0
"""Integrals over straight paths: through parameter space (FAIG) and through input space (IG)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from filterlens.attribution.engine import Engine, Loss
from filterlens.attribution.objectives import LEAST_SPAN, Objective, SquaredDistance
from filterlens.attribution.quadrature import (
    Adaptive,
    Array,
    Quadrature,
    kernel_weights,
    next_node,
    piecewise_errors,
)
from filterlens.errors import FilterlensError
from filterlens.execution.hardware import widened
from filterlens.pair import ModelPair
from filterlens.pixels import require_finite
from filterlens.work.store import Step

PLACES = (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)  # on the path, where the rounding of a precision is looked at
TOP = 0.01  # the share of the filters whose set must no longer change


@dataclass(frozen=True, eq=False)
class PathIntegral:
    """FAIG of one input, per weight, and how exact it is.

    Attributes:
        contributions: ∫ ∂L/∂γ_i (θ_i − θ̄_i) dα, flat ``(parameters,)``.
        loss_target: L(θ, x).
        loss_baseline: L(θ̄, x).
        nodes: Number of gradients computed.
        change: Share of the top 1 % of the filters that the last node changed; None where nodes are fixed.
    """

    contributions: Tensor
    loss_target: float
    loss_baseline: float
    nodes: int
    change: float | None = None


def over_parameters(
    engine: Engine, inputs: Tensor, reference: Tensor, loss: Loss, rule: Quadrature | Adaptive, step: Step
) -> PathIntegral:
    """Integrate the loss's gradient on γ(α) = θ̄ + α(θ − θ̄), times (θ − θ̄); 0 is the baseline, 1 the target.

    Args:
        engine: Engine that computes the gradients.
        inputs: LR ``(1, 3, h, w)``.
        reference: HR image that the loss compares with.
        loss: A sum over pixels; see :class:`filterlens.attribution.engine.Engine`.
        rule: Fixed nodes, or adaptive ones.
        step: Function called after every node (progress).
    """
    pair = engine.pair
    baseline = end_loss(engine, "baseline", inputs, reference, loss)
    target = end_loss(engine, "target", inputs, reference, loss)
    ends = baseline, target
    integral = _AdaptiveIntegral(rule, pair, ends, loss) if isinstance(rule, Adaptive) else _FixedIntegral(rule)
    values: list[Tensor] = []
    for alpha in integral.nodes():
        value, gradient = engine.loss_and_gradient(pair.at(alpha), inputs, reference, loss)
        values.append(value)
        integral.add(alpha, value, gradient)
        step()
    _require_finite_losses(values, "from baseline to target", loss)
    contributions = require_gradient(integral.total().mul_(pair.change), loss)
    return PathIntegral(contributions, float(target), float(baseline), len(values), integral.change)


def end_loss(engine: Engine, role: str, inputs: Tensor, reference: Tensor, loss: Loss) -> Tensor:
    """Return the loss of the ``baseline`` or ``target``, a float64 scalar.

    Raises:
        FilterlensError: It is not finite, so that no integral would be.
    """
    value = engine.loss(getattr(engine.pair, role), inputs, reference, loss)
    if not value.isfinite():
        require_finite(engine.output(getattr(engine.pair, role), inputs), f"the {role}")
        if _is_another(loss):
            raise FilterlensError(
                f"The objective '{loss}' is {float(value)} for the output of the {role}, and an integral needs a "
                "finite value. Make it finite there, or take another objective."
            )
        raise FilterlensError(f"The outputs of the {role} are so large that their squared distance is not finite.")
    return value


def over_inputs(engine: Engine, start: Tensor, end: Tensor, loss: Loss, rule: Quadrature, step: Step) -> Tensor:
    """Integrate the gradient with respect to the target's parameters on x(α) = start + α(end − start).

    Returns:
        ``(parameters,)``, not multiplied by any change.
    """
    scale = engine.pair.scale
    nothing = start.new_zeros(()).expand(*start.shape[:-2], start.shape[-2] * scale, start.shape[-1] * scale)

    integral = _FixedIntegral(rule)
    values: list[Tensor] = []
    for alpha in integral.nodes():
        between = start + alpha * (end - start)
        value, gradient = engine.loss_and_gradient(engine.pair.target, between, nothing, loss)
        values.append(value)
        integral.add(alpha, value, gradient)
        step()
    _require_finite_losses(values, "from the clean to the degraded input", loss)
    return integral.total()


def rounding_on_path(engine: Engine, exact: Engine, inputs: Tensor, reference: Tensor, loss: Loss) -> float:
    """Return what rounding alone makes the adaptive rule see as an error, as a share of the loss's span on the path.

    The rule adds |errors| of pieces between nodes, so what counts is how the rounding of the losses differs from place
    to place: Σ |e(α_k+1) − e(α_k)| for e = L − L_exact. It is small where images pass by the network in a skip, and
    tenths of the span where they pass through it.
    """
    losses = np.array([
        [float(each.loss(each.pair.at(alpha), inputs, reference, loss)) for alpha in PLACES] for each in (engine, exact)
    ])  # fmt: skip
    return float(np.abs(np.diff(losses[0] - losses[1])).sum() / _span(losses[1], loss))


def require_gradient(gradient: Tensor, loss: Loss) -> Tensor:
    """Return the gradient of a loss, if it is finite; the network's own overflow is told of where scores are made.

    Raises:
        FilterlensError: The gradient of another loss than the squared distance is not finite.
    """
    if _is_another(loss) and not gradient.isfinite().all():
        raise FilterlensError(
            f"The objective '{loss}' is finite, but not its gradient, for example that of a square root at 0. Add a "
            "small number inside of it."
        )
    return gradient


def _require_finite_losses(values: Sequence[Tensor], way: str, loss: Loss) -> None:
    """Refuse an integral over what is not finite; waits for the device once."""
    if not torch.stack(list(values)).isfinite().all():
        whose = f"The objective '{loss}' is not finite" if _is_another(loss) else "The network's outputs are not finite"
        so = "has no value there, or the network overflows" if _is_another(loss) else "overflows"
        raise FilterlensError(
            f"{whose} on the way {way}, so it {so}. Try --precision fp32, and check that baseline and target belong "
            "together."
        )


def _span(losses: Array, loss: Loss) -> float:
    """Return the losses' span; where they hardly change (clean inputs), a tenth of the loss itself."""
    largest = float(np.abs(losses).max())
    least = loss.least_span(largest) if isinstance(loss, Objective) else LEAST_SPAN * largest
    return float(max(losses.max() - losses.min(), least))


def _is_another(loss: Loss) -> bool:
    """Whether a loss is another one than the usual squared distance."""
    return isinstance(loss, Objective) and not isinstance(loss, SquaredDistance)


def top_filters(magnitudes: Tensor) -> Tensor:
    """Return the mask ``(filters,)`` of the top 1 % (at least one filter)."""
    mask = torch.zeros_like(magnitudes, dtype=torch.bool)
    mask[magnitudes.topk(max(1, int(TOP * len(magnitudes)))).indices] = True
    return mask


class _FixedIntegral:
    """Σ w_k g(α_k) over the nodes of a rule, accumulated in the gradients' own type."""

    change: float | None = None

    def __init__(self, rule: Quadrature) -> None:
        self._rule = rule
        self._weight = 0.0
        self._total: Tensor | None = None

    def nodes(self) -> Iterator[float]:
        """Yield every node; what is found there is added before the next one."""
        for alpha, weight in self._rule:
            self._weight = weight
            yield alpha

    def add(self, alpha: float, loss: Tensor, gradient: Tensor) -> None:
        """Take loss and gradient at a node; the gradient is written over."""
        if self._total is None:
            self._total = gradient.mul_(self._weight)
        else:
            self._total.add_(gradient, alpha=self._weight)

    def total(self) -> Tensor:
        """Return the integral."""
        assert self._total is not None
        return self._total


class _AdaptiveIntegral:
    """The integral of one input while nodes are added to it.

    Args:
        rule: Rule that says when to stop.
        pair: Baseline and target.
        ends: L at the two.
        loss: L.
    """

    def __init__(self, rule: Adaptive, pair: ModelPair, ends: tuple[Tensor, Tensor], loss: Loss) -> None:
        self.rule, self.pair, self.ends, self.loss = rule, pair, ends, loss
        self.change: float | None = 1.0
        self._alphas: list[float] = []
        self._losses: list[Tensor] = []
        self._slopes: list[Tensor] = []
        self._gradients: list[Tensor] = []

    def nodes(self) -> Iterator[float]:
        """Yield every node; what is found there is added before the next one."""
        yield from self.rule.start()
        top, change = self._top(), 1.0
        while (change > self.rule.tolerance or not self._is_complete()) and len(self._alphas) < self.rule.most:
            yield next_node(*self._known())
            before, top = top, self._top()
            change = 1 - float((before & top).sum() / top.sum())
        self.change = change

    def add(self, alpha: float, loss: Tensor, gradient: Tensor) -> None:
        """Take loss and gradient at a node."""
        self._alphas.append(alpha)
        self._losses.append(loss)
        self._slopes.append(torch.dot(widened(gradient), widened(self.pair.change)))
        self._gradients.append(gradient)

    def total(self) -> Tensor:
        """Return the integral as far as it is known."""
        total = torch.zeros_like(self._gradients[0])
        for weight, gradient in zip(kernel_weights(np.array(self._alphas)), self._gradients, strict=True):
            total.add_(gradient, alpha=float(weight))
        return total

    def _top(self) -> Tensor:
        return top_filters(self.pair.pool((self.total() * self.pair.change).abs()))

    def _known(self) -> tuple[Array, Array, Array]:
        """Return nodes in ascending order, dL/dα there, and L at 0, at them and at 1; waits for the device once."""
        order = np.argsort(self._alphas)
        slopes = torch.stack(self._slopes).cpu().numpy()[order]
        losses = torch.stack([*self._losses, *self.ends]).cpu().numpy()
        between = losses[:-2][order]
        return np.array(self._alphas)[order], slopes, np.concatenate((losses[-2:-1], between, losses[-1:]))

    def _is_complete(self) -> bool:
        """Whether the errors of all pieces, none cancelling another, are small against the losses' span."""
        nodes, slopes, losses = self._known()
        errors = np.abs(piecewise_errors(nodes, slopes, losses)).sum()
        return bool(errors <= self.rule.tolerance * _span(losses, self.loss))
