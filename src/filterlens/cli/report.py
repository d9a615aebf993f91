# SPDX-License-Identifier: Apache-2.0
"""``filterlens report``."""

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options
from filterlens.cli.console import result


def report(
    run: Annotated[
        Path, typer.Argument(help="Run folder of `filterlens attribute` and `filterlens mask`.", show_default=False)
    ],
    json: options.Json = False,
) -> None:
    """Write RUN/report.html: findings, pictures, matrices, distribution, provenance, in one file."""
    from filterlens.report.build import build_report

    path = build_report(run)
    result({"run": str(run), "report": str(path)}, str(path), json)
