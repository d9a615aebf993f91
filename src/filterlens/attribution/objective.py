# SPDX-License-Identifier: Apache-2.0
"""The function whose change along the path is attributed to the filters."""

from dataclasses import dataclass

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

    def network(self, pair: ModelPair) -> Tensor | None:
        """Return the flat parameters whose output is r; None where r is the ground truth."""
        return {"truth": None, "target": pair.target, "baseline": pair.baseline}[self.to]

    def loss(self, output: Tensor, reference: Tensor) -> Tensor:
        """Return the scalar ‖output − r‖², a sum over pixels."""
        return (output - reference).square().sum()
