# SPDX-License-Identifier: Apache-2.0
"""``filterlens train``."""

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal, result


def train(
    images: Annotated[
        list[Path], typer.Option("--images", help="Folder of HR training images; repeat it.", show_default=False)
    ],
    recipe: Annotated[
        str, typer.Option("--recipe", help="cpu, reference, smoke, gpu, dan, dasr, or a path to a .toml file.")
    ] = "cpu",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for weights, log and checkpoints.", show_default="runs/train-RECIPE"
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation", help="Folder of HR images for the PSNR.", show_default="every 20th training image, held out"
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            help="Fine-tune only the target, from this network (.safetensors, or BasicSR .pth).",
            show_default="trained first",
        ),
    ] = None,
    architecture: Annotated[
        str | None, typer.Option("--architecture", help="srresnet, srcnn-style, dan or dasr.", show_default="recipe's")
    ] = None,
    scale: Annotated[int | None, typer.Option("--scale", help="2, 3 or 4.", show_default="recipe's")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Decides everything random.", show_default="recipe's")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of resuming what --output holds.")] = False,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    json: options.Json = False,
) -> None:
    """Train a baseline on clean inputs and fine-tune a target from it on degraded ones.

    Killed at any moment, the same command goes on where it stopped, with the same numbers. Several targets from one
    baseline: `--baseline FILE` and another `--seed` for each. Several processes:
    `torchrun --nproc-per-node 2 -m filterlens train …`.
    """
    from filterlens.training.recipe import load_recipe
    from filterlens.workflow.train import leads_processes, train_to_folder

    chosen = load_recipe(recipe, architecture=architecture, scale=scale, seed=seed)
    folder = output or Path("runs") / f"train-{chosen.name}"
    written = train_to_folder(
        chosen,
        images,
        folder,
        validation=validation,
        baseline=baseline,
        device=device,
        precision=precision,
        fresh=fresh,
        progress=Terminal(),
    )
    if not leads_processes():
        return
    value = {role: str(path) for role, path in written.items()} | {"log": str(folder / "log.jsonl")}
    text = "\n".join(str(path) for path in written.values())
    next_line = f"Next: filterlens attribute --baseline {written['baseline']} --target {written['target']} …"
    result(value, f"{text}\n{next_line}", json)
