# SPDX-License-Identifier: Apache-2.0
"""Faithfulness: how much of its own function every ranking removes, from 0.1 to 20 % of the filters."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from filterlens.data.samples import Sample
from filterlens.evaluation.damage import Edit
from filterlens.evaluation.faithfulness import Curve, Squares, curves_of, measure_squares
from filterlens.evaluation.statistics import LEVEL, Estimate, draw_counts, over_both, standard_deviation
from filterlens.filters import ranking
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Claim, Table, Verdict
from filterlens.paper.experiments.trust.settings import TrustSettings
from filterlens.paper.images import evenly
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import fixed, function_of, method_label, whole_percent

Array = npt.NDArray[np.float64]
Rankings = Mapping[str, Tensor]


@dataclass(frozen=True)
class Removal:
    """Curves of removal of one method for one degradation.

    Attributes:
        method: Whose ranking.
        kind: Degradation.
        curves: One per target model, pooled over images.
        area: Under the curve: mean over target models, sd, interval over images and target models.
        level: Of removal that is to be reached.
    """

    method: str
    kind: str
    curves: tuple[Curve, ...]
    area: Estimate
    level: float

    @property
    def mean(self) -> tuple[float, ...]:
        """Removal at every point, mean over target models."""
        return tuple(np.mean([curve.values for curve in self.curves], axis=0).tolist())

    @property
    def needed(self) -> Estimate | None:
        """The smallest percentage that reaches the level, mean ± sd; None where a target model never does."""
        found = [curve.reaches(self.level) for curve in self.curves]
        values = [each for each in found if each is not None]
        if len(values) < len(found):
            return None
        return Estimate(sum(values) / len(values), sd=standard_deviation(values), n=len(values))

    @property
    def most(self) -> float:
        """The largest removal anywhere on the mean curve."""
        return max(self.mean)

    @property
    def fall(self) -> float:
        """How far the mean curve falls again: removal is not monotone where other things break."""
        return replace(self.curves[0], values=self.mean).fall


def measure_curves(laboratory: Laboratory, settings: TrustSettings, name: str) -> list[Removal]:
    """Rank with every method on the discovery images, remove on the others, and measure the own function."""
    models, samples = laboratory.targets(name), evenly(laboratory.judging(name), settings.judged)
    found: list[Removal] = []
    ranked = [laboratory.attribute(model, settings.curve_methods, laboratory.finding) for model in models]
    for kind in laboratory.common.degradations:
        jobs = [
            (model, {method: each.of(kind) for method, each in own.items()})
            for model, own in zip(models, ranked, strict=True)
        ]
        squares = _measured(laboratory, settings, kind, jobs, samples)
        for method in settings.curve_methods:
            rows = [[each for each in own if each.edit.method == method] for own in squares]
            found.append(removal_of(rows, settings.level, laboratory.common.resamples))
    return found


def removal_of(rows: Sequence[Sequence[Squares]], level: float, resamples: int = 2000) -> Removal:
    """Join what one method did for one degradation: one sequence of squares per target model."""
    curves = tuple(curves_of(own)[0] for own in rows)
    first = curves[0]
    return Removal(first.method, first.masked, curves, _area(rows, curves, resamples), level)


def _area(rows: Sequence[Sequence[Squares]], curves: Sequence[Curve], resamples: int) -> Estimate:
    """Return the area with an interval that draws images, and target models, anew."""
    areas = np.array([curve.area for curve in curves])
    images = len({each.image for each in rows[0]})
    counts = draw_counts(images, resamples, 0)
    drawn = np.stack([_drawn_areas(own, curve, counts) for own, curve in zip(rows, curves, strict=True)], axis=1)
    return over_both(areas, drawn, LEVEL, 0, images)


def _drawn_areas(own: Sequence[Squares], curve: Curve, counts: Array) -> Array:
    """Return the area for every draw of images ``(draws, images)``."""
    tables = []
    for column in ("residual", "scale"):
        by_percent = [[getattr(each, column) for each in own if each.edit.percent == p] for p in curve.percents]
        tables.append(counts @ np.array(by_percent, dtype=np.float64).T)
    values = 1 - tables[0] / tables[1]
    return np.array([replace(curve, values=tuple(row)).area for row in values.tolist()])


def _measured(
    laboratory: Laboratory,
    settings: TrustSettings,
    kind: str,
    jobs: Sequence[tuple[TargetModel, Rankings]],
    samples: Sequence[Sample],
) -> list[list[Squares]]:
    """Return the squares of every target model, over all images."""
    precision, seed = laboratory.judge_precision, laboratory.common.seed
    prints = {sample.name: sample.fingerprint() for sample in samples}
    orders = {model.identity: {m: _fingerprint(s) for m, s in ranked.items()} for model, ranked in jobs}
    items = [(model, ranked, sample) for model, ranked in jobs for sample in samples]

    def identity(item: tuple[TargetModel, Rankings, Sample]) -> Any:
        model, _, sample = item
        points = sorted(settings.curve_percents)
        return [model.identity, orders[model.identity], prints[sample.name], kind, points, precision, seed]

    def compute(item: tuple[TargetModel, Rankings, Sample]) -> Any:
        model, ranked, sample = item
        measured = measure_squares(
            model.pair,
            {(method, kind): scores for method, scores in ranked.items()},
            [sample],
            {kind: laboratory.inputs[kind]},
            percents=settings.curve_percents,
            seed=seed,
            precision=precision,
        )
        return [asdict(each) | {"edit": list(each.edit)} for each in measured]

    title = "faithfulness"
    results = laboratory.pieces.of(
        title, items, identity, compute, title=lambda item: f"{item[0].name}, {item[0].seed}, {kind}, {item[2].name}"
    )
    whole: dict[str, list[Squares]] = {model.identity: [] for model, _ in jobs}
    for (model, _, sample), result in zip(items, results, strict=True):
        whole[model.identity] += [Squares(**row | {"edit": Edit(*row["edit"]), "image": sample.name}) for row in result]
    return list(whole.values())


def _fingerprint(scores: Tensor) -> str:
    return hashlib.sha256(ranking(scores).numpy().tobytes()).hexdigest()[:24]


def curve_claims(name: str, removals: Sequence[Removal]) -> Iterator[Claim]:
    """Judge whether FAIG has the largest area, and needs the fewest filters."""
    kinds, level = list(dict.fromkeys(each.kind for each in removals)), whole_percent(removals[0].level)
    by_area = {kind: sorted(_of(removals, kind), key=lambda each: -each.area.mean) for kind in kinds}
    said = "; ".join(
        f"{kind}: " + ", ".join(f"{method_label(each.method)} {fixed(each.area.mean, 3)}" for each in ordered)
        for kind, ordered in by_area.items()
    )
    yield Claim(
        f"{name}: FAIG has the largest area under the curve of removal among all methods",
        "filterlens",
        Verdict.of([ordered[0].method == "faig" for ordered in by_area.values()]),
        f"{said}{_why(by_area)}",
    )
    checks = [_fewest(_of(removals, kind)) == "faig" for kind in kinds]
    words = "; ".join(
        f"{kind}: " + ", ".join(f"{method_label(each.method)} {_needed(each)}" for each in _of(removals, kind))
        for kind in kinds
    )
    yield Claim(
        f"{name}: FAIG needs the fewest filters to remove {level} of a function",
        "filterlens",
        Verdict.of(checks),
        words,
    )


def _why(by_area: Mapping[str, Sequence[Removal]]) -> str:
    """Where another method wins, say by how much and whether FAIG's curve falls again."""
    words = []
    for kind, ordered in by_area.items():
        own = next(each for each in ordered if each.method == "faig")
        if ordered[0] is not own:
            behind = fixed(ordered[0].area.mean - own.area.mean, 3)
            words.append(
                f"{function_of(kind)}: FAIG is {behind} behind {method_label(ordered[0].method)} and reaches "
                f"{fixed(own.most)} at most"
                + (f", falling by {fixed(own.fall)} behind that as other functions break" if own.fall > 0.01 else "")
            )
    return f". {'; '.join(words)}" if words else ""


