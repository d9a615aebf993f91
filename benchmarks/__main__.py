# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks``: measure, and write records and the page."""

import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.catalogue import CATALOGUE
from benchmarks.harness import terminal
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.settings import OUTPUT, PAIR, Settings
from benchmarks.page import read_records, render
from filterlens.errors import FilterlensError, unknown
from filterlens.files import write_text

app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def main(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help=f"{', '.join(CATALOGUE)}; all by default.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of HR images.", show_default="photographs that ship")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small settings: about two minutes on two cores.")] = False,
    output: Annotated[Path, typer.Option(help="Folder of the records, one JSON file each.")] = OUTPUT,
    page: Annotated[Path | None, typer.Option(help="Render all records there into this Markdown file.")] = None,
    run: Annotated[bool, typer.Option("--run/--no-run", help="Whether to measure, or only to render.")] = True,
    threads: Annotated[int | None, typer.Option(min=1, help="Of PyTorch.", show_default="PyTorch's choice")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    pair: Annotated[str, typer.Option(help="A pair that ships.")] = PAIR,
    full_reference: Annotated[
        bool, typer.Option("--full-reference", help="Run the whole reference loop instead of extrapolating: hours.")
    ] = False,
) -> None:
    """Measure how fast, how exact and how frugal filterlens is, on this machine."""
    try:
        chosen = names or list(CATALOGUE)
        for name in chosen:
            if name not in CATALOGUE:
                raise unknown("benchmark", name, CATALOGUE)
        if threads is not None:
            torch.set_num_threads(threads)
        settings = Settings(torch.get_num_threads(), images, quick, output, device, pair, full_reference)
        failures = [name for name in chosen if not _measured(CATALOGUE[name], settings)] if run else []
        if page is not None:
            write_text(page, render(read_records(output)))
        if failures:
            raise FilterlensError(f"Failed: {', '.join(failures)}.")
    except FilterlensError as error:
        terminal.error(str(error))
        raise typer.Exit(error.exit_code) from None


def _measured(benchmark: Benchmark, settings: Settings) -> bool:
    """Run one benchmark; its failure is told and leaves the others their turn."""
    try:
        record = benchmark.run(settings)
    except FilterlensError as error:
        terminal.error(f"{benchmark.name}: {error}")
        return False
    record.write(settings.output)
    terminal.show(benchmark, record)
    return True


if __name__ == "__main__":
    sys.exit(app(prog_name="python -m benchmarks"))
