# SPDX-License-Identifier: Apache-2.0
"""What a user asks of a few filters: put back to the baseline, take this function away and leave everything else.

J = w_own (1 − R) + w_other Σ_E (1 − P_E) + w_clean (1 − P_clean), with removal R and preservation P as in
:mod:`filterlens.evaluation.function_distance`, pooled over crops. No ground truth is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from filterlens.arguments import real_number
from filterlens.attribution.engine import Engine
from filterlens.attribution.objective import SquaredDistance
from filterlens.degradations.pipeline import CLEAN
from filterlens.execution.hardware import widened
from filterlens.pixels import require_finite

Point = Tensor  # flat parameters
INVISIBLE = 1e-10  # mean squared difference of two outputs, about (1/400 of an 8-bit level)²


@dataclass(frozen=True)
class Weights:
    """How much a missing hundredth of removal, of preservation, and of preservation on clean inputs counts.

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
    """One input, and what target and baseline make of it.

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
        """Whether the two networks differ at all here; where they do not, there is nothing to measure by."""
        return self.scale > INVISIBLE * self.target.numel()


Crop = Mapping[str, Pairing]  # input's name → what the networks make of it


class Goal:
    """J for one function on a set of crops.

    Args:
        engine: Computes outputs and gradients.
        crops: Each with the same inputs.
        own: Name of the input whose function shall go.
        weights: Of the parts of J.
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
