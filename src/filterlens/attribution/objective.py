# SPDX-License-Identifier: Apache-2.0
"""The function whose change along the path is attributed to the filters."""

from dataclasses import dataclass

import torch
from torch import Tensor

from filterlens.errors import unknown
from filterlens.pair import ModelPair

REFERENCES = ("truth", "target", "baseline")


@dataclass(frozen=True)
class SquaredDistance:
    """L(γ, x) = ‖F(γ, x) − r‖², summed over pixels and channels (paper, equation 3).

    Attributes:
        to: What r is. ``truth``: the ground truth, as in the paper. ``target``: the target's own output F(θ, x).
            ``baseline``: the baseline's output F(θ̄, x). The last two need no ground truth.
    """

    to: str = "truth"

    def __post_init__(self) -> None:
        if self.to not in REFERENCES:
            raise unknown("objective", self.to, REFERENCES)

    def reference(self, pair: ModelPair, truth: Tensor, inputs: Tensor, precision: str = "fp32") -> Tensor:
        """Compute r once per input.

        Args:
            pair: The networks.
            truth: Ground truth ``(1, 3, H, W)``.
            inputs: The LR input ``(1, 3, h, w)``.
            precision: In which the networks run.
        """
        if self.to == "truth":
            return truth.to(pair.device, pair.dtype)
        with torch.no_grad():
            return pair.run(pair.target if self.to == "target" else pair.baseline, inputs, precision)

    def loss(self, output: Tensor, reference: Tensor) -> Tensor:
        """Return the scalar ‖output − r‖²."""
        return (output - reference).square().sum()
