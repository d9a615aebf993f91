# SPDX-License-Identifier: Apache-2.0
"""How long a fresh interpreter takes until filterlens is there."""

from benchmarks.commands import run
from benchmarks.harness.benchmark import Benchmark, Column, Findings
from benchmarks.harness.goal import Goal
from benchmarks.harness.record import Row
from benchmarks.harness.settings import Settings
from benchmarks.harness.terminal import note
from benchmarks.harness.timing import Timing

TORCH, IMPORT, USE, HELP = "import torch", "import filterlens", "from filterlens import FAIG, ModelPair", "--help"
STARTS = {
    "python -c pass": ("-c", "pass"),
    TORCH: ("-c", TORCH),
    IMPORT: ("-c", IMPORT),
    USE: ("-c", USE),
    f"filterlens {HELP}": ("-m", "filterlens", HELP),
}

IMPORT_GOAL, USE_GOAL = (Goal(f"'{each}' beyond '{TORCH}'", "at most", 0.15, ".2f", " s") for each in (IMPORT, USE))
HELP_GOAL = Goal(f"'filterlens {HELP}'", "at most", 1.5, ".2f", " s")


def measure(settings: Settings) -> Findings:
    """Start every command in turns, each in an interpreter of its own."""
    seconds: dict[str, list[float]] = {name: [] for name in STARTS}
    note("startup: fresh interpreters")
    for arguments in STARTS.values():  # fills the file cache
        run(arguments, settings.threads)
    for _ in range(3 if settings.quick else 9):
        for name, arguments in STARTS.items():
            seconds[name].append(run(arguments, settings.threads).seconds)
    times = {name: Timing(tuple(each)) for name, each in seconds.items()}
    torch_alone = times[TORCH].median
    rows: list[Row] = [
        {
            "start": name,
            "median_s": timing.median,
            "over_torch_s": timing.median - torch_alone,
            "best_s": timing.best,
            "spread": timing.spread,
        }
        for name, timing in times.items()
    ]
    verdicts = (
        IMPORT_GOAL.judge(times[IMPORT].median - torch_alone),
        USE_GOAL.judge(times[USE].median - torch_alone),
        HELP_GOAL.judge(times[f"filterlens {HELP}"].median),
    )
    return Findings(rows, verdicts)


BENCHMARK = Benchmark(
    name="startup",
    title="how long until filterlens is there",
    explanation=(
        "Wall time of fresh interpreters, in turns, after one start of each that is not counted; the median counts. "
        "Public names are imported when they are first used, so `import filterlens` alone does not even import "
        "PyTorch; the line below it does."
    ),
    goals=(IMPORT_GOAL, USE_GOAL, HELP_GOAL),
    columns=(
        Column("start", "start"),
        Column("median_s", "median, s", ".2f"),
        Column("over_torch_s", "beyond PyTorch, s", "+.2f"),
        Column("best_s", "best, s", ".2f"),
        Column("spread", "spread", ".0%"),
    ),
    measure=measure,
)
