# SPDX-License-Identifier: Apache-2.0
"""filterlens against the reference implementation's loop: time, memory, and whose ranking is closer to the integral."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.engine import DEFAULT_RULE
from benchmarks.harness.benchmark import Benchmark, Column, Findings
from benchmarks.harness.goal import Goal
from benchmarks.harness.images import ImageChoice
from benchmarks.harness.record import Row, add_ratios, numbers
from benchmarks.harness.settings import Settings
from benchmarks.harness.terminal import note
from benchmarks.harness.timing import Timing
from benchmarks.harness.worker import Worker, peak_memory
from benchmarks.reference_loop import NODES, RANKINGS
from benchmarks.sides import Case, Outcome, Way, attribute, loop_node, loop_ranking
from filterlens import Quadrature
from filterlens.attribution.quadrature import Adaptive

DEFAULT = Way(f"default: {DEFAULT_RULE}", DEFAULT_RULE)
WAYS = (
    DEFAULT,
    *(Way(str(rule), rule) for rule in (Adaptive(0.02), Adaptive(0.05), Quadrature(nodes=8), Quadrature(nodes=24))),
    Way("default in float32", DEFAULT_RULE, "fp32"),
)
CONVERGED = Way("converged", Quadrature(nodes=48), "fp32")

ON_CPU = Goal("the default's time into the reference loop's, on CPUs", "at least", 120, ".0f", " times")
ON_GPU = Goal("the default's time into the reference loop's, on a GPU", "at least", 60, ".0f", " times")
SET14 = Goal("the default's time for Set14, on a GPU", "at most", 3, ".1f", " s")
CLOSE = Goal("top 1 % of the default that the converged integral has too", "at least", 0.99, ".1%")


@dataclass(frozen=True)
class _Plan:
    """How much is measured.

    Attributes:
        timed: The images whose time counts.
        judged: The images on which the rankings are compared.
        rounds: How often each way takes its turn.
    """

    timed: ImageChoice
    judged: ImageChoice
    rounds: int


def _plan(settings: Settings) -> _Plan:
    folder = settings.images
    if settings.quick:
        timed, judged, rounds = ImageChoice(folder, count=1, side=96), ImageChoice(folder, count=1, side=64), 1
    else:
        few = 4 if settings.where.type == "cpu" else None  # a GPU has the time for a whole set
        timed, judged, rounds = ImageChoice(folder, count=few), ImageChoice(folder, count=4, side=256), 1
    return _Plan(timed, timed if settings.full_reference else judged, rounds)


def measure(settings: Settings) -> Findings:
    """Let both sides take turns, each in a process of its own."""
    plan = _plan(settings)
    timed, judged = (Case(settings.pair, images, settings.where) for images in (plan.timed, plan.judged))
    nodes: list[list[float]] = []
    rows: list[Row] = []
    with Worker(settings.threads) as worker:
        note("reference: the integral with 48 nodes in float32")
        converged = worker.run(attribute, judged, CONVERGED)
    with Worker(settings.threads) as loop:
        for way in WAYS:
            with Worker(settings.threads) as ours:
                found = []
                for _ in range(plan.rounds):
                    note(f"reference: one node of the loop, then {way.title}")
                    nodes.append(loop.run(loop_node, timed, len(nodes) * 7 % NODES))
                    found.append(ours.run(attribute, timed, way))
                peak = ours.run(peak_memory, timed.device)
                rows.append(_row(way, found, ours.run(attribute, judged, way), converged, peak))
        peak = loop.run(peak_memory, timed.device)
        note("reference: the whole loop" + ("" if settings.full_reference else " on the images to be judged"))
        whole = loop.run(loop_ranking, judged, RANKINGS if settings.full_reference else 1)
    rows.insert(0, _loop_row(nodes, whole, converged, peak, measured=settings.full_reference))
    add_ratios(rows)
    _split_ratios(rows[1:])
    default = rows[1:2]
    on_gpu = settings.where.type == "cuda"
    is_set14 = settings.images is not None and settings.images.resolve().name == "set14"
    (faster,), (seconds,) = numbers(default, "faster"), numbers(default, "seconds")
    verdicts = (
        ON_CPU.judge(None if on_gpu else faster),
        ON_GPU.judge(faster if on_gpu else None),
        SET14.judge(seconds if on_gpu and is_set14 else None),
        CLOSE.judge(*numbers(default, "overlap")),
    )
    return Findings(rows, verdicts, _notes(plan, settings, len(nodes)))


def _row(way: Way, found: Sequence[Outcome], judged: Outcome, converged: Outcome, peak: int) -> Row:
    timing = Timing(tuple(each.seconds for each in found))
    return {
        "way": way.title,
        "precision": found[0].precision,
        "nodes": sum(found[0].nodes) / len(found[0].nodes),
        "most_nodes": max(found[0].nodes),
        "seconds": timing.best,
        "basis": "measured",
        "spread": timing.spread,
        "overlap": judged.overlap(converged),
        "gap": judged.gap,
        "memory_gib": peak / 2**30,
    }


def _split_ratios(rows: Sequence[Row]) -> None:
    """Say of every ratio how much comes from fewer nodes, and how much from faster ones."""
    for row, nodes, faster in zip(rows, numbers(rows, "nodes"), numbers(rows, "faster"), strict=True):
        row["fewer"] = NODES * RANKINGS / nodes
        row["faster_node"] = faster * nodes / (NODES * RANKINGS)


def _loop_row(
    nodes: Sequence[Sequence[float]], whole: Outcome, converged: Outcome, peak: int, *, measured: bool
) -> Row:
    per_image = [Timing(seconds) for seconds in zip(*nodes, strict=True)]
    extrapolated = sum(timing.best for timing in per_image) * NODES * RANKINGS
    return {
        "way": "reference loop",
        "precision": "fp32",
        "nodes": float(NODES),
        "most_nodes": NODES,
        "seconds": whole.seconds if measured else extrapolated,
        "basis": "measured" if measured else "extrapolated",
        "spread": max(timing.spread for timing in per_image),
        "overlap": whole.overlap(converged),
        "gap": whole.gap,
        "memory_gib": peak / 2**30,
    }


def _notes(plan: _Plan, settings: Settings, rounds: int) -> list[str]:
    if settings.full_reference:
        loop = "The reference loop ran whole, both rankings."
    else:
        loop = (
            f"The reference loop's time is extrapolated: between the runs of filterlens {rounds} of its nodes were run "
            f"on every image, and the fastest of each image counts {NODES} nodes × {RANKINGS} rankings times. Its "
            "overlap and gap are measured: for them it ran whole, once, since its second ranking is the first negated."
        )
    return [
        f"Pair {settings.pair}. Time and memory on {plan.timed}; overlap and gap on {plan.judged}.",
        loop,
        "Both sides get identical inputs; filterlens' time includes making them, the reference loop's does not. The "
        "overlap is the smaller of the two degradations', the gap the largest of all inputs.",
    ]


BENCHMARK = Benchmark(
    name="reference",
    title="filterlens against the reference implementation's loop",
    explanation=(
        "The reference implementation's loop, written here from its published protocol in its simplest form (100 "
        "nodes, float32, a state dict interpolated and loaded at every node, both rankings computed apart), against "
        "filterlens on the same pair and images. Each row ran in a process of its own, in turns with the loop; the "
        "best time counts, loading and a warm-up excluded. Overlap: how much of the top 1 % of the filters is also "
        "in that of the converged integral (48 Gauss-Legendre nodes, float32). Gap: by how much the attributions of "
        "all parameters miss the change of the loss. The ratio is the product of fewer nodes (the loop computes both "
        "rankings) and faster ones; how much faster a node is in bfloat16 than in float32 is up to the machine."
    ),
    goals=(ON_CPU, ON_GPU, SET14, CLOSE),
    columns=(
        Column("way", "way"),
        Column("precision", "precision"),
        Column("nodes", "nodes, mean", ".1f"),
        Column("most_nodes", "nodes, most", "d"),
        Column("seconds", "time, s", ",.1f"),
        Column("basis", "time is"),
        Column("spread", "spread", ".0%"),
        Column("faster", "times as fast", ",.1f"),
        Column("fewer", "by fewer nodes", ",.1f"),
        Column("faster_node", "by faster ones", ",.2f"),
        Column("overlap", "overlap", ".1%"),
        Column("gap", "gap", ".2%"),
        Column("memory_gib", "peak, GiB", ".2f"),
    ),
    measure=measure,
)
