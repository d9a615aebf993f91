# SPDX-License-Identifier: Apache-2.0
"""``filterlens schema``."""

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options
from filterlens.cli.console import result


def schema(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="train or paper; without it, the schemas are listed.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder to write NAME.schema.json to; without NAME, all schemas.", show_default=False
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Print or write the JSON schemas with which editors complete and check settings files.

    An editor that knows TOML schemas (Even Better TOML, taplo) reads the path from the first line of the file:
    `#:schema train.schema.json`.
    """
    from json import dumps

    from filterlens.jobs.schemas import SETTINGS_FILES, schema_of, write_schemas

    if output is not None:
        paths = [str(path) for path in write_schemas(output, [name] if name else list(SETTINGS_FILES))]
        result({"files": paths}, "\n".join(paths), json)
    elif name is not None:
        found = schema_of(name)
        result(found, dumps(found, indent=2, ensure_ascii=False), json)
    else:
        listed = {key: file.title for key, file in SETTINGS_FILES.items()}
        result({"schemas": listed}, "\n".join(f"  {key:<6} {title}" for key, title in listed.items()), json)
