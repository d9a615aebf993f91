# SPDX-License-Identifier: Apache-2.0
"""Integrals over straight paths: through parameter space (FAIG) and through input space (IG)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from filterlens.attribution.adaptive import Adaptive, Array, kernel_weights, next_node, piecewise_errors
from filterlens.attribution.engine import Engine, Loss
from filterlens.attribution.quadrature import Quadrature
from filterlens.errors import FilterlensError
from filterlens.execution.hardware import widened
from filterlens.pixels import require_finite

Step = Callable[[], None]
PLACES = (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)  # on the path, where the rounding of a precision is looked at
TOP = 0.01  # the share of the filters whose set must stand


@dataclass(frozen=True, eq=False)
class PathIntegral:
    """FAIG of one input, per weight, and how exact it is.

    Attributes:
        contributions: ∫ ∂L/∂γ_i (θ_i − θ̄_i) dα, flat ``(parameters,)``.
        loss_target: L(θ, x).
        loss_baseline: L(θ̄, x).
        nodes: How many gradients were computed.
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
        engine: Computes the gradients.
        inputs: LR ``(1, 3, h, w)``.
        reference: What the loss compares with, HR.
        loss: A sum over pixels; see :class:`filterlens.attribution.engine.Engine`.
        rule: Fixed nodes, or adaptive ones.
        step: Called after every node (progress).
    """
    pair = engine.pair
    ends = [end_loss(engine, role, inputs, reference, loss) for role in ("baseline", "target")]

    def at(alpha: float) -> tuple[Tensor, Tensor]:
        result = engine.loss_and_gradient(pair.at(alpha), inputs, reference, loss)
        values.append(result[0])
        step()
        return result

    values: list[Tensor] = []
    if isinstance(rule, Adaptive):
        integrated, nodes, change = _Refinement(engine, at, ends, rule).run()
    else:
        integrated = _weighted_sum(lambda alpha: at(alpha)[1], rule)
        nodes, change = rule.nodes, None
    _require_finite_losses(values, "from baseline to target")
    return PathIntegral(integrated.mul_(pair.change), float(ends[1]), float(ends[0]), nodes, change)


def end_loss(engine: Engine, role: str, inputs: Tensor, reference: Tensor, loss: Loss) -> Tensor:
    """Return the loss of the ``baseline`` or ``target``, a float64 scalar.

    Raises:
        FilterlensError: It is not finite, so that no integral would be.
    """
    value = engine.loss(getattr(engine.pair, role), inputs, reference, loss)
    if not value.isfinite():
        require_finite(engine.output(getattr(engine.pair, role), inputs), f"the {role}")
        raise FilterlensError(f"The outputs of the {role} are so large that their squared distance is not finite.")
    return value


def over_inputs(engine: Engine, start: Tensor, end: Tensor, loss: Loss, rule: Quadrature, step: Step) -> Tensor:
    """Integrate the gradient with respect to the target's parameters on x(α) = start + α(end − start).

    Returns:
        ``(parameters,)``, not multiplied by any change.
    """
    scale = engine.pair.scale
    nothing = start.new_zeros(()).expand(*start.shape[:-2], start.shape[-2] * scale, start.shape[-1] * scale)

    def gradient_at(alpha: float) -> Tensor:
        inputs = start + alpha * (end - start)
        value, gradient = engine.loss_and_gradient(engine.pair.target, inputs, nothing, loss)
        values.append(value)
        step()
        return gradient

    values: list[Tensor] = []
    total = _weighted_sum(gradient_at, rule)
    _require_finite_losses(values, "from the clean to the degraded input")
    return total


def rounding_on_path(engine: Engine, exact: Engine, inputs: Tensor, reference: Tensor, loss: Loss) -> float:
    """Return what rounding alone makes the adaptive rule see as an error, as a share of the loss's span on the path.

    The rule adds |errors| of pieces between nodes, so what counts is how the rounding of the losses differs from place
    to place: Σ |e(α_k+1) − e(α_k)| for e = L − L_exact. It is small where images pass by the network in a skip, and
    tenths of the span where they pass through it.
    """
    losses = np.array([
        [float(each.loss(each.pair.at(alpha), inputs, reference, loss)) for alpha in PLACES] for each in (engine, exact)
    ])  # fmt: skip
    return float(np.abs(np.diff(losses[0] - losses[1])).sum() / _span(losses[1]))


def _require_finite_losses(values: Sequence[Tensor], way: str) -> None:
    """Refuse an integral over what is not finite; waits for the device once."""
    if not torch.stack(list(values)).isfinite().all():
        raise FilterlensError(
            f"The network's outputs are not finite on the way {way}, so it overflows. Try --precision fp32, and check "
            "that baseline and target belong together."
        )


def _span(losses: Array) -> float:
    """Return the losses' span; where they hardly change (clean inputs), a tenth of the loss itself."""
    return float(max(losses.max() - losses.min(), 0.1 * losses.max()))


