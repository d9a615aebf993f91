# SPDX-License-Identifier: Apache-2.0
"""Options of the commands that work through a folder of images, and how they tell what went wrong."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from filterlens.cli.console import error

if TYPE_CHECKING:
    from filterlens.jobs.transform import Failure

Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first image that cannot be used.")]
Recursive = Annotated[bool, typer.Option("--recursive", help="Also the images of all subfolders.")]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Keep outputs that exist, whatever made them, and make the others.")
]


def described(failures: "Iterable[Failure]") -> list[dict[str, Any]]:
    """Return failures for a JSON result."""
    return [{"image": str(each.path), "error": each.reason} for each in failures]


def complain(failures: "Iterable[Failure]") -> None:
    """Name every image that could not be used, with the reason, and end with exit code 1 if there is one.

    Raises:
        typer.Exit: There is one.
    """
    failed = list(failures)
    for each in failed:
        error(named(each.path, each.reason))
    if failed:
        raise typer.Exit(1)


def named(path: Path, reason: str) -> str:
    """Return the reason, with the image's name before it where it does not say it."""
    return reason if str(path) in reason else f"{path}: {reason}"
