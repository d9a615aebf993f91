# SPDX-License-Identifier: Apache-2.0
"""``filterlens demo``."""

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal, result
from filterlens.cli.mask import own_cross_matrix


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.")] = Path("runs/demo"),
    pair: Annotated[str, typer.Option("--pair", help="Name of a shipped pair.")] = "srresnet-x2",
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    json: options.Json = False,
) -> None:
    """See the main job in minutes: a shipped network, free photographs, the found filters, the proof, a report.

    Finds the filters for blur and for noise on two photographs and judges them on two others. Needs no network access.
    """
    from filterlens.execution.hardware import resolve_device
    from filterlens.jobs.demo import run_demo

    judging = run_demo(
        output, pair=pair, seed=seed, device=str(resolve_device(device)), precision=precision, progress=Terminal()
    )
    matrix = own_cross_matrix(judging.damage, "faig", 1)
    text = f"{matrix}\nDone in {judging.facts['seconds']:.0f} s. Open {judging.facts['report']} in a browser."
    result(judging.facts, text, json)
