# SPDX-License-Identifier: Apache-2.0
"""What the user sees: tables on standard output, what is going on and errors on standard error."""

import sys

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.record import Record

FILE_WIDTH = 136  # where standard output is no terminal

_output = Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)
_errors = Console(stderr=True, highlight=False)
_STYLES = {True: "green", False: "bold red", None: "yellow"}


def note(text: str) -> None:
    """Say what is going on."""
    _errors.print(text, style="dim", markup=False)


def error(text: str) -> None:
    """Say what went wrong."""
    _errors.print(f"error: {text}", style="bold red", markup=False)


def show(benchmark: Benchmark, record: Record) -> None:
    """Print the table of a record, its notes, and whether the goals are met."""
    _output.print(f"{benchmark.name}: {benchmark.title}", style="bold", markup=False)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in benchmark.columns:
        table.add_column(column.title, justify="right" if column.spec else "left", no_wrap=not column.spec)
    for cells in benchmark.table(record):
        table.add_row(*cells)
    _output.print(table)
    for text in record.notes:
        _output.print(text, markup=False)
    for verdict in record.verdicts:
        _output.print(f"{verdict.word}: {verdict.sentence}", style=_STYLES[verdict.met], markup=False)
    _output.print(f"{record.seconds:.0f} s; {record.command}\n", style="dim", markup=False)
