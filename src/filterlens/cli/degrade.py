# SPDX-License-Identifier: Apache-2.0
"""``filterlens degrade``."""

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal, result


def degrade(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder of images, or one image.", show_default=False)],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the PNGs.", show_default=False)],
    degradation: options.Degradations,
    scale: options.Scale = 2,
    resampler: options.Resampler = "bicubic",
    seed: options.Seed = 0,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Make low-resolution images: blur, down-sample, add noise, compress as JPEG, round to 8 bits.

    Several degradations go to one subfolder each. The noise depends on image and seed alone.
    """
    from filterlens.workflow.transform import degrade_folder

    written = degrade_folder(
        source, output, degradation, scale=scale, resampler=resampler, seed=seed, force=force, progress=Terminal()
    )
    result({"files": [str(path) for path in written]}, f"{len(written)} images in {output}", json)
