# SPDX-License-Identifier: Apache-2.0
"""CSV tables whose columns are the fields of a class: one writer, and one reader that reports file, line and column.

A field of type ``str``, ``int`` or ``float``, or one of them or None, is a column. A field whose type is a dataclass or
a NamedTuple stands for the columns of that type. A field with a default is a column that older files may lack.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from inspect import Parameter, signature
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from filterlens.errors import FilterlensError, UsageError
from filterlens.files import write_text

if TYPE_CHECKING:
    import pandas

Row = TypeVar("Row")
LARGEST = 1e15


@dataclass(frozen=True)
class Column:
    """How a column is written and checked, where that differs from the usual.

    Attributes:
        name: Name in the file; empty takes the field's name.
        digits: Significant digits of a float.
        bounded: Whether its numbers must be fit for drawing: finite, and of a size that some measurement has.
        none: The cell that means None.
    """

    name: str = ""
    digits: int = 6
    bounded: bool = False
    none: str = ""


Amount = Annotated[float, Column(bounded=True)]
"""A number that can be drawn."""


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV, whole or not at all; None becomes an empty cell, floats keep six significant digits."""
    _write(path, header, ([_text(value, Column()) for value in row] for row in rows))


def write_rows(path: Path, kind: type[Row], rows: Iterable[Row]) -> None:
    """Write rows as a CSV, whole or not at all.

    Args:
        path: The file.
        kind: Class of the rows, whose fields are the columns.
        rows: The rows.
    """
    fields = _columns_of(_fields(kind))
    columns = [field.column for field in fields.values()]
    values = attrgetter(*fields)
    _write(path, [column.name for column in columns], (map(_text, values(row), columns) for row in rows))


def frame_of(kind: type[Row], rows: Iterable[Row]) -> "pandas.DataFrame":
    """Return rows as a pandas frame with the columns of the file that :func:`write_rows` writes, numbers unrounded.

    Args:
        kind: Class of the rows, whose fields are the columns.
        rows: The rows.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise UsageError("A pandas frame needs pandas, which is not installed: pip install pandas") from None
    fields = _columns_of(_fields(kind))
    values = attrgetter(*fields)
    cells = zip(*map(values, rows), strict=True)
    columns = {
        field.column.name: [field.column.none or None if value is None else value for value in column]
        for field, column in zip(fields.values(), cells, strict=False)
    }
    frame = pandas.DataFrame(columns, columns=[field.column.name for field in fields.values()])
    return frame.astype({field.column.name: "float64" for field in fields.values() if field.kind is float})


def read_rows(path: Path, kind: type[Row]) -> Iterator[Row]:
    """Read a table line by line; columns that the rows do not have are ignored.

    Args:
        path: A CSV file with a header.
        kind: Class of the rows.

    Raises:
        FilterlensError: The file cannot be read, lacks a column, has a line of another length, or a cell that is not
            what its column holds; the message names the line and the column.
    """
    fields = _fields(kind)
    columns = _columns_of(fields).values()
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            place = {name: index for index, name in enumerate(header)}
            required = [field.column.name for field in columns if field.default is Parameter.empty]
            if lacking := [name for name in required if name not in place]:
                raise FilterlensError(f"'{path}' lacks the column(s) {', '.join(lacking)}. Write the file again.")
            present = [(place.get(field.column.name), field) for field in columns]
            for line in reader:
                if len(line) != len(header):
                    raise FilterlensError(
                        f"'{path}', line {reader.line_num}: {len(line)} cells instead of {len(header)}. Write it again."
                    )
                try:
                    values = [field.default if at is None else field.value(line[at]) for at, field in present]
                except ValueError as error:
                    raise FilterlensError(f"'{path}', line {reader.line_num}, {error}. Write the file again.") from None
                yield _build(kind, fields, iter(values))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FilterlensError(f"Cannot read '{path}': {error}.") from error


@dataclass(frozen=True)
class _Field:
    """A field of a row's class: a column, or a class whose fields are columns.

    Attributes:
        name: The field's name.
        kind: ``str``, ``int`` or ``float``; or the class.
        may_be_none: Whether the type says "or None".
        default: The field's default, or ``Parameter.empty``.
        column: Format and name of the column.
        inside: The class's own fields; empty for a column.
    """

    name: str
    kind: type
    may_be_none: bool
    default: Any
    column: Column
    inside: "tuple[_Field, ...]" = ()

    def value(self, text: str) -> Any:
        """Return the value of a cell, or raise a ValueError that names the column and says what belongs into it."""
        if self.may_be_none and text.strip() == self.column.none:
            return None
        if self.kind is str:
            if not text.isprintable():
                raise self._error(text, "printable text")
            return text
        try:
            number = self.kind(text)
        except ValueError:
            raise self._error(text, "a whole number" if self.kind is int else "a number") from None
        if self.column.bounded and not abs(number) <= LARGEST:
            raise self._error(text, f"a number between {-LARGEST:g} and {LARGEST:g}")
        return number

    def _error(self, text: str, wanted: str) -> ValueError:
        return ValueError(f"column '{self.column.name}': {text[:60]!r} is not {wanted}")


def _fields(kind: type) -> tuple[_Field, ...]:
    fields = []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        plain, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        first, *others = get_args(plain) or (plain,)
        column = next((note for note in notes if isinstance(note, Column)), Column())
        default = signature(kind).parameters[name].default
        inside = () if first in (str, int, float) else _fields(first)
        fields.append(
            _Field(name, first, type(None) in others, default, replace(column, name=column.name or name), inside)
        )
    return tuple(fields)


def _columns_of(fields: Iterable[_Field], outside: str = "") -> dict[str, _Field]:
    """Return the columns in order: path of the value in a row, for example ``edit.percent`` → its field."""
    columns: dict[str, _Field] = {}
    for field in fields:
        place = f"{outside}{field.name}"
        columns |= _columns_of(field.inside, f"{place}.") if field.inside else {place: field}
    return columns


def _build(kind: type[Row], fields: Iterable[_Field], values: Iterator[Any]) -> Row:
    """Build a row from the values of its columns in their order."""
    return kind(*[_build(each.kind, each.inside, values) if each.inside else next(values) for each in fields])


def _write(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, stream.getvalue())


def _text(value: object, column: Column) -> object:
    if value is None:
        return column.none
    return f"{value:.{column.digits}g}" if isinstance(value, float) else value
