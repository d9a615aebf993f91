# SPDX-License-Identifier: Apache-2.0
"""``filterlens restore``."""

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal, complain, described, result


def restore(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder of images, or one image.", show_default=False)],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="Folder; for one image also a .png, .webp, .tif, .bmp or .jpg.", show_default=False
        ),
    ],
    pair: options.PairName = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="One checkpoint instead of a pair.", show_default=False)
    ] = None,
    network: Annotated[
        str, typer.Option("--network", help="Which network of the pair: target or baseline.")
    ] = "target",
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Run folder whose ranking and pair to use, with --without.", show_default=False),
    ] = None,
    without: Annotated[
        str | None,
        typer.Option(
            "--without", help="Degradation whose filters are replaced with the baseline's.", show_default=False
        ),
    ] = None,
    percent: Annotated[
        float, typer.Option("--percent", help="Share of the filters that --without replaces, in percent.")
    ] = 1.0,
    strength: Annotated[
        float,
        typer.Option(
            "--strength", help="With --without: 0 removes the function, 1 is the target; values between dial it."
        ),
    ] = 0.0,
    baseline: options.RunBaseline = None,
    target: options.RunTarget = None,
    base: Annotated[str | None, options.BASE] = None,
    adapters: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            metavar="FILE=STRENGTH",
            help="With --base: adapter file and its strength; repeat it. See `filterlens adapter merge --help`.",
            show_default=False,
        ),
    ] = None,
    architecture: options.Architecture = None,
    call: options.Call = None,
    any_base: Annotated[
        bool, typer.Option("--any-base", help="With --adapter: accept a base with another hash, with a warning.")
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile",
            help="Largest tile side in LR pixels; larger images are restored in tiles, with the same result. "
            "0: never. Default: 512 on a CPU, 1024 on a GPU.",
            show_default=False,
        ),
    ] = None,
    blend: Annotated[
        int,
        typer.Option(
            "--blend",
            metavar="PIXELS",
            help="Only for networks whose outputs depend on the whole image (channel attention): tile all the same, "
            "and cross-fade the seams over this many LR pixels, for example 32. 0: such a network sees whole images.",
        ),
    ] = 0,
    most_megapixels: Annotated[
        float | None,
        typer.Option(
            "--max-megapixels",
            help="Largest input image, checked before it is decoded; smaller ones are tried whatever memory is free. "
            "Default: 179, and as much as memory allows.",
            show_default=False,
        ),
    ] = None,
    recursive: options.Recursive = False,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    strict: options.Strict = False,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "fp32",
    json: options.Json = False,
) -> None:
    """Restore a folder of low-resolution images of any size, optionally without one function or with adapters.

    PNG stays PNG (also with 16 bits) and WebP stays WebP, both lossless; other formats become PNG. Gray, transparency
    (enlarged), colour profiles, EXIF and texts are kept. Nothing is overwritten without --force. If the command is
    killed, run it again to continue. Images that cannot be used are named at the end, and the exit code is 1.
    """
    from filterlens.execution.hardware import resolve_device, resolve_precision
    from filterlens.jobs.image_folder import Rules
    from filterlens.jobs.pairs import RunPair
    from filterlens.jobs.restore import NetworkChoice, restore_folder

    choice = NetworkChoice(
        pair=pair,
        model=model,
        network=network,
        run=run,
        without=without,
        percent=percent,
        strength=strength,
        reopening=RunPair(options.own_code(architecture, call), baseline, target),
        base=base,
        adapters=adapters or (),
        any_base=any_base,
    )
    rules, progress, where = Rules(force, skip_existing, strict, recursive), Terminal(), resolve_device(device)
    restored = restore_folder(
        source,
        output,
        choice.open(progress.note),
        device=where,
        precision=resolve_precision(precision, where),
        tile=tile,
        blend=blend,
        most_pixels=None if most_megapixels is None else most_megapixels * 1e6,
        rules=rules,
        progress=progress,
    )
    value = {
        "files": [str(path) for path in restored.files],
        "megapixels": restored.megapixels,
        "seconds": restored.seconds,
        "megapixels_per_second": restored.megapixels_per_second,
        "kept": [str(path) for path in restored.kept],
        "failures": described(restored.failures),
    }
    text = (
        f"{len(restored.files)} images in {output}: {restored.megapixels:.3g} megapixels, "
        f"{restored.megapixels_per_second:.3g} per second of network time"
    )
    result(value, text, json)
    complain(restored.failures)
