# SPDX-License-Identifier: Apache-2.0
"""How much memory the attribution of one large photograph takes."""

from benchmarks.harness.benchmark import Benchmark, Column, Findings
from benchmarks.harness.goal import Goal
from benchmarks.harness.images import ImageChoice, mirrored
from benchmarks.harness.record import Row, numbers
from benchmarks.harness.settings import Settings
from benchmarks.harness.terminal import note
from benchmarks.harness.timing import seconds_of
from benchmarks.harness.worker import Worker, peak_memory
from filterlens import FAIG, ModelPair, Quadrature

HEIGHT, WIDTH = 1356, 2040
GIB = 2**30

SMALL = Goal(f"peak memory on an image of {WIDTH}x{HEIGHT} pixels", "at most", 6, ".2f", " GiB")


def measure(settings: Settings) -> Findings:
    """Attribute one image in a process of its own, once for each precision."""
    parts = 2 if settings.quick else 1
    height, width = HEIGHT // parts, WIDTH // parts
    rows: list[Row] = []
    for precision in settings.precisions[:1] if settings.quick else settings.precisions:
        note(f"memory: {width}x{height}, {precision}")
        with Worker(settings.threads) as worker:
            before = worker.run(peak_memory, settings.where)
            seconds = worker.run(attribute_large, settings, height, width, precision)
            peak = worker.run(peak_memory, settings.where)
        rows.append(
            {
                "size": f"{width}x{height}",
                "precision": precision,
                "start_gib": before / GIB,
                "peak_gib": peak / GIB,
                "seconds": seconds,
            }
        )
    return Findings(rows, [SMALL.judge(None if settings.quick else max(numbers(rows, "peak_gib")))])


def attribute_large(settings: Settings, height: int, width: int, precision: str) -> float:
    """Attribute one image with a single node and return the seconds; runs in a process of its own."""
    pair = ModelPair.pretrained(settings.pair).to(settings.where)
    (image,) = ImageChoice(settings.images, count=1).load().values()
    large = mirrored(image, height, width)
    method = FAIG(pair, quadrature=Quadrature("midpoint", 1), precision=precision)
    return seconds_of(lambda: method.attribute(large, ["blur:2", "noise:0.1"]), settings.where)


BENCHMARK = Benchmark(
    name="memory",
    title="the memory that a large photograph takes",
    explanation=(
        f"The attribution of one photograph of {WIDTH}x{HEIGHT} pixels (a smaller one is continued by mirroring) for "
        "two degradations, with one node and default settings, in a process of its own. The peak is the high-water "
        "mark of the resident set, interpreter and PyTorch included; on a GPU, of the memory allocated there. More "
        "nodes keep one gradient each (the size of the network), no activations. A quick run takes a quarter of the "
        "pixels and does not judge the goal."
    ),
    goals=(SMALL,),
    columns=(
        Column("size", "pixels"),
        Column("precision", "precision"),
        Column("start_gib", "before, GiB", ".2f"),
        Column("peak_gib", "peak, GiB", ".2f"),
        Column("seconds", "time, s", ".1f"),
    ),
    measure=measure,
)
