# SPDX-License-Identifier: Apache-2.0
"""``filterlens attribute``."""

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal, complain_of, result


def attribute(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder to write.", show_default=False)],
    images: options.MaybeImages = None,
    degradation: options.MaybeDegradations = None,
    pairs: options.Pairs = None,
    pair: options.PairName = None,
    baseline: options.Baseline = None,
    target: options.Target = None,
    architecture: options.Architecture = None,
    call: options.Call = None,
    linear: options.Linear = "rows",
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            help="faig, faig-no-elimination, ig, change-absolute, change-relative, taylor, random, "
            "random-layer-matched, random-magnitude-matched, goal-directed, or all; repeat it. "
            "filters.csv holds the first one.",
            show_default="faig",
        ),
    ] = None,
    allow_small: Annotated[
        bool, typer.Option("--allow-small", help="Accept images smaller than the network's receptive field.")
    ] = False,
    strict: options.Strict = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace another ranking in the run folder, and all results made from it.")
    ] = False,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Rank every filter of a network for each degradation.

    Checkpoints may have any architecture that filterlens recognises, or spandrel once it is installed
    (pip install "filterlens[archs]"), or the architecture of your own code (--architecture).

    Writes filters.csv (degradation,layer,out,in,score,rank), scores.safetensors, distribution.csv and run.json. If it
    is killed, run the same command again to continue. An image that cannot be used is left out and named in run.json,
    and the exit code is 1 (--strict: the job stops there). To share the work among processes, or machines that see the
    same folder: `torchrun --nproc-per-node 2 -m filterlens attribute …`.
    """
    from filterlens.attribution.methods import METHODS, known_methods, refuse_idle
    from filterlens.execution.hardware import resolve_device
    from filterlens.jobs.attribute import attribute_to_folder
    from filterlens.jobs.inputs import named_pairs, require_inputs
    from filterlens.jobs.pairs import open_pair
    from filterlens.run.folder import mask_command
    from filterlens.work.processes import processes_of_this_job

    known = named_pairs(pairs)
    require_inputs(images, degradation, known)  # a mistake is reported before anything is loaded
    methods = list(METHODS) if method and "all" in method else known_methods(method or ["faig"])
    refuse_idle(context.obj, methods)
    processes = processes_of_this_job()
    opened = open_pair(pair, baseline, target, architecture=options.own_code(architecture, call), linear=linear)
    facts = attribute_to_folder(
        opened.to(resolve_device(device)),
        images,
        degradation,
        output,
        pairs=known,
        methods=methods,
        settings=context.obj,
        allow_small=allow_small,
        strict=strict,
        force=force,
        processes=processes,
        progress=Terminal(),
    )
    if processes.rank != 0:
        return
    gap = facts["completeness_gap"]
    first = facts["settings"]["methods"][0]
    nodes_used = [entry["nodes"] for entry in facts["completeness"] if entry["method"] == first]
    value = {
        "run": str(output),
        "filters": facts["pair"]["filters"],
        "methods": facts["settings"]["methods"],
        "degradations": facts["settings"]["degradations"],
        "images": len(facts["images"]),
        "completeness_gap": gap,
        "nodes": nodes_used,
        "precision": facts["settings"]["precision"],
        "seconds": facts["seconds"],
    } | {key: facts[key] for key in ("left_out",) if key in facts}
    completeness = "" if gap is None else f", completeness gap at most {gap:.2%} with {_span(nodes_used)} nodes"
    text = (
        f"Ranked {facts['pair']['filters']} filters for {', '.join(facts['settings']['degradations'])} on "
        f"{len(facts['images'])} images in {facts['seconds']:.0f} s{completeness}.\n"
        f"{output / 'filters.csv'}\nNext: {mask_command(output, facts)}"
    )
    result(value, text, json)
    complain_of(facts, "Ranked")


def _span(numbers: list[int]) -> str:
    least, most = min(numbers), max(numbers)
    return str(least) if least == most else f"{least} to {most}"
