# SPDX-License-Identifier: Apache-2.0
"""What a benchmark leaves on disk: one JSON file with machine, command, rows and verdicts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.harness.goal import Verdict
from benchmarks.harness.machine import Machine
from filterlens.errors import FilterlensError
from filterlens.files import read_json, write_json

Cell = str | bool | int | float | None
Row = dict[str, Cell]


class Record(BaseModel):
    """One run of one benchmark.

    Attributes:
        benchmark: Its name.
        created: When, ISO 8601.
        command: That measures it again.
        quick: Whether the small settings were used.
        seconds: That the run took.
        machine: Where.
        rows: The table.
        verdicts: On its goals.
        notes: What a reader must know of this run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    created: str
    command: str
    quick: bool
    seconds: float
    machine: Machine
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]

    def write(self, folder: Path) -> Path:
        """Write ``<folder>/<benchmark>.json`` and return its path."""
        path = folder / f"{self.benchmark}.json"
        write_json(path, self.model_dump(mode="json"))
        return path


def read_record(path: Path) -> Record:
    """Read what :meth:`Record.write` wrote.

    Raises:
        FilterlensError: The file is missing or no record.
    """
    content: Any = read_json(path)
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        raise FilterlensError(f"'{path}' is no record of a benchmark ({error.error_count()} faults).") from error


def numbers(rows: Iterable[Row], key: str) -> list[float]:
    """Return one column of a table in which every cell is a number."""
    cells = [row[key] for row in rows]
    return [float(cell) for cell in cells if isinstance(cell, int | float)]


def add_ratios(rows: Sequence[Row]) -> None:
    """Give every row, as ``faster``, how many times its ``seconds`` go into those of the first."""
    first, *_ = seconds = numbers(rows, "seconds")
    for row, each in zip(rows, seconds, strict=True):
        row["faster"] = first / each