def _weighted_sum(gradient_at: Callable[[float], Tensor], rule: Quadrature) -> Tensor:
    """Return Σ w_k g(α_k), accumulated in the gradients' own type."""
    total: Tensor | None = None
    for alpha, weight in rule:
        part = gradient_at(alpha)
        total = part.mul_(weight) if total is None else total.add_(part, alpha=weight)
    assert total is not None
    return total


def top_filters(magnitudes: Tensor) -> Tensor:
    """Return the mask ``(filters,)`` of the top 1 % (at least one filter)."""
    mask = torch.zeros_like(magnitudes, dtype=torch.bool)
    mask[magnitudes.topk(max(1, int(TOP * len(magnitudes)))).indices] = True
    return mask


@dataclass
class _Refinement:
    """The adaptive integral of one input while it grows."""

    engine: Engine
    at: Callable[[float], tuple[Tensor, Tensor]]
    ends: list[Tensor]
    rule: Adaptive
    nodes: list[float] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    slopes: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)

    def run(self) -> tuple[Tensor, int, float]:
        for alpha in self.rule.start():
            self._add(alpha)
        top, change = self._top(self._integral()), 1.0
        while change > self.rule.tolerance or not self._is_complete():
            if len(self.nodes) == self.rule.most:
                break
            self._add(next_node(*self._known()))
            before, top = top, self._top(self._integral())
            change = 1 - float((before & top).sum() / top.sum())
        return self._integral(), len(self.nodes), change

    def _add(self, alpha: float) -> None:
        loss, gradient = self.at(alpha)
        self.nodes.append(alpha)
        self.losses.append(loss)
        self.slopes.append(torch.dot(widened(gradient), widened(self.engine.pair.change)))
        self.gradients.append(gradient)

    def _integral(self) -> Tensor:
        total = torch.zeros_like(self.gradients[0])
        for weight, gradient in zip(kernel_weights(np.array(self.nodes)), self.gradients, strict=True):
            total.add_(gradient, alpha=float(weight))
        return total

    def _top(self, integral: Tensor) -> Tensor:
        return top_filters(self.engine.pair.pool((integral * self.engine.pair.change).abs()))

    def _known(self) -> tuple[Array, Array, Array]:
        """Return nodes in ascending order, dL/dα there, and L at 0, at them and at 1; waits for the device once."""
        order = np.argsort(self.nodes)
        slopes = torch.stack(self.slopes).cpu().numpy()[order]
        losses = torch.stack([*self.losses, *self.ends]).cpu().numpy()
        between = losses[:-2][order]
        return np.array(self.nodes)[order], slopes, np.concatenate((losses[-2:-1], between, losses[-1:]))

    def _is_complete(self) -> bool:
        """Whether the errors of all pieces, none cancelling another, are small against the losses' span."""
        nodes, slopes, losses = self._known()
        errors = np.abs(piecewise_errors(nodes, slopes, losses)).sum()
        return bool(errors <= self.rule.tolerance * _span(losses))
