# SPDX-License-Identifier: Apache-2.0
"""``filterlens train``."""

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal, result
from filterlens.errors import UsageError
from filterlens.stopping import told_signals


def train(
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--images",
            help="Folder of HR training images; repeat it. With --pairs it is not needed: their GT is taken.",
            show_default=False,
        ),
    ] = None,
    pairs: options.Pairs = None,
    recipe: Annotated[
        str, typer.Option("--recipe", help="cpu, reference, smoke, gpu, dan, dasr, denoise, or a path to a .toml file.")
    ] = "cpu",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for weights, log and checkpoints.", show_default="runs/train-RECIPE"
        ),
    ] = None,
    validation: options.Validation = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            help="Fine-tune only the target, from this network (.safetensors, or BasicSR .pth).",
            show_default="trained first",
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Like --baseline, for a network of any architecture: architecture and scale are taken from it. Makes "
            "a target for a network that has none.",
            show_default=False,
        ),
    ] = None,
    degradation: Annotated[
        list[str] | None,
        typer.Option(
            "--degradation",
            help="Degradation that the target learns to remove; repeat it. Each one degrades half of the samples. "
            "clean: none.",
            show_default="recipe's",
        ),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", help="Training steps of the target.", show_default="recipe's")
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            "--architecture",
            help="A network of filterlens, for example srresnet or dan; with --from also your own code, "
            "package.module:factory.",
            show_default="recipe's",
        ),
    ] = None,
    call: options.Call = None,
    scale: Annotated[
        int | None,
        typer.Option("--scale", help="2, 3 or 4; 1 where the size stays.", show_default="recipe's"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of everything random.", show_default="recipe's")
    ] = None,
    fresh: options.Fresh = False,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    json: options.Json = False,
) -> None:
    """Train a baseline on clean inputs and fine-tune a target from it on degraded ones.

    If it is killed, run the same command again to continue, with the same numbers: SIGTERM and Ctrl-C lose nothing, a
    sudden end loses at most three minutes. Several targets from one baseline: `--baseline FILE` and
    another `--seed` for each. A target for a network of any architecture:
    `--from model.safetensors --degradation blur:2 --degradation noise:0.1`. Several processes:
    `torchrun --nproc-per-node 2 -m filterlens train …`. A target for degradations that are known by images alone:
    `--pairs rain=LQ_DIR,GT_DIR --pairs haze=LQ_DIR,GT_DIR`, which replace the recipe's; with --degradation it learns
    both.
    """
    from filterlens.degradations.pipeline import CLEAN
    from filterlens.jobs.inputs import named_pairs
    from filterlens.jobs.train import recipe_from, train_to_folder
    from filterlens.models.user_module import is_factory
    from filterlens.training.recipe import load_recipe, with_target
    from filterlens.work.processes import processes_of_this_job

    if start is not None and baseline is not None:
        raise UsageError("Give either --from or --baseline: both name the network to start from.")
    if start is not None:
        chosen = recipe_from(start, recipe, architecture=options.own_code(architecture, call), scale=scale, seed=seed)
    else:
        if call is not None:
            raise UsageError("--call is for a network of your own code: it goes with --from and --architecture.")
        chosen = load_recipe(recipe, architecture=architecture, scale=scale, seed=seed)
    known = named_pairs(pairs)
    chosen = with_target(chosen, degradation or ((CLEAN,) if known else ()), iterations)
    folder = output or Path("runs") / f"train-{chosen.name}"
    processes = processes_of_this_job()
    with told_signals():
        written = train_to_folder(
            chosen,
            images or (),
            folder,
            pairs=known,
            validation=validation,
            baseline=baseline or start,
            device=device,
            precision=precision,
            fresh=fresh,
            processes=processes,
            progress=Terminal(),
        )
    if processes.rank != 0:
        return
    value = {role: str(path) for role, path in written.items()} | {"log": str(folder / "log.jsonl")}
    text = "\n".join(str(path) for path in written.values())
    code = f" --architecture {chosen.architecture}" if is_factory(chosen.architecture) else ""
    next_line = f"Next: filterlens attribute --baseline {written['baseline']} --target {written['target']}{code} …"
    result(value, f"{text}\n{next_line}", json)
