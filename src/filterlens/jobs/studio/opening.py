# SPDX-License-Identifier: Apache-2.0
"""From what the user names to a studio: a shipped pair, a run folder, or two checkpoints to be ranked first."""

from collections.abc import Sequence
from pathlib import Path

import torch

from filterlens.data.images import write_image
from filterlens.data.photographs import photograph, square
from filterlens.degradations import parse_degradations
from filterlens.errors import UsageError
from filterlens.execution.hardware import resolve_precision
from filterlens.filters import ROWS
from filterlens.jobs.attribute import attribute_to_folder
from filterlens.jobs.classify import filters_of_run, shipped_filters
from filterlens.jobs.pairs import open_pair
from filterlens.jobs.studio.studio import Studio
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress

SHIPPED = "srresnet-x2"
DEGRADATIONS = ("blur:2", "noise:0.1")
SIDE = 192
SQUARES = (("astronaut", 20, 110), ("coffee", 60, 180))


def open_studio(
    *,
    pair: str | None = None,
    run: Path | None = None,
    baseline: Path | None = None,
    target: Path | None = None,
    architecture: str | None = None,
    linear: str = ROWS,
    degradations: Sequence[str] = (),
    scratch: Path,
    device: torch.device,
    precision: str = "fp32",
    progress: Progress = SILENT,
) -> Studio:
    """Load a pair and the filters of its functions.

    Args:
        pair: Name of a shipped pair, with its shipped rankings; the default is ``srresnet-x2``.
        run: Instead, a run folder of ``filterlens attribute``.
        baseline: Instead, a checkpoint, together with ``target``; the filters are found on two photographs that ship.
        target: The checkpoint after fine-tuning.
        architecture: Of checkpoints that do not say it themselves, or of a run of the user's own code.
        linear: What a filter of a linear layer of the checkpoints is.
        degradations: With checkpoints, what to find filters for; default: blur:2 and noise:0.1.
        scratch: A folder for what is found.
        device: Where to compute.
        precision: Of the pictures: ``fp32``, ``bf16`` or ``auto``.
        progress: Where bars and notes go.

    Raises:
        UsageError: The choices contradict each other, or a name is unknown.
        FilterlensError: A file is missing or damaged.
    """
    resolved = resolve_precision(precision, device)
    if sum(choice is not None for choice in (pair, run, baseline or target)) > 1:
        raise UsageError("Give one of --pair, --run, and --baseline with --target.")
    if degradations and baseline is None:
        raise UsageError("--degradation goes with --baseline and --target: shipped pairs and runs have their own.")
    if run is not None and linear != ROWS:
        raise UsageError("--linear is for your own checkpoints: a run knows its own.")
    if run is None and (baseline or target or architecture is not None or linear != ROWS):
        own = open_pair(None, baseline, target, architecture=architecture, linear=linear)
        run = scratch / "run"
        _find(own.to(device), run, degradations or DEGRADATIONS, progress)
    if run is not None:
        opened, found = filters_of_run(run, 1.0, device, architecture=architecture, progress=progress)
        return Studio(opened, found, resolved, run)
    opened, found = shipped_filters(pair or SHIPPED, device)
    return Studio(opened, found, resolved)


def _find(pair: ModelPair, run: Path, degradations: Sequence[str], progress: Progress) -> None:
    """Rank the filters on squares of photographs that ship; enough to play with, too little to publish."""
    names = list(parse_degradations(degradations))
    progress.note(
        f"finding the filters for {' and '.join(names)} on {len(SQUARES)} photographs; --run uses a ranking of yours"
    )
    for name, top, left in SQUARES:
        write_image(run.parent / "images" / f"{name}.png", square(photograph(name), SIDE, top, left))
    attribute_to_folder(pair, run.parent / "images", names, run, allow_small=True, progress=progress)
