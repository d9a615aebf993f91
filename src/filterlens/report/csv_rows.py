# SPDX-License-Identifier: Apache-2.0
"""Rows of a CSV table whose every complaint names the file, the line and the column."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filterlens.errors import FilterlensError

LARGEST = 1e15


@dataclass(frozen=True)
class Row:
    """One line of a table, read by column name."""

    path: Path
    line: int
    cells: dict[str, str]

    def text(self, column: str) -> str:
        """Return the cell as written.

        Raises:
            FilterlensError: It holds control characters, which no name does.
        """
        if not self.cells[column].isprintable():
            raise self._complaint(column, "printable text")
        return self.cells[column]

    def number(self, column: str) -> float:
        """Return the cell as a number; ``inf`` and ``nan`` are numbers.

        Raises:
            FilterlensError: The cell is no number.
        """
        try:
            return float(self.cells[column])
        except ValueError as error:
            raise self._complaint(column, "a number") from error

    def amount(self, column: str) -> float:
        """Return the cell as a number that can be drawn: finite, and of a size that some measurement has.

        Raises:
            FilterlensError: It is none.
        """
        found = self.number(column)
        if not abs(found) <= LARGEST:
            raise self._complaint(column, f"a number between {-LARGEST:g} and {LARGEST:g}")
        return found

    def maybe(self, column: str) -> float | None:
        """Return the cell as a number, or None where it is empty."""
        return self.number(column) if self.cells[column].strip() else None

    def integer(self, column: str) -> int:
        """Return the cell as a whole number.

        Raises:
            FilterlensError: The cell is no whole number.
        """
        try:
            return int(self.cells[column])
        except ValueError as error:
            raise self._complaint(column, "a whole number") from error

    def _complaint(self, column: str, kind: str) -> FilterlensError:
        where = f"'{self.path}', line {self.line}, column '{column}'"
        return FilterlensError(f"{where}: {self.cells[column][:60]!r} is not {kind}. Write the file again.")


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    """Read a table line by line; other columns than the asked ones are ignored.

    Args:
        path: A CSV file with a header.
        columns: The columns that must exist.

    Raises:
        FilterlensError: The file cannot be read, lacks a column, or has a line of another length.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            if lacking := [column for column in columns if column not in header]:
                raise FilterlensError(f"'{path}' lacks the column(s) {', '.join(lacking)}. Write the file again.")
            for values in reader:
                if len(values) != len(header):
                    raise FilterlensError(
                        f"'{path}', line {reader.line_num}: {len(values)} cells instead of {len(header)}. "
                        "Write it again."
                    )
                yield Row(path, reader.line_num, dict(zip(header, values, strict=True)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FilterlensError(f"Cannot read '{path}': {error}.") from error
