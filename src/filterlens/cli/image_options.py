# SPDX-License-Identifier: Apache-2.0
"""Options of the commands that work through a folder of images, and how they tell what went wrong."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from filterlens.cli.console import error
from filterlens.errors import FilterlensError

if TYPE_CHECKING:
    from filterlens.data.usable import LeftOut

Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first image that cannot be used.")]
Recursive = Annotated[bool, typer.Option("--recursive", help="Also the images of all subfolders.")]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Keep outputs that exist, whatever made them, and make the others.")
]


def described(left_out: "Iterable[LeftOut]") -> list[dict[str, Any]]:
    """Return images that were left out for a JSON result."""
    return [{"image": each.path, "error": each.reason} for each in left_out]


def complain(left_out: "Iterable[LeftOut]") -> None:
    """Name every image that could not be used, with the reason, and end with exit code 1 if there is one.

    Raises:
        typer.Exit: There is one.
    """
    messages = [each.message for each in left_out]
    for message in messages:
        error(message)
    if messages:
        raise typer.Exit(1)


def complain_of(facts: Mapping[str, Any], done: str) -> None:
    """Raise after the work is done where a job's record says that images were left out, so that a script notices.

    Raises:
        FilterlensError: Names them.
    """
    from filterlens.record import listed

    if left_out := facts.get("left_out"):
        names = listed(each["name"] for each in left_out)
        raise FilterlensError(f"{done}, but without {names}: see the notes above, or left_out in the run's record.")
