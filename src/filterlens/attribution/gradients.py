# SPDX-License-Identifier: Apache-2.0
"""The engine: gradients of a scalar with respect to all parameters, and their integral along a path."""

from collections.abc import Callable

import torch
from torch import Tensor

from filterlens.attribution.quadrature import Quadrature
from filterlens.pair import ModelPair

Loss = Callable[[Tensor], Tensor]


def gradient(pair: ModelPair, vector: Tensor, inputs: Tensor, loss: Loss, precision: str = "fp32") -> Tensor:
    """Return ∂ loss(F(vector, inputs)) / ∂ vector as a flat vector ``(parameters,)``.

    Args:
        pair: Gives the architecture.
        vector: Flat parameters.
        inputs: LR ``(B, 3, h, w)``.
        loss: Maps the output ``(B, 3, H, W)`` to a scalar.
        precision: ``fp32`` or ``bf16`` (autocast; the gradient arrives in the weights' type).
    """
    leaf = vector.detach().requires_grad_(True)
    with torch.enable_grad():
        value = loss(pair.run(leaf, inputs, precision))
        (result,) = torch.autograd.grad(value, leaf)
    return result


def integrate(gradient_at: Callable[[float], Tensor], quadrature: Quadrature, step: Callable[[], None]) -> Tensor:
    """Return Σ w_k g(α_k), the integrated gradient, accumulated in the gradients' own type.

    Args:
        gradient_at: α → flat gradient.
        quadrature: The nodes.
        step: Called after every node (progress).
    """
    total: Tensor | None = None
    for alpha, weight in quadrature:
        part = gradient_at(alpha)
        total = part.mul_(weight) if total is None else total.add_(part, alpha=weight)
        step()
    assert total is not None
    return total
