# SPDX-License-Identifier: Apache-2.0
"""How commands name a base and the adapters on it."""

from typing import Annotated

import typer

Base = Annotated[
    str,
    typer.Option(
        "--base",
        help="What adapters are put on: a checkpoint, or a pair that ships (its baseline; its target as NAME/target).",
        show_default=False,
    ),
]
OptionalBase = Annotated[
    str | None,
    typer.Option(
        "--base",
        help="What adapters are put on: a checkpoint, or a pair that ships (its baseline; its target as NAME/target).",
        show_default=False,
    ),
]
Adapters = Annotated[
    list[str],
    typer.Option(
        "--adapter",
        metavar="FILE=STRENGTH",
        help="Adapter and its strength; repeat it. On a baseline 0 changes nothing and 1 brings the function in, on a "
        "target 1 changes nothing and 0 takes it out; beyond that it extrapolates.",
        show_default=False,
    ),
]
OptionalAdapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="FILE=STRENGTH",
        help="With --base: adapter and its strength; repeat it. See `filterlens adapter merge --help`.",
        show_default=False,
    ),
]
