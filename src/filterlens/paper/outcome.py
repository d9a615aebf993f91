# SPDX-License-Identifier: Apache-2.0
"""What an experiment gives back: tables, figures, and what became of each claim."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from filterlens.evaluation.statistics import Estimate
from filterlens.report.figures import Panel

Cell = str | float | int | Estimate | None


class Verdict(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"
    PARTLY = "holds in part"
    FAILS = "does not hold"
    OPEN = "not decided"

    @classmethod
    def of(cls, checks: list[bool]) -> "Verdict":
        """Judge a claim that consists of several checks."""
        if not checks:
            return cls.OPEN
        return cls.HOLDS if all(checks) else cls.PARTLY if any(checks) else cls.FAILS


@dataclass(frozen=True)
class Table:
    """A table of a page, also written as CSV.

    Attributes:
        name: Stem of its file.
        title: One line above it.
        columns: Heads.
        rows: Cells; numbers stay numbers, an estimate is a mean with its spread and interval.
        note: What the reader must know to read it.
        digits: Significant digits on the page; the CSV keeps six.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    digits: int = 3


@dataclass(frozen=True)
class Claim:
    """A claim, and what the numbers say of it.

    Attributes:
        text: The claim in our words.
        source: Where it is made, e.g. ``paper, table 1``; ``filterlens`` for our own.
        verdict: What became of it.
        evidence: One plain sentence with the numbers, and the reason where it does not hold.
    """

    text: str
    source: str
    verdict: Verdict
    evidence: str


@dataclass(frozen=True)
class Outcome:
    """Everything that a page shows.

    Attributes:
        claims: First on the page.
        tables: In order.
        panels: Figures, in order.
        text: Paragraphs of Markdown that say how the experiment is done and what it leaves open.
        specification: What decided the numbers: name → value (seeds, images, recipe, metrics).
        data: More numbers for the JSON file.
    """

    claims: tuple[Claim, ...]
    tables: tuple[Table, ...]
    panels: tuple[Panel, ...] = ()
    text: tuple[str, ...] = ()
    specification: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
