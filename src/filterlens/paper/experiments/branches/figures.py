# SPDX-License-Identifier: Apache-2.0
"""Figures of the page on one branch against two."""

from collections.abc import Iterator, Sequence

import numpy as np

from filterlens.degradations import Degradation
from filterlens.evaluation.statistics import Estimate
from filterlens.paper import drawing
from filterlens.paper.experiments.branches.codes import Codes
from filterlens.paper.experiments.branches.probe import BASELINE, TRAINED, UNTRAINED, Probed
from filterlens.paper.experiments.branches.results import FLOOR, ONE, TWO, Compared
from filterlens.paper.experiments.branches.study import Study
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import listed, whole_percent


def panels(found: Study) -> Iterator[Panel]:
    """Draw gains over bicubic, codes, probes, and training curves."""
    yield _gains(found.compared)
    yield from (_codes(codes) for codes in found.codes)
    yield _probes(found.probes)
    yield from (_losses(found, compared) for compared in found.compared)


def _gains(every: Sequence[Compared]) -> Panel:
    groups = {compared.setting.name: {who: compared.difference(who, FLOOR) for who in (TWO, ONE)} for compared in every}
    channel = every[0].channel.upper()
    title = "One branch against two at equal computation"
    return drawing.grouped_bars("gains", title, groups, f"PSNR of {channel}, dB above bicubic")


def _codes(codes: Codes) -> Panel:
    x = [getattr(Degradation.parse(test).blur, "sigma", 0.0) for test in codes.tests]
    found = [codes.distance(test) for test in codes.tests]
    ends = {side: [_end(each, side) for each in found] for side in ("low", "high")}
    curves = [
        drawing.Line("delta kernel (start)", x, codes.delta.mean(0).tolist(), dashed=True),
        drawing.Line("best constant", x, codes.constant.mean(0).tolist(), dashed=True),
        drawing.Line("DAN", x, [each.mean for each in found], ends["low"], ends["high"]),
    ]
    title = f"{codes.setting.name}: distance of the kernel's code to the truth"
    return drawing.lines(f"codes-{safe_name(codes.setting.name.lower())}", title, curves, "σ of the blur, HR pixels",
                         "mean absolute difference")  # fmt: skip


def _probes(every: Sequence[Probed]) -> Panel:
    groups = {
        f"{probe.setting.name},\n{probe.question.name}": {
            f"{kind} encoder": _percent(probe.accuracy(kind)) for kind in (TRAINED, BASELINE, UNTRAINED)
        }
        for probe in every
    }
    chances = sorted({whole_percent(probe.chance) for probe in every})
    title = f"Right answers of a linear probe on DASR's features (by chance {listed(chances)})"
    return drawing.grouped_bars("probe", title, groups, "right answers in %")


def _losses(found: Study, compared: Compared) -> Panel:
    name = compared.setting.name
    curves = []
    for who in (TWO, ONE):
        seeds = [curve for curve in found.losses[name, who] if curve]
        shared = min((len(curve) for curve in seeds), default=0)
        values = np.array([[loss for _, loss in curve[:shared]] for curve in seeds])
        steps = [step for step, _ in seeds[0][:shared]] if seeds else []
        mean = values.mean(0).tolist() if seeds else []
        curves.append(drawing.Line(f"{who} ({compared.arms[who].label})", steps, mean))
    own = {"dan": "the kernel's code", "dasr": "the contrast"}[compared.setting.peer]
    title = f"{name}: training loss of the targets; that of two branches holds {own} beside L1"
    return drawing.lines(f"loss-{safe_name(name.lower())}", title, curves, "step", "loss", size=(5.4, 4.2))


def _percent(estimate: Estimate) -> Estimate:
    low, high = (None if end is None else 100 * end for end in (estimate.low, estimate.high))
    return Estimate(100 * estimate.mean, low, high, n=estimate.n)


def _end(estimate: Estimate, side: str) -> float:
    value: float | None = getattr(estimate, side)
    return estimate.mean if value is None else value
