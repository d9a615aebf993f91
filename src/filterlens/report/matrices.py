# SPDX-License-Identifier: Apache-2.0
"""The own/cross matrices as cells of text, ready for the page."""

from collections.abc import Callable
from dataclasses import dataclass

from filterlens.report.labels import fixed, method_label, percent_text, significant
from filterlens.run.reading import Judgement, RunData
from filterlens.run.tables import DamageSummary, Edit


@dataclass(frozen=True)
class Cell:
    """One number as text; ``own`` where the input is the masked degradation, ``best`` for the best own of a group."""

    text: str
    own: bool
    best: bool


@dataclass(frozen=True)
class Group:
    """The rows of one masked degradation: a method's name and its cells, one per input."""

    masked: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Matrix:
    """A table for one proportion of replaced filters."""

    percent: str
    inputs: tuple[str, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Measure:
    """Content of a matrix: its text per cell, and the number by which the best own cell is found (None: no best)."""

    name: str
    text: Callable[[DamageSummary], str]
    rank: Callable[[DamageSummary], float | None]


def _effect(row: DamageSummary) -> float | None:
    return row.removal if row.is_own else row.preservation


MEASURES = {
    "distance": Measure("Distance", lambda row: significant(row.distance), lambda row: row.distance),
    "effect": Measure("Removal R and preservation P", lambda row: fixed(_effect(row)), lambda row: row.removal),
    "quality": Measure("PSNR / SSIM", lambda row: f"{fixed(row.psnr)} / {fixed(row.ssim, 3)}", lambda row: None),
    "reference": Measure(
        "Distance, reference metric",
        lambda row: significant(row.distance_reference),
        lambda row: row.distance_reference,
    ),
}


def matrices(run: RunData, measure: Measure) -> tuple[Matrix, ...]:
    """Build one matrix per judged proportion: rows masked degradation and method, columns inputs.

    Args:
        run: A run; without a judgement there are no matrices.
        measure: Measure in the cells.
    """
    judged = run.judgement
    if judged is None:
        return ()
    methods = run.judged_methods
    return tuple(
        Matrix(
            percent_text(percent),
            run.inputs,
            tuple(
                group
                for masked in run.degradations
                if (group := _group(judged, measure, methods, percent, masked, run.inputs)).rows
            ),
        )
        for percent in judged.percents
    )


def _group(
    judged: Judgement, measure: Measure, methods: tuple[str, ...], percent: float, masked: str, inputs: tuple[str, ...]
) -> Group:
    table = {method: [judged.find(Edit(method, percent, masked), each) for each in inputs] for method in methods}
    owns = [
        rank
        for rows in table.values()
        for row in rows
        if row and row.is_own and (rank := measure.rank(row)) is not None
    ]
    best = max(owns) if len(owns) > 1 else None
    return Group(
        masked,
        tuple(
            (
                method_label(method),
                tuple(_cell(measure, row, masked == each, best) for row, each in zip(rows, inputs, strict=True)),
            )
            for method, rows in table.items()
            if any(rows)
        ),
    )


def _cell(measure: Measure, row: DamageSummary | None, own: bool, best: float | None) -> Cell:
    if row is None:
        return Cell("–", own, False)
    return Cell(measure.text(row), own, own and best is not None and measure.rank(row) == best)
