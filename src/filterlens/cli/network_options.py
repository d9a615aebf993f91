# SPDX-License-Identifier: Apache-2.0
"""Options that say what a user's own checkpoints are."""

from typing import Annotated

import typer

Architecture = Annotated[
    str | None,
    typer.Option(
        "--architecture",
        help="Of your checkpoints, where it cannot be read off them: your own code as package.module:factory or "
        "package.module:factory,option=value (it is imported and called), or a name of filterlens.",
        show_default=False,
    ),
]
RunArchitecture = Annotated[
    str | None,
    typer.Option(
        "--architecture",
        help="Of a run of your own code: its package.module:factory again, as code is only run if you name it.",
        show_default=False,
    ),
]
Linear = Annotated[
    str,
    typer.Option(
        "--linear",
        help="What a filter of a linear or attention layer is: rows (weight[out, :]), weights (weight[out, in]) or "
        "none.",
    ),
]
