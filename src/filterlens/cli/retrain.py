# SPDX-License-Identifier: Apache-2.0
"""``filterlens retrain``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal, result
from filterlens.stopping import told_signals

if TYPE_CHECKING:
    from filterlens.editing.retrain_settings import RetrainOptions


def retrain(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="Run folder of `filterlens attribute`.", show_default=False)],
    degradation: Annotated[
        str, typer.Option("--degradation", help="Degradation to train on, for example blur:2.", show_default=False)
    ],
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of HR training images; not with --pairs.", show_default=False),
    ] = None,
    pairs: options.Pairs = None,
    validation: options.Validation = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A .safetensors file, or a folder.", show_default="RUN/retrained.safetensors"
        ),
    ] = None,
    baseline: options.RunBaseline = None,
    target: options.RunTarget = None,
    architecture: options.RunArchitecture = None,
    call: options.Call = None,
    fresh: options.Fresh = False,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "auto",
    json: options.Json = False,
) -> None:
    """Train only the found filters of the baseline on one degradation: do they alone learn its function?

    All other weights, biases included, stay bit-identical. If it is killed, run the same command again to continue.
    A degradation that the run knows by pairs: `--degradation rain --pairs rain=LQ_DIR,GT_DIR` in place of --images.
    Writes the network as a checkpoint and, next to it, a JSON file with PSNR before and after.
    """
    from filterlens.jobs.inputs import named_pairs
    from filterlens.jobs.pairs import RunPair
    from filterlens.jobs.retrain import retrain_to_folder, written_for

    chosen: RetrainOptions = context.obj
    known = named_pairs(pairs)
    written = written_for(run, degradation, known)
    settings = chosen.settings(written)
    with told_signals():
        record = retrain_to_folder(
            run,
            settings,
            images,
            pairs=known,
            percent=chosen.percent,
            part=chosen.part,
            found_for=chosen.found_for or (None if written == degradation else degradation),
            validation=validation,
            output=output,
            reopening=RunPair(options.own_code(architecture, call), baseline, target),
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
