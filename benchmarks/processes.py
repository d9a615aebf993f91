# SPDX-License-Identifier: Apache-2.0
"""One process against two: how much faster the same attribution is, and whether it is the same."""

import shutil
import tempfile
from pathlib import Path

from benchmarks.commands import run
from benchmarks.harness.benchmark import Benchmark, Column, Findings
from benchmarks.harness.goal import Goal
from benchmarks.harness.images import ImageChoice, write_folder
from benchmarks.harness.record import Row, add_ratios, numbers
from benchmarks.harness.settings import Settings
from benchmarks.harness.terminal import note
from benchmarks.harness.timing import Timing
from filterlens.attribution.result import Attribution, load_attributions
from filterlens.files import read_json
from filterlens.filters import ranking
from filterlens.run.folder import SCORES

LAUNCHERS: dict[int, tuple[str, ...]] = {
    1: (),
    2: ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
}
PROCESSES = tuple(LAUNCHERS)

FASTER = Goal("computing time of one process into that of two", "at least", 1.8, ".2f", " times")
SAME_ORDER = Goal("filters at another place of a ranking", "at most", 0, ".0f")
SAME_SCORES = Goal("largest difference of a score, relative to the largest score", "at most", 1e-6, ".1e")


def measure(settings: Settings) -> Findings:
    """Run the command with one and with two processes of one thread each, in turns."""
    choice = ImageChoice(settings.images, count=4, side=96 if settings.quick else None)
    few = ["--quadrature", "midpoint", "--nodes", "4", "--allow-small"] if settings.quick else []
    computing: dict[int, list[float]] = {count: [] for count in PROCESSES}
    wall: dict[int, list[float]] = {count: [] for count in PROCESSES}
    with tempfile.TemporaryDirectory() as folder:
        images = write_folder(choice.load(), Path(folder) / "images")
        for _ in range(1 if settings.quick else 2):
            for count in PROCESSES:
                note(f"processes: {count}")
                output = Path(folder) / str(count)
                shutil.rmtree(output, ignore_errors=True)  # a finished run would be taken over, not computed
                command = [*LAUNCHERS[count], *_attribute(settings.pair, images, output), *few]
                wall[count].append(run(command, 1, hide_gpus=True).seconds)
                computing[count].append(float(read_json(output / "run.json")["seconds"]))
        one, two = (next(iter(load_attributions(Path(folder) / str(each) / SCORES).values())) for each in PROCESSES)
    rows = [_row(count, Timing(tuple(computing[count])), Timing(tuple(wall[count]))) for count in PROCESSES]
    add_ratios(rows)
    verdicts = (
        FASTER.judge(*numbers(rows[1:], "faster")),
        SAME_ORDER.judge(filters_moved(one, two)),
        SAME_SCORES.judge(largest_difference(one, two)),
    )
    return Findings(rows, verdicts, [f"On {choice}. Every process has one thread."])


def filters_moved(one: Attribution, two: Attribution) -> int:
    """Return how many filters have another place in the one ranking than in the other, over all degradations."""
    return sum(int((ranking(one.of(name)) != ranking(two.of(name))).sum()) for name in one.degradations)


def largest_difference(one: Attribution, two: Attribution) -> float:
    """Return the largest difference between two scores, relative to the largest score of that degradation."""
    pairs = [(one.of(name).double(), two.of(name).double()) for name in one.degradations]
    return max(float((first - second).abs().max() / first.abs().max()) for first, second in pairs)


def _attribute(pair: str, images: Path, output: Path) -> list[str]:
    words = ["-m", "filterlens", "attribute", "--pair", pair, "--images", str(images), "--output", str(output)]
    return [*words, "--degradation", "blur:2", "--degradation", "noise:0.1", "--device", "cpu"]


def _row(count: int, computing: Timing, wall: Timing) -> Row:
    return {"processes": count, "seconds": computing.best, "wall_s": wall.best, "spread": computing.spread}


BENCHMARK = Benchmark(
    name="processes",
    title="one process against two",
    explanation=(
        "`filterlens attribute` on CPUs with default settings, alone and under `torchrun --nproc-per-node 2`, one "
        "thread for each process, in turns. The computing time is the one that `run.json` states; the wall time adds "
        "starting Python. Both rankings are compared filter by filter. A quick run takes small images and four "
        "nodes."
    ),
    goals=(FASTER, SAME_ORDER, SAME_SCORES),
    columns=(
        Column("processes", "processes", "d"),
        Column("seconds", "computing, s", ".1f"),
        Column("wall_s", "wall, s", ".1f"),
        Column("spread", "spread", ".0%"),
        Column("faster", "times as fast", ".2f"),
    ),
    measure=measure,
)
