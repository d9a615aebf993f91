# SPDX-License-Identifier: Apache-2.0
"""Tables that people read: text for ``print``, HTML for a notebook. Every cell is text already."""

from collections.abc import Sequence
from html import escape

from filterlens.errors import printable

MOST = 30
"""Rows that are shown; a longer table says how many it left out."""
Rows = Sequence[Sequence[str]]


def text_table(header: Sequence[str], rows: Rows, *, left: int = 1, more: str = "") -> str:
    """Return a table in columns of equal width.

    Args:
        header: Names of the columns.
        rows: Cells of each row.
        left: Number of columns, from the left, that hold words; the others hold numbers and end in line.
        more: Where all rows are, for a table that is too long to be shown.
    """
    shown = [[printable(cell) for cell in row] for row in (header, *rows[:MOST])]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in shown
    ]
    return "\n".join([*lines, *_rest(rows, more)])


def html_table(header: Sequence[str], rows: Rows, *, left: int = 1, more: str = "", raw: Sequence[int] = ()) -> str:
    """Return a table as HTML; arguments as for :func:`text_table`.

    Args:
        header: Names of the columns; without any, the table has no head.
        rows: Cells of each row.
        left: Number of columns that hold words.
        more: Where all rows are.
        raw: Columns whose cells are HTML already; all others are escaped.
    """
    head = "".join(_cell("th", escape(name), place < left or place in raw) for place, name in enumerate(header))
    lines = [
        "".join(
            _cell("td", cell if place in raw else escape(printable(cell)), place < left or place in raw)
            for place, cell in enumerate(row)
        )
        for row in rows[:MOST]
    ]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    rest = "".join(f"<div>{escape(line)}</div>" for line in _rest(rows, more))
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if header else ''}<tbody>{body}</tbody></table>{rest}"


def html_facts(title: str, facts: Sequence[tuple[str, str]]) -> str:
    """Return a value as HTML: its title, and a line for each fact."""
    return f"<div><strong>{escape(printable(title))}</strong></div>{html_table((), facts, left=2)}"


def counted(number: int, one: str) -> str:
    """Return a number with its noun: ``1 layer``, ``151,936 filters``."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def some(names: Sequence[str], most: int = 6) -> str:
    """Join names with commas, and say how many were left out."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + rest


def _cell(tag: str, content: str, left: bool) -> str:
    return f'<{tag} style="text-align:{"left" if left else "right"}">{content}</{tag}>'


def _rest(rows: Rows, more: str) -> list[str]:
    hidden = len(rows) - MOST
    return [f"… and {counted(hidden, 'more row')}{f': {more}' if more else ''}"] if hidden > 0 else []
