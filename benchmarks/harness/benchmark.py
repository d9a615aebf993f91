# SPDX-License-Identifier: Apache-2.0
"""What a benchmark is: an explanation, goals, a table, and the function that fills it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks.harness.goal import Goal, Verdict
from benchmarks.harness.machine import this_machine
from benchmarks.harness.record import Cell, Record, Row
from benchmarks.harness.settings import Settings


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        key: Of the rows.
        title: What readers see, unit included.
        spec: How numbers are written, a format specification.
    """

    key: str
    title: str
    spec: str = ""

    def written(self, row: Row) -> str:
        """Return the row's cell as text; a dash where there is none."""
        value: Cell = row.get(self.key)  # records of earlier versions may lack it
        if value is None:
            return "–"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return value if isinstance(value, str) else f"{value:{self.spec}}"


@dataclass(frozen=True)
class Findings:
    """What a run found.

    Attributes:
        rows: Of the table; they may hold more than its columns.
        verdicts: One per goal, in their order.
        notes: What a reader must know of this run.
    """

    rows: Sequence[Row]
    verdicts: Sequence[Verdict]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Benchmark:
    """One question with figures as its answer.

    Attributes:
        name: On the command line, and of its file.
        title: One line.
        explanation: One paragraph: what is measured, and how.
        goals: Goals for the figures.
        columns: Of its table.
        measure: Does the work.
    """

    name: str
    title: str
    explanation: str
    goals: tuple[Goal, ...]
    columns: tuple[Column, ...]
    measure: Callable[[Settings], Findings]

    def run(self, settings: Settings) -> Record:
        """Measure and return the record; a quick run proves that the benchmark works and judges nothing."""
        started = time.monotonic()
        found = self.measure(settings)
        return Record(
            benchmark=self.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=settings.command(self.name),
            quick=settings.quick,
            seconds=round(time.monotonic() - started, 1),
            machine=this_machine(settings.where),
            rows=tuple(found.rows),
            verdicts=tuple(
                each.model_copy(update={"met": None}) if settings.quick else each for each in found.verdicts
            ),
            notes=tuple(found.notes),
        )

    def table(self, record: Record) -> list[list[str]]:
        """Return the record's rows as text, one cell per column."""
        return [[column.written(row) for column in self.columns] for row in record.rows]
