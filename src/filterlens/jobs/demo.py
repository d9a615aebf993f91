# SPDX-License-Identifier: Apache-2.0
"""The demo: the whole main job on shipped photographs, in minutes."""

import time
from pathlib import Path

from filterlens.attribution.settings import AttributeSettings
from filterlens.data.images import write_image
from filterlens.data.photographs import photograph, square
from filterlens.errors import UsageError
from filterlens.evaluation.settings import MaskSettings
from filterlens.jobs.attribute import attribute_to_folder
from filterlens.jobs.mask import Judging, mask_to_folder
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress
from filterlens.record import Record, listed

DEGRADATIONS = ("blur:2", "noise:0.1")
METHODS = ("faig", "faig-no-elimination", "ig", "taylor")
PERCENTS = (1.0, 3.0, 5.0, 10.0)
SIDE = 256
# (photograph, top, left) of squares with something to see; found on the first two, judged on the others
FIND = (("astronaut", 20, 110), ("coffee", 60, 180))
JUDGE = (("chelsea", 20, 100), ("rocket", 120, 240))


def run_demo(
    output: Path,
    *,
    pair: str = "srresnet-x2",
    seed: int = 0,
    side: int = SIDE,
    device: str = "cpu",
    precision: str = "auto",
    progress: Progress = SILENT,
) -> Judging:
    """Degrade, attribute, mask and report with a shipped pair and four free photographs.

    Args:
        output: Run folder; the squares that are used go into its ``images/``.
        pair: Name of a shipped pair.
        seed: Seed of the noise and of random methods.
        side: Side of the squares that are used, in HR pixels.
        device: Device to compute on.
        precision: Precision of the attribution and, here for speed, of the judging.
        progress: Receiver of bars and notes.

    Returns:
        Paths and seconds, and the rows of ``damage.csv``.
    """
    from filterlens.report.build import build_report

    started = time.monotonic()
    loaded = ModelPair.pretrained(pair).to(device)
    folders = {"find": FIND, "judge": JUDGE}
    record = Record(output, "demo")
    if not record.names and (strangers := record.strangers()):
        raise UsageError(f"'{output}' is not empty: {listed(strangers)}. Give a new folder.")
    for purpose, squares in folders.items():
        for name, top, left in squares:
            file = f"images/{purpose}/{name}.png"
            with record.writing(file):
                write_image(output / file, square(photograph(name), side, top, left))
    progress.note(f"find filters for {' and '.join(DEGRADATIONS)} on {' and '.join(name for name, *_ in FIND)}")
    attribute_to_folder(
        loaded,
        output / "images" / "find",
        DEGRADATIONS,
        output,
        methods=METHODS,
        settings=AttributeSettings.of({"precision": precision, "seed": seed}),
        replace_other=True,  # the demo's folder is the demo's
        progress=progress,
    )
    progress.note(f"replace them by the baseline's and judge on {' and '.join(name for name, *_ in JUDGE)}")
    judging = mask_to_folder(
        output,
        output / "images" / "judge",
        MaskSettings(percents=PERCENTS, precision=precision),
        pair=loaded,
        device=device,
        progress=progress,
    )
    report = build_report(output)
    facts = {"run": str(output), "report": str(report), "seconds": round(time.monotonic() - started, 1)}
    return Judging(facts, judging.damage)
