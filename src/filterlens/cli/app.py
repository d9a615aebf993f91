# SPDX-License-Identifier: Apache-2.0
"""``filterlens app``."""

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal


def app(
    pair: options.PairName = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Run folder of `filterlens attribute`: its pair and ranking.", show_default=False),
    ] = None,
    baseline: options.Baseline = None,
    target: options.Target = None,
    architecture: options.Architecture = None,
    call: options.Call = None,
    linear: options.Linear = "rows",
    degradations: Annotated[
        list[str] | None,
        typer.Option(
            "--degradation",
            help="With --baseline and --target: degradation to find filters for; repeat it. Default: blur:2 noise:0.1.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; any other than 127.0.0.1 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option("--port", help="Port to listen on.", show_default="the first free one from 7860 on")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "fp32",
) -> None:
    """Open a page in the browser: dial single functions of a network and watch a picture change.

    With --baseline and --target the filters are found first, on the shipped photographs (a minute or more). Nothing
    leaves this machine; files go to a temporary folder that is deleted when the app ends. Needs the extra `app`.
    """
    from filterlens.app.scratch import scratch_folder
    from filterlens.app.serve import check_gradio, free_port, serve
    from filterlens.app.studio import open_studio
    from filterlens.execution.hardware import resolve_device

    check_gradio()
    free_port(host, port)  # before a ranking takes minutes
    progress = Terminal()
    with scratch_folder() as scratch:
        studio = open_studio(
            pair=pair,
            run=run,
            baseline=baseline,
            target=target,
            architecture=options.own_code(architecture, call),
            linear=linear,
            degradations=degradations or (),
            scratch=scratch,
            device=resolve_device(device),
            precision=precision,
            progress=progress,
        )
        serve(studio, scratch, host=host, port=port, browser=browser, note=progress.note)
