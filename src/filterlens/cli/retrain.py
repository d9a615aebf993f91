# SPDX-License-Identifier: Apache-2.0
"""``filterlens retrain``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal, result
from filterlens.stopping import told_signals


def retrain(
    run: Annotated[Path, typer.Argument(help="Run folder of `filterlens attribute`.", show_default=False)],
    degradation: Annotated[
        str, typer.Option("--degradation", help="What to train on, for example blur:2.", show_default=False)
    ],
    images: Annotated[Path, typer.Option("--images", help="Folder of HR training images.", show_default=False)],
    iterations: Annotated[int, typer.Option("--iterations", help="Training steps.")] = 2000,
    percent: Annotated[float, typer.Option("--percent", help="Share of the filters to train, in percent.")] = 1.0,
    part: Annotated[
        str,
        typer.Option(
            "--part",
            help="found; or as many weights as the found filters have: random, last-layers, low-rank; or all filters.",
        ),
    ] = "found",
    found_for: Annotated[
        str | None,
        typer.Option(
            "--found-for", help="Train the filters that were found for another degradation.", show_default="the same"
        ),
    ] = None,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", help="Peak rate of Adam; a tenth suits --part all.")
    ] = 3e-3,
    batch: Annotated[int, typer.Option("--batch", help="Patches a step.")] = 16,
    patch: Annotated[int, typer.Option("--patch", help="Side of the HR patches in pixels.")] = 64,
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation", help="Folder of HR images for the PSNR.", show_default="every 20th training image, held out"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A .safetensors file, or a folder.", show_default="RUN/retrained.safetensors"
        ),
    ] = None,
    baseline: options.RunBaseline = None,
    target: options.RunTarget = None,
    architecture: options.RunArchitecture = None,
    seed: options.Seed = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; the new result replaces what --output holds when it is whole.")
    ] = False,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    json: options.Json = False,
) -> None:
    """Train only the found filters of the baseline on one degradation: do they alone learn its function?

    All other weights, biases included, stay bit-identical. Killed at any moment, the same command goes on where it
    stopped. Writes the network as a checkpoint and, next to it, a JSON file with PSNR before and after.
    """
    from filterlens.editing.retrain_settings import settings_for
    from filterlens.jobs.pairs import Moved
    from filterlens.jobs.retrain import retrain_to_folder

    settings = settings_for(
        degradation, iterations=iterations, learning_rate=learning_rate, batch=batch, patch=patch, seed=seed,
        warmup=min(100, iterations // 10),
    )  # fmt: skip
    with told_signals():
        record = retrain_to_folder(
            run,
            settings,
            images,
            percent=percent,
            part=part,
            found_for=found_for,
            validation=validation,
            output=output,
            architecture=architecture,
            moved=Moved(baseline, target),
            device=device,
            precision=precision,
            fresh=fresh,
            progress=Terminal(),
        )
    keys = ("run", "weights", "trained", "trained_weights", "psnr", "judged_on", "losses", "seconds")
    result({key: record[key] for key in keys}, _as_text(record), json)


def _as_text(record: dict[str, Any]) -> str:
    head = f"{record['trained_weights']} weights trained ({record['trained']['part']}), biases frozen"
    psnr = record["psnr"]
    lines = [
        f"PSNR on {name}: {before:.2f} dB before, {psnr['retrained'][name]:.2f} after "
        f"(target: {psnr['target'][name]:.2f})"
        for name, before in psnr["baseline"].items()
    ]
    return "\n".join([head, *lines, record["weights"], f"Next: filterlens restore --model {record['weights']} …"])
