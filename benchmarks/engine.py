# SPDX-License-Identifier: Apache-2.0
"""The one place where benchmarks reach below filterlens' public names."""

from collections.abc import Callable

from torch import Tensor

from filterlens.attribution.engine import Engine
from filterlens.attribution.faig import SquaredDistance
from filterlens.attribution.quadrature import Adaptive, Quadrature
from filterlens.attribution.settings import AttributeSettings
from filterlens.pair import ModelPair

Rule = Quadrature | Adaptive
DEFAULT_RULE: Rule = AttributeSettings().conventions.parameter_rule


def attribution_pass(pair: ModelPair, inputs: Tensor, truth: Tensor, precision: str) -> Callable[[], object]:
    """Return what attribution does at every node, at the middle of the path: one forward and one backward pass.

    Args:
        pair: Pair on the device that computes.
        inputs: LR ``(1, 3, h, w)``.
        truth: HR ``(1, 3, h·scale, w·scale)``.
        precision: ``fp32`` or ``bf16``.
    """
    engine, vector, loss = Engine(pair, precision), pair.at(0.5), SquaredDistance().loss
    return lambda: engine.loss_and_gradient(vector, inputs, truth, loss)
