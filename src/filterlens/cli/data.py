# SPDX-License-Identifier: Apache-2.0
"""``filterlens data``: list, get, where, check."""

from pathlib import Path
from typing import Annotated, Any

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal, result
from filterlens.errors import FilterlensError

data = typer.Typer(
    help="Standard image sets: list the known and the installed ones, fetch one, verify a copy.",
    rich_markup_mode=None,
)
SetName = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the set, as `filterlens data list` shows it.", show_default=False)
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder of all image sets. Default: the variable FILTERLENS_DATA, else ~/.cache/filterlens/data.",
        show_default=False,
    ),
]


@data.command("list")
def list_sets(root: DataRoot = None, json: options.Json = False) -> None:
    """List the known image sets, and the folders of those on this machine."""
    from filterlens.data.catalogue import CATALOGUE, data_root, locate

    place = data_root(root)
    rows = [(entry, locate(name, place)) for name, entry in CATALOGUE.items()]
    value: dict[str, Any] = {
        "root": str(place),
        "sets": [
            {
                "name": entry.name,
                "title": entry.title,
                "images": entry.images,
                "licence": entry.licence,
                "page": entry.page,
                "addresses": [list(source.addresses) for source in entry.sources],
                "note": entry.note,
                "folder": str(folder) if folder else None,
            }
            for entry, folder in rows
        ],
    }
    lines = [
        f"{entry.name:<15} {entry.images:>5}  {entry.title}; {entry.licence}; {folder or 'not here: ' + entry.page}"
        for entry, folder in rows
    ]
    result(value, "\n".join([*lines, f"Folder: {place}"]), json)


@data.command("get")
def get(
    name: SetName,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Archive or folder that you downloaded yourself.", show_default=False),
    ] = None,
    root: DataRoot = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Fetch an image set from its official address, verify it and put it in the data folder."""
    from filterlens.data.catalogue import data_root, named
    from filterlens.data.download import get_set

    entry = named(name)
    found = get_set(entry, data_root(root), source=source, force=force, progress=Terminal())
    result(_as_json(found), f"{found}\nLicence: {entry.licence}. {entry.note}".rstrip(), json)


@data.command("where")
def where(name: SetName, root: DataRoot = None, json: options.Json = False) -> None:
    """Print the folder of an image set on this machine."""
    from filterlens.data.catalogue import find_set

    folder = find_set(name, root)
    result({"name": name, "folder": str(folder)}, str(folder), json)


@data.command("check")
def check(
    name: SetName,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Check this folder instead.", show_default=False)
    ] = None,
    root: DataRoot = None,
    json: options.Json = False,
) -> None:
    """Verify a copy of an image set: by its pixels where they are known, else by number and size of its images."""
    from filterlens.data.catalogue import find_set, named
    from filterlens.data.verification import verify

    entry = named(name)
    found = verify(entry, folder or find_set(name, root), progress=Terminal())
    if not found.passed:
        raise FilterlensError(f"{found}. `filterlens data get {entry.name} --force` fetches it anew.")
    result(_as_json(found), str(found), json)


def _as_json(found: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found) | {"folder": str(found.folder), "passed": found.passed}
