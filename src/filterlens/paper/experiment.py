# SPDX-License-Identifier: Apache-2.0
"""Experiments and their results: tables, figures, and claims that numbers decide by one rule.

A comparison has three answers: an interval is wholly above a level, wholly below it, or around it, which is "not
decided". A claim consists of such answers; only :meth:`Verdict.of` turns them into a verdict. The specification of
every page begins with the same rows: :func:`common_rows`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from filterlens.evaluation.statistics import Estimate
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.settings import Common, ImageChoice
from filterlens.report.figures import Panel
from filterlens.settings import Settings

ROUNDING = 1e-12  # equal numbers, summed in another order, do not differ

Cell = str | float | int | Estimate | None
Row = tuple[Cell, ...]
Part = tuple[Iterable[bool | None], str]  # checks of one part of a claim, and what it says


class Verdict(StrEnum):
    """The result of a claim."""

    HOLDS = "holds"
    PARTLY = "holds in part"
    FAILS = "does not hold"
    OPEN = "not decided"

    @classmethod
    def of(cls, answers: Iterable[bool | None]) -> "Verdict":
        """Judge a claim that consists of several checks, each answered by yes, no or not decided (None).

        Those that are not decided count for nothing, except that a claim with one of them never holds as a whole.
        """
        every = list(answers)
        decided = [each for each in every if each is not None]
        if not decided:
            return cls.OPEN
        if not any(decided):
            return cls.FAILS
        return cls.HOLDS if all(decided) and len(decided) == len(every) else cls.PARTLY


def above(estimate: Estimate, level: float = 0.0) -> bool | None:
    """Return whether the whole interval is above a level (True) or below it (False); None: it holds the level.

    Without an interval the number itself decides.
    """
    low, high = estimate.ends
    return True if low > level + ROUNDING else False if high < level - ROUNDING else None


def is_above(estimate: Estimate, level: float = 0.0) -> bool:
    """Return whether a number is above a level for certain."""
    return above(estimate, level) is True


def is_below(estimate: Estimate, level: float = 0.0) -> bool:
    """Return whether a number is below a level for certain."""
    return above(estimate, level) is False


@dataclass(frozen=True)
class Table:
    """A table of a page, also written as CSV.

    Attributes:
        name: Stem of its file.
        title: One line above it.
        columns: Heads.
        rows: Cells; numbers stay numbers, an estimate is a mean with its spread and interval.
        note: Explanation that the reader needs.
        digits: Significant digits on the page; the CSV keeps six.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    note: str = ""
    digits: int = 3


@dataclass(frozen=True)
class Claim:
    """A claim, and what the numbers say of it.

    Attributes:
        text: The claim in our words.
        source: Origin of the claim, e.g. ``paper, table 1``; ``filterlens`` for our own.
        verdict: The answer of the numbers.
        evidence: One plain sentence with the numbers, and the reason where it does not hold.
    """

    text: str
    source: str
    verdict: Verdict
    evidence: str

    @classmethod
    def of(cls, text: str, source: str, parts: Iterable[Part], *more: str, end: str = "") -> "Claim":
        """Judge a claim by the checks of all its parts; the evidence is what they say, one after the other.

        Args:
            text: The claim in our words.
            source: Where it is made.
            parts: Checks of one part, for example a degradation, and what it says.
            *more: Further evidence that decides nothing.
            end: Text after all of it.
        """
        every = [(list(checks), words) for checks, words in parts]
        said = "; ".join([*(words for _, words in every), *more])
        return cls(text, source, Verdict.of(check for checks, _ in every for check in checks), said + end)


@dataclass(frozen=True)
class Outcome:
    """Everything that a page shows.

    Attributes:
        claims: First on the page.
        tables: In order.
        panels: Figures, in order.
        text: Paragraphs of Markdown that say how the experiment is done and what it leaves open.
        specification: Settings that decided the numbers: name → value (seeds, images, recipe, metrics).
        data: More numbers for the JSON file.
    """

    claims: tuple[Claim, ...]
    tables: tuple[Table, ...]
    panels: tuple[Panel, ...] = ()
    text: tuple[str, ...] = ()
    specification: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """One table or figure.

    Attributes:
        name: Name on the command line and of the recipe's section.
        title: Headline of the page.
        summary: One line for lists.
        settings: The class of its section in a recipe; all fields have defaults.
        run: Function that computes it; everything slow goes through the laboratory, which resumes.
    """

    name: str
    title: str
    summary: str
    settings: type[Settings]
    run: Callable[[Laboratory, Any], Outcome]


def common_rows(
    common: Common, pairs: Sequence[str] | None = None, *, of_each: str = "", of_all: str = ""
) -> dict[str, str]:
    """Return the rows that a page's specification begins with: target models, images to find on and to judge on.

    Args:
        common: The settings that all experiments share.
        pairs: The pairs of the page; default: all common ones.
        of_each: Text after the judging images of every pair.
        of_all: Text after those of all pairs.
    """
    judged = (f"{name}: {images_text(common.judged_on(name))}{of_each}" for name in pairs or common.pairs)
    return {
        "target models": targets_text(common),
        "found on": images_text(common.find),
        "judged on": "; ".join(judged) + of_all,
    }


def images_text(wanted: ImageChoice) -> str:
    """Say which images a set is."""
    parts = [wanted.set]
    if wanted.only:
        parts.append(f"only {', '.join(wanted.only)}")
    if wanted.images is not None:
        parts.append(f"at most {wanted.images} images, spread evenly")
    if wanted.crop is not None:
        each = "the central square" if wanted.squares == 1 else f"{wanted.squares} squares each"
        parts.append(f"{each} of {wanted.crop}x{wanted.crop} HR pixels")
    return ", ".join(parts)


def targets_text(common: Common) -> str:
    """Say how many target models there are and where they come from."""
    if common.training != "card":
        return f"{common.targets} per pair, baseline and targets trained by the recipe '{common.training}'"
    if common.targets == 1:
        return "1 per pair, the shipped one (no spread over seeds)"
    return f"{common.targets} per pair: the shipped one and {common.targets - 1} fine-tuned from the shipped baseline"