def _fewest(removals: Sequence[Removal]) -> str | None:
    """Return the method that reaches the level with the fewest filters; None where none does."""
    reached = {each.method: each.needed for each in removals}
    known = {method: needed.mean for method, needed in reached.items() if needed is not None}
    return min(known, key=known.__getitem__) if known else None


def _needed(removal: Removal) -> str:
    if removal.needed is None:
        return f"not by {removal.curves[0].percents[-1]:g} % (largest removal {fixed(removal.most)})"
    return f"{fixed(removal.needed.mean)} %"


def _of(removals: Sequence[Removal], kind: str) -> list[Removal]:
    return [each for each in removals if each.kind == kind]


def curve_tables(name: str, removals: Sequence[Removal]) -> Iterator[Table]:
    """Tabulate areas, the fewest filters, and the points of the curves."""
    percents = removals[0].curves[0].percents
    level = whole_percent(removals[0].level)
    for kind in dict.fromkeys(each.kind for each in removals):
        rows: list[tuple[Cell, ...]] = [
            (method_label(each.method), each.area, _needed(each), *each.mean) for each in _of(removals, kind)
        ]
        yield Table(
            f"faithfulness-{name}-{safe_name(kind)}",
            f"{name}: removal of {function_of(kind)} over the share of replaced filters",
            ("method", "area", f"filters for {level}", *(f"{percent:g} %" for percent in percents)),
            tuple(rows),
            "Removal on unseen images, mean over target models: 1 is ideal, below 0 the network is broken. Area over "
            "log p, of values clipped to [0, 1], mean ± sd over target models [95 % bootstrap interval].",
        )


def curve_panels(name: str, removals: Sequence[Removal]) -> Iterator[Panel]:
    """Draw removal over the share of replaced filters."""
    for kind in dict.fromkeys(each.kind for each in removals):
        yield drawing.lines(
            f"faithfulness-{name}-{safe_name(kind)}",
            f"{name}: removal of {function_of(kind)} on unseen images",
            [drawing.Line(method_label(e.method), e.curves[0].percents, e.mean) for e in _of(removals, kind)],
            "replaced filters, %",
            f"removal on {kind}",
            log_x=True,
            limits=(-0.25, 1.05),
        )
