# SPDX-License-Identifier: Apache-2.0
"""Goals for figures, and whether a figure meets its goal."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Verdict(BaseModel):
    """A goal and what was measured.

    Attributes:
        goal: In words, bound included.
        measured: In the goal's unit; ``nothing`` where the run could not tell.
        met: None where the run could not tell, or was a quick one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    goal: str
    measured: str
    met: bool | None

    @property
    def word(self) -> str:
        """``met``, ``NOT MET`` or ``not judged``."""
        return {True: "met", False: "NOT MET", None: "not judged"}[self.met]

    @property
    def sentence(self) -> str:
        """Goal and measurement."""
        return f"{self.goal}; measured {self.measured}"


@dataclass(frozen=True)
class Goal:
    """A bound on one figure.

    Attributes:
        figure: What is bounded, in words.
        sense: Side of the bound on which the figure must be.
        bound: The bound itself counts as met.
        spec: How figures are written, a format specification.
        unit: Written after them.
    """

    figure: str
    sense: Literal["at most", "at least"]
    bound: float
    spec: str = ".2f"
    unit: str = ""

    @property
    def text(self) -> str:
        """The goal in words."""
        return f"{self.figure}: {self.sense} {self._written(self.bound)}"

    def judge(self, value: float | None) -> Verdict:
        """Return the verdict on a measured value; None means that the run could not tell."""
        if value is None:
            return Verdict(goal=self.text, measured="nothing", met=None)
        met = value <= self.bound if self.sense == "at most" else value >= self.bound
        return Verdict(goal=self.text, measured=self._written(value), met=met)

    def _written(self, value: float) -> str:
        return f"{value:{self.spec}}{self.unit}"
