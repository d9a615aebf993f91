# SPDX-License-Identifier: Apache-2.0
"""``filterlens degrade``."""

from pathlib import Path
from typing import Annotated

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal, complain, described, result


def degrade(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder of images, or one image.", show_default=False)],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for the PNGs; for one image, also a file.", show_default=False)
    ],
    degradation: options.Degradations,
    scale: options.Scale = 2,
    resampler: options.Resampler = "bicubic",
    seed: options.Seed = 0,
    recursive: options.Recursive = False,
    force: options.Force = False,
    skip_existing: options.SkipExisting = False,
    strict: options.Strict = False,
    json: options.Json = False,
) -> None:
    """Make low-resolution images: blur, down-sample, add noise, compress as JPEG, round to 8 bits.

    Each of several degradations gets its own subfolder. The noise depends only on the image and the seed. If the
    command is killed, run it again to continue. Images that cannot be used are named at the end, and the exit code
    is 1.
    """
    from filterlens.jobs.degrade import degrade_folder
    from filterlens.jobs.image_folder import Rules

    done = degrade_folder(
        source,
        output,
        degradation,
        scale=scale,
        resampler=resampler,
        seed=seed,
        rules=Rules(force, skip_existing, strict, recursive),
        progress=Terminal(),
    )
    value = {
        "files": [str(path) for path in done.files],
        "kept": [str(path) for path in done.kept],
        "failures": described(done.failures),
    }
    result(value, f"{len(done.files)} images in {output}", json)
    complain(done.failures)
