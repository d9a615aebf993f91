# SPDX-License-Identifier: Apache-2.0
"""The attribution pass against its own bare convolutions: how much of the time is not arithmetic."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from benchmarks.convolutions import Replay, convolutions_of
from benchmarks.engine import attribution_pass
from benchmarks.harness.benchmark import Benchmark, Column, Findings
from benchmarks.harness.goal import Goal
from benchmarks.harness.record import Row, numbers
from benchmarks.harness.settings import Settings
from benchmarks.harness.terminal import note
from benchmarks.harness.timing import alternate
from filterlens import ModelPair

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
MATRIX = 2048

NEAR = Goal("largest ratio of the pass to its bare convolutions", "at most", 1.25)


def measure(settings: Settings) -> Findings:
    """Time the pass, its convolutions and a matrix product in turns."""
    pair = ModelPair.pretrained(settings.pair).to(settings.where)
    sides = (64,) if settings.quick else (120, 240)
    rows = [_row(pair, side, precision, settings) for side in sides for precision in settings.precisions]
    return Findings(rows, [NEAR.judge(max(numbers(rows, "ratio")))])


def _row(pair: ModelPair, side: int, precision: str, settings: Settings) -> Row:
    note(f"limit: {side}x{side} LR pixels, {precision}")
    device, dtype = settings.where, DTYPES[precision]
    truth = torch.rand(1, 3, side * pair.scale, side * pair.scale, device=device)
    inputs = F.avg_pool2d(truth, pair.scale)
    convolutions = convolutions_of(pair.network(pair.target), inputs)
    matrix = torch.randn(MATRIX, MATRIX, device=device).to(dtype)
    tasks: dict[str, Callable[[], object]] = {
        "pass": attribution_pass(pair, inputs, truth, precision),
        "convolutions": Replay(convolutions, dtype, device),
        "matmul": partial(torch.matmul, matrix, matrix),
    }
    times = alternate(tasks, 5 if settings.quick else 7, device)
    operations = sum(each.operations for each in convolutions)
    return {
        "side": side,
        "precision": precision,
        "pass_ms": 1e3 * times["pass"].best,
        "convolutions_ms": 1e3 * times["convolutions"].best,
        "ratio": times["pass"].best / times["convolutions"].best,
        "spread": max(times["pass"].spread, times["convolutions"].spread),
        "pass_tflops": operations / times["pass"].best / 1e12,
        "convolutions_tflops": operations / times["convolutions"].best / 1e12,
        "matmul_tflops": 2 * MATRIX**3 / times["matmul"].best / 1e12,
    }


BENCHMARK = Benchmark(
    name="limit",
    title="the attribution pass against its own bare convolutions",
    explanation=(
        "One node of the integral (forward pass, loss, gradient of all parameters, on one square LR image) through "
        "filterlens' engine, against nothing but the convolutions of that pass: forward, weight and bias gradient, "
        "and input gradient except for the first layer, at the same shapes and in the same precision, channels last, "
        "in turns. The best of several times counts. TFLOP/s counts the convolutions' multiplications and additions; "
        f"the last column is what the machine reaches on a product of two {MATRIX}x{MATRIX} matrices."
    ),
    goals=(NEAR,),
    columns=(
        Column("side", "LR side", "d"),
        Column("precision", "precision"),
        Column("pass_ms", "pass, ms", ".1f"),
        Column("convolutions_ms", "convolutions, ms", ".1f"),
        Column("ratio", "ratio", ".2f"),
        Column("spread", "spread", ".0%"),
        Column("pass_tflops", "pass, TFLOP/s", ".3f"),
        Column("convolutions_tflops", "convolutions, TFLOP/s", ".3f"),
        Column("matmul_tflops", "matrix product, TFLOP/s", ".3f"),
    ),
    measure=measure,
)
