# SPDX-License-Identifier: Apache-2.0
"""``filterlens paper``."""

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal, result


def paper(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="EXPERIMENT", help="Experiments to run, or all; without any, they are listed."),
    ] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="quick, cpu, full, or a path to a .toml file.")] = "quick",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the pages.", show_default="runs/paper-RECIPE")
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            "--work", help="Folder of intermediate results; a killed run continues from it.", show_default="OUTPUT/work"
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of the image sets.", show_default="see filterlens data where")
    ] = None,
    find: Annotated[
        Path | None, typer.Option("--find", help="Find filters on this folder's images instead.", show_default=False)
    ] = None,
    judge: Annotated[
        Path | None, typer.Option("--judge", help="Judge on this folder's images instead.", show_default=False)
    ] = None,
    training: Annotated[
        list[Path] | None,
        typer.Option("--train", help="Train on this folder's images instead; repeat it.", show_default=False),
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option("--targets", help="Folder of further target models; missing ones are trained into it.",
                     show_default="runs/targets"),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Target models per pair.", show_default="the recipe's")
    ] = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:  # fmt: skip
    """Reproduce the paper's tables and figures and add ours, each with a page that says whether the claims hold.

    Slow results are kept in --work: after a kill, run the same command again. Under torchrun, processes share the work.
    """
    from filterlens.paper.catalogue import EXPERIMENTS

    if not names:
        listed = {name: each.summary for name, each in EXPERIMENTS.items()}
        width = max(map(len, listed))
        text = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in listed.items())
        result({"experiments": listed}, f"Experiments of filterlens paper:\n{text}", json)
        return
    from filterlens.errors import FilterlensError
    from filterlens.execution.hardware import resolve_device
    from filterlens.paper.images import Library
    from filterlens.paper.laboratory import Laboratory
    from filterlens.paper.recipe import load_recipe, with_folders
    from filterlens.paper.run import chosen, run_experiments
    from filterlens.work.processes import processes_of_this_job

    wanted = chosen(names)
    loaded = with_folders(load_recipe(recipe, targets=seeds), find, judge, training)
    folder = output or Path("runs") / f"paper-{loaded.name}"
    laboratory = Laboratory(
        work or folder / "work",
        loaded.common,
        library=Library(data),
        targets_folder=targets or Path("runs") / "targets",
        device=resolve_device(device),
        processes=processes_of_this_job(),
        progress=Terminal(),
    )
    report = run_experiments(wanted, laboratory, loaded, folder)
    if laboratory.processes.rank:
        return
    value = {
        "pages": {name: str(path) for name, path in report.pages.items()},
        "failures": report.failures,
        "seconds": report.seconds,
        "index": str(report.index),
    }
    lines = [f"{name}: {path} ({report.seconds[name]:.0f} s)" for name, path in report.pages.items()]
    result(value, "\n".join([*lines, f"All claims: {report.index}"]), json)
    if report.failures:
        raise FilterlensError("; ".join(f"{name}: {reason}" for name, reason in report.failures.items()))
