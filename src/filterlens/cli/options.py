# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, so that they are spelled and explained the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

PairName = Annotated[
    str | None,
    typer.Option(
        "--pair", help="A pair that ships: srresnet-x2, srcnn-style-x2 or srresnet-x2-k3.", show_default=False
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        "--baseline", help="Checkpoint before fine-tuning (.safetensors, or BasicSR .pth).", show_default=False
    ),
]
Target = Annotated[
    Path | None, typer.Option("--target", help="Checkpoint after fine-tuning, same architecture.", show_default=False)
]
Degradations = Annotated[
    list[str],
    typer.Option(
        "--degradation",
        help="What to find filters for; repeat it. Written blur:2, noise:0.1, poisson:200, jpeg:30, blur:2+noise:0.1, "
        "blur:4,sigma_y=1,angle=30,kernel=21, or motion:15,angle=30. Strengths: blur sigma in HR pixels, length of the "
        "motion in HR pixels, noise sigma as a fraction of the range, photons at white, JPEG quality.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Decides noise and random choices; same seed, same result.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="auto (bf16 where the hardware is good at it), fp32 or bf16.")
]
Memory = Annotated[
    float | None,
    typer.Option(
        "--memory",
        help="GiB that activations may take; larger images go in exact tiles.",
        show_default="half of what is free, at most 4",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]
RunBaseline = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        help="Where the run's baseline lies now, if it was moved; its hash is checked.",
        show_default=False,
    ),
]
RunTarget = Annotated[
    Path | None,
    typer.Option(
        "--target", help="Where the run's target lies now, if it was moved; its hash is checked.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
ImagesOption = Annotated[
    Path, typer.Option("--images", help="Folder of high-resolution images (or one image).", show_default=False)
]
Percents = Annotated[
    list[float] | None,
    typer.Option(
        "--percent",
        help="Share of the filters to replace, in percent; repeat it. Default: 1 3 5 10.",
        show_default=False,
    ),
]
Scale = Annotated[int, typer.Option("--scale", help="Down-sampling factor: 1, 2, 3 or 4.")]
Resampler = Annotated[
    str, typer.Option("--resampler", help="bicubic (antialiased, as MATLAB's imresize) or bilinear (as the reference).")
]
