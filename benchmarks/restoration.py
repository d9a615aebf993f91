# SPDX-License-Identifier: Apache-2.0
"""How fast images are restored, whole and in tiles, by the command line's own account."""

import json
import tempfile
from pathlib import Path

from benchmarks.commands import run
from benchmarks.harness.benchmark import Benchmark, Column, Findings
from benchmarks.harness.goal import Goal
from benchmarks.harness.images import ImageChoice, mirrored, write_folder
from benchmarks.harness.record import Row, numbers
from benchmarks.harness.settings import Settings
from benchmarks.harness.terminal import note
from benchmarks.harness.timing import Timing
from filterlens.execution.tiled_network import TILE_ON_CPU

WHOLE = 0  # what --tile takes for "never"
SMALL = 256
CHEAP_TILES = Goal("largest ratio of the time in tiles to the time whole", "at most", 1.5)


def measure(settings: Settings) -> Findings:
    """Restore images of growing size, whole and, where they are larger than a tile, in tiles, in turns."""
    tile, sides = (256, (128, 384)) if settings.quick else (TILE_ON_CPU, (128, 256, 512, 1024))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for side in sides:
            note(f"restoration: {side}x{side}")
            rows.append(_row(side, tile, Path(folder), settings))
    return Findings(rows, [CHEAP_TILES.judge(max(numbers(rows, "ratio")))], [f"Tiles of {tile}x{tile} LR pixels."])


def _row(side: int, tile: int, folder: Path, settings: Settings) -> Row:
    (image,) = ImageChoice(settings.images, count=1).load().values()
    copies = {str(index): mirrored(image, side, side) for index in range(8 if side <= SMALL else 2)}
    source = write_folder(copies, folder / str(side))
    speeds: dict[int, list[float]] = {WHOLE: [], **({tile: []} if side > tile else {})}
    for _ in range(1 if settings.quick else 2):
        for each, found in speeds.items():
            found.append(_megapixels_per_second(source, folder / "restored", each, settings))
    times = {each: Timing(tuple(1 / speed for speed in found)) for each, found in speeds.items()}
    tiled = times.get(tile)
    return {
        "side": side,
        "images": len(copies),
        "whole_mp_s": 1 / times[WHOLE].best,
        "tiles_mp_s": 1 / tiled.best if tiled else None,
        "ratio": tiled.best / times[WHOLE].best if tiled else None,
        "spread": max(timing.spread for timing in times.values()),
    }


def _megapixels_per_second(source: Path, output: Path, tile: int, settings: Settings) -> float:
    words = ["-m", "filterlens", "restore", str(source), str(output), "--pair", settings.pair, "--force", "--json"]
    words += ["--device", settings.device, "--precision", "auto", "--tile", str(tile)]
    return float(json.loads(run(words, settings.threads).output)["megapixels_per_second"])


BENCHMARK = Benchmark(
    name="restoration",
    title="megapixels restored a second",
    explanation=(
        "`filterlens restore` with the pair's target and automatic precision on square LR images (a photograph, "
        "continued by mirroring or cut), whole, and in tiles where they are larger than one, in turns. The speed is "
        "what the command reports: HR megapixels in a second of network time, from images in memory to images in "
        "memory, the first image and finding out how the network may be tiled included. The best of several counts."
    ),
    goals=(CHEAP_TILES,),
    columns=(
        Column("side", "LR side", "d"),
        Column("images", "images", "d"),
        Column("whole_mp_s", "whole, MP/s", ".3f"),
        Column("tiles_mp_s", "in tiles, MP/s", ".3f"),
        Column("ratio", "time in tiles / whole", ".2f"),
        Column("spread", "spread", ".0%"),
    ),
    measure=measure,
)
