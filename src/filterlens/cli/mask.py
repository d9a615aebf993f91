# SPDX-License-Identifier: Apache-2.0
"""``filterlens mask``."""

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import image_options, network_options, options
from filterlens.cli.console import Terminal, result
from filterlens.cli.matrix import own_cross_matrix


def mask(
    run: Annotated[Path, typer.Argument(help="Run folder of `filterlens attribute`.", show_default=False)],
    images: options.ImagesOption,
    percent: options.Percents = None,
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Judge changed and random filters too, for comparison.")
    ] = True,
    pictures: Annotated[
        int, typer.Option("--pictures", help="Of how many images pictures are kept for the report.")
    ] = 2,
    baseline: options.RunBaseline = None,
    target: options.RunTarget = None,
    architecture: network_options.RunArchitecture = None,
    strict: image_options.Strict = False,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "fp32",
    json: options.Json = False,
) -> None:
    """Prove that the found filters matter: replace them by the baseline's and measure own and cross damage.

    Writes damage.csv (method,percent,masked,input,distance,distance_reference,psnr,ssim,removal,preservation), the same
    per image, networks.csv and pictures. Best on images that were not used to find the filters.
    """
    from filterlens.execution.hardware import resolve_device
    from filterlens.jobs.mask import mask_to_folder
    from filterlens.jobs.readable import complain
    from filterlens.jobs.run_folder import DAMAGE, Moved

    percents = percent or [1, 3, 5, 10]
    record = mask_to_folder(
        run,
        images,
        percents=percents,
        architecture=architecture,
        moved=Moved(baseline, target),
        strict=strict,
        device=str(resolve_device(device)),
        precision=precision,
        controls=controls,
        pictures=pictures,
        progress=Terminal(),
    )
    value = {"run": str(run), "damage": str(run / DAMAGE)} | {
        key: record[key] for key in ("methods", "percents", "held_out", "seconds", "left_out") if key in record
    }
    matrix = own_cross_matrix(run / DAMAGE, record["methods"][0], min(percents))
    text = f"{matrix}\n{run / DAMAGE}\nNext: filterlens report {run}"
    result(value, text, json)
    complain(record.get("left_out", ()), "Judged")
