# SPDX-License-Identifier: Apache-2.0
"""Tables and figures of the re-training."""

from collections.abc import Iterator

import numpy as np

from filterlens.evaluation.statistics import Estimate, two_level_mean
from filterlens.paper import drawing
from filterlens.paper.experiments.retraining.arms import BOUND, Arm
from filterlens.paper.experiments.retraining.results import Retrainings
from filterlens.paper.outcome import Cell, Table
from filterlens.paper.published import RETRAINING, RETRAINING_BOUND
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import listed


def tables(found: Retrainings) -> Iterator[Table]:
    """Yield the paper's table, one table per degradation with everything, the paired differences, and the rates."""
    yield paper_table(found)
    for kind in found.kinds:
        yield _everything(found, kind)
    yield _differences(found)
    if found.searched:
        yield _rates(found)


def paper_table(found: Retrainings) -> Table:
    """Return the table in the paper's layout: a row of ours per input, and the published one below it."""
    located = [arm for arm in found.arms if arm.found_for]
    rows: list[tuple[Cell, ...]] = []
    for kind in found.kinds:
        means = [found.quality(arm, kind) for arm in (BOUND, *located)]
        rows.append((f"{kind}, here", *means))
        if kind in RETRAINING_BOUND:
            cells = [RETRAINING.get((kind, arm.found_for), {}).get(arm.part) for arm in located]
            published = [RETRAINING_BOUND[kind], *cells]
            rows.append((f"{kind}, paper", *(None if cell is None else str(cell) for cell in published)))
    return Table(
        f"psnr-{found.name}",
        f"{found.name}: PSNR in dB after re-training only the found filters of the baseline, as in the paper's table",
        ("input", BOUND.label, *(arm.label for arm in located)),
        tuple(rows),
        f"{_trainings(found)}, on {found.images} images. Changes of the weights have one ranking for "
        "all degradations, so both of their columns are the same training. The paper's row is of the SRCNN-style "
        "network, on the authors' own schedule and images: differences between columns can be compared with ours, "
        "levels cannot. What the paper calls absolute change is the relative one in the reference implementation.",
        digits=4,
    )


def _everything(found: Retrainings, kind: str) -> Table:
    """Return all arms trained on one degradation: cost, rate, PSNR on every input, way to the upper bound."""
    rows: list[tuple[Cell, ...]] = []
    for network, label in (("baseline", "nothing trained (baseline)"), ("target", "full target")):
        quality = [found.reference(network, given) for given in found.inputs]
        rows.append(
            (label, 0 if network == "baseline" else None, None, *quality, 0.0 if network == "baseline" else None)
        )
    for arm in found.arms:
        rate, quality = f"{found.rates[arm, kind]:g}", [found.quality(arm, kind, given) for given in found.inputs]
        rows.append((arm.label, _weights(found, arm, kind), rate, *quality, found.way(arm, kind)))
    others = listed([given for given in found.inputs if given != kind])
    return Table(
        f"arms-{found.name}-{safe_name(kind)}",
        f"{found.name}, trained on {kind} alone: every arm on every input",
        (
            "trained",
            "weights",
            "learning rate",
            *(f"PSNR on {given}" for given in found.inputs),
            "way to the upper bound",
        ),
        tuple(rows),
        f"PSNR in dB. {_trainings(found)}. The columns of {others} show what is forgotten, or comes "
        "along, next to the baseline's row. Way: 0 is the baseline, 1 all filters re-trained, "
        "[95 % bootstrap interval over images].",
        digits=4,
    )


def _differences(found: Retrainings) -> Table:
    """Return FAIG's own locations minus every other arm, paired."""
    rows: list[tuple[Cell, ...]] = []
    for kind in found.kinds:
        own = Arm("faig", kind)
        for arm in found.arms:
            if arm != own:
                compared = found.compare(own, arm, kind)
                decided = {True: "better", False: "worse", None: "not decided"}[found.better(own, arm, kind)]
                rows.append((kind, arm.label, compared.difference, compared.p, decided))
    return Table(
        f"differences-{found.name}",
        f"{found.name}: FAIG's own locations against every other arm, on the degradation trained on",
        ("trained on", "other arm", "FAIG's own minus this, dB", "p", "FAIG's own are"),
        tuple(rows),
        "Paired over images, averaged over seeds: mean ± sd over images [95 % bootstrap interval]; p of the sign-flip "
        "permutation test. Decided where the interval does not cover 0, p is below 0.05, and all seeds agree.",
    )


def _rates(found: Retrainings) -> Table:
    rates = sorted({rate for tried in found.searched.values() for rate in tried})
    rows: list[tuple[Cell, ...]] = []
    for (arm, kind), tried in found.searched.items():
        reached = [("diverged" if tried[rate] is None else tried[rate]) if rate in tried else None for rate in rates]
        rows.append((kind, arm.label, *reached, f"{found.rates[arm, kind]:g}"))
    return Table(
        f"rates-{found.name}",
        f"{found.name}: how the learning rates were chosen",
        ("trained on", "arm", *(f"{rate:g}" for rate in rates), "chosen"),
        tuple(rows),
        "PSNR in dB on squares of training images that were held out; no judging image was looked at.",
        digits=4,
    )


def panels(found: Retrainings) -> Iterator[Panel]:
    """Draw the gain of every arm over the baseline, and loss curves, per degradation."""
    for kind in found.kinds:
        stem = f"{found.name}-{safe_name(kind)}"
        start = found.references["baseline", kind]
        gains = {
            arm.label: two_level_mean(found.psnr[arm, kind, kind] - start, resamples=found.resamples)
            for arm in found.arms
        }
        title = f"{found.name}: re-trained on {kind}, gain over the baseline on {kind}"
        yield drawing.bars(f"gain-{stem}", title, gains, "PSNR, dB above the baseline", width=7.2)
        curves = [_curve(found, arm, kind) for arm in found.arms if not arm.found_for or arm.part in ("faig", "random")]
        yield drawing.lines(f"loss-{stem}", f"{found.name}: loss on {kind}", curves, "step", "L1, mean of the steps "
                            "since the point before", size=(7.2, 4.6))  # fmt: skip


def _curve(found: Retrainings, arm: Arm, kind: str) -> drawing.Line:
    curves = np.array(found.losses[arm, kind], dtype=np.float64)  # (seeds, points, 2)
    return drawing.Line(arm.label, curves[0, :, 0].tolist(), curves[:, :, 1].mean(0).tolist())


def _weights(found: Retrainings, arm: Arm, kind: str) -> Cell:
    """Return the number of trained weights: one number, or its mean and spread where the seeds differ."""
    weights = found.weights[arm, kind]
    if len(set(weights)) == 1:
        return weights[0]
    return Estimate(float(np.mean(weights)), sd=float(np.std(weights, ddof=1)), n=len(weights))


def _trainings(found: Retrainings) -> str:
    return "One training (no spread over seeds)" if found.seeds == 1 else f"Mean ± sd over {found.seeds} seeds"
