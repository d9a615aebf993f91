# SPDX-License-Identifier: Apache-2.0
"""Measure the trust in a ranking: its stability, its response to randomised layers, and the removal by its filters."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import torch
from torch import Tensor

from filterlens.attribution.quadrature import Quadrature
from filterlens.attribution.randomised import from_the_last, randomised, remaining
from filterlens.attribution.result import Attribution
from filterlens.data.samples import Sample
from filterlens.evaluation.stability import Agreement, agreement_of, between_parts, parts_of, spread
from filterlens.evaluation.statistics import Array, Estimate, bootstrap, over_seeds, pooled_ratio
from filterlens.paper.images import evenly
from filterlens.paper.judged import judge, selections_of
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.settings import Percent, Positive, Settings

MATCHED = "random-layer-matched"
CONTROL = "control"
Scores = Mapping[str, Tensor]


class TrustSettings(Settings):
    """Settings of the trust in a ranking.

    Attributes:
        pairs: At most so many of the common pairs.
        percent: The top filters whose agreement is measured.
        stable_methods: Rankings whose stability over image sets is measured.
        splits: At most so many ways to split the discovery images, per size of the part.
        checked: At most so many discovery images for what needs new gradients (seeds, quadrature, precision,
            randomisation).
        noise_seeds: Further seeds of the noise.
        fine: Nodes of the fixed rule that others are compared with.
        nodes: Nodes of coarser fixed rules.
        randomised_methods: Rankings that the randomisation check is done on.
        randomised_nodes: Nodes of the fixed rule in the randomisation check.
        depths: Shares of the layers that are randomised, from the last layer on.
        kinds: Kinds of randomisation; see :data:`filterlens.attribution.randomised.KINDS`.
        curve_methods: Rankings whose faithfulness is measured.
        curve_percents: Points of the curves.
        judged: At most so many images to judge the curves on.
        level: Removal that the fewest filters must reach.
    """

    pairs: Positive | None = None
    percent: Percent = 1.0
    stable_methods: tuple[str, ...] = ("faig", "faig-no-elimination", "taylor", "ig")
    splits: Positive = 20
    checked: Positive = 2
    noise_seeds: tuple[int, ...] = (1, 2)
    fine: Positive = 24
    nodes: tuple[Positive, ...] = (12, 6, 3)
    randomised_methods: tuple[str, ...] = ("faig", "taylor", "ig", "change-absolute")
    randomised_nodes: Positive = 8
    depths: tuple[float, ...] = (0.01, 0.25, 0.5, 0.75)
    kinds: tuple[str, ...] = ("weights", "changes")
    curve_methods: tuple[str, ...] = ("faig", "faig-no-elimination", "ig", "taylor", "change-absolute", "random")
    curve_percents: tuple[Percent, ...] = (0.1, 0.2, 0.35, 0.6, 1, 1.7, 3, 5, 10, 20)
    judged: Positive = 8
    level: float = 0.9


@dataclass(frozen=True)
class Change:
    """What was changed between two rankings, and how far they agree.

    Attributes:
        what: In words.
        method: What ranks.
        numeric: Whether only the computation differs, not the images or networks.
        agreements: Degradation → one agreement per pair of rankings.
    """

    what: str
    method: str
    agreements: Mapping[str, tuple[Agreement, ...]]
    numeric: bool = False

    def overlap(self, kind: str) -> Estimate:
        """Return the share of common top filters: mean, lowest and highest."""
        return spread([each.overlap for each in self.agreements[kind]])

    def correlation(self, kind: str) -> Estimate:
        """Return the rank correlation over all filters: mean, lowest and highest."""
        return spread([each.correlation for each in self.agreements[kind]])


@dataclass(frozen=True)
class Stability:
    """Everything that was measured of one pair.

    Attributes:
        kinds: Degradations.
        percent: The top filters whose agreement was measured.
        images: Number of discovery images.
        changes: One thing after the other.
        growth: Method → number of images → agreement with the ranking from all others.
    """

    kinds: tuple[str, ...]
    percent: float
    images: int
    changes: tuple[Change, ...]
    growth: Mapping[str, Mapping[int, Change]]

    @property
    def halves(self) -> Change | None:
        """FAIG between disjoint halves of the images."""
        return self.growth["faig"].get(self.images // 2)


def measure_stability(laboratory: Laboratory, settings: TrustSettings, name: str) -> Stability:
    """Change one thing after the other and compare the rankings."""
    models, samples, kinds = laboratory.targets(name), laboratory.finding, laboratory.common.degradations
    methods = dict.fromkeys(("faig", *settings.stable_methods))
    growth = {method: _growth(laboratory, settings, models, samples, method) for method in methods}
    halves = [sizes[len(samples) // 2] for sizes in growth.values() if sizes]
    few = evenly(samples, settings.checked)
    changes = [*halves, *_between_targets(laboratory, settings, models, samples)]
    changes += _recomputed(laboratory, settings, models[0], few)
    return Stability(kinds, settings.percent, len(samples), tuple(changes), growth)


def image_scores(laboratory: Laboratory, model: TargetModel, method: str, samples: Sequence[Sample]) -> Scores:
    """Return degradation → scores per image ``(images, filters)``; their mean is the ranking from all images."""
    laboratory.attribute(model, [method], samples)  # all units at once, shared between processes
    found = [laboratory.attribute(model, [method], [sample])[method] for sample in samples]
    return {kind: torch.stack([each.of(kind) for each in found]) for kind in laboratory.common.degradations}


def _growth(
    laboratory: Laboratory,
    settings: TrustSettings,
    models: Sequence[TargetModel],
    samples: Sequence[Sample],
    method: str,
) -> dict[int, Change]:
    """Compare rankings from 1, 2, 4, … images with those from all others, and from half of them."""
    half = len(samples) // 2
    sizes = sorted({size for size in (1, 2, 4, 8, 16, 32, 64, half) if 1 <= size <= half})
    if not sizes:
        return {}
    scores = [image_scores(laboratory, model, method, samples) for model in models]
    seed, found = laboratory.common.seed, {}
    for size in sizes:
        parts = parts_of(len(samples), size, settings.splits, seed)
        agreements = {
            kind: tuple(each for own in scores for each in between_parts(own[kind], parts, settings.percent))
            for kind in laboratory.common.degradations
        }
        rest = len(samples) - size
        what = f"images: {size} against {rest} others" if size != rest else f"images: disjoint halves of {size}"
        found[size] = Change(what, method, agreements)
    return found


def _between_targets(
    laboratory: Laboratory, settings: TrustSettings, models: Sequence[TargetModel], samples: Sequence[Sample]
) -> Iterator[Change]:
    """Compare the rankings of target models that were fine-tuned with different seeds."""
    if len(models) > 1:
        found = [laboratory.attribute(model, ["faig"], samples)["faig"].scores for model in models]
        pairs = list(combinations(found, 2))
        yield _change(settings, f"target models: {len(models)} seeds of fine-tuning", pairs)


def _recomputed(
    laboratory: Laboratory, settings: TrustSettings, model: TargetModel, few: Sequence[Sample]
) -> Iterator[Change]:
    """Compare with other noise, other nodes and the other precision, on few images."""
    base = laboratory.attribute(model, ["faig"], few)["faig"]
    precision = str(base.settings["precision"])
    others = [laboratory.attribute(model, ["faig"], few, seed=seed)["faig"] for seed in settings.noise_seeds]
    if others:
        yield _change(settings, f"noise: {len(others) + 1} seeds", list(combinations([base.scores] + [
            each.scores for each in others], 2)))  # fmt: skip

    def fixed(nodes: int) -> Scores:
        rule = Quadrature("gauss-legendre", nodes)
        return laboratory.attribute(model, ["faig"], few, quadrature=rule, precision=precision)["faig"].scores

    fine, used = fixed(settings.fine), sum(entry.nodes for entry in base.completeness) / len(base.completeness)
    text = f"quadrature: adaptive ({used:.1f} nodes on average) against {settings.fine} Gauss nodes"
    yield _change(settings, text, [(base.scores, fine)], numeric=True)
    for nodes in settings.nodes:
        yield _change(settings, f"quadrature: {nodes} against {settings.fine} Gauss nodes", [(fixed(nodes), fine)])
    if laboratory.fast_precision == "bf16" or precision == "bf16":
        other = "fp32" if precision == "bf16" else "bf16"
        found = laboratory.attribute(model, ["faig"], few, precision=other)["faig"]
        yield _change(settings, "precision: bfloat16 against float32", [(base.scores, found.scores)], numeric=True)


def _change(
    settings: TrustSettings, what: str, pairs: Sequence[tuple[Scores, Scores]], *, numeric: bool = False
) -> Change:
    agreements = {
        kind: tuple(agreement_of(first[kind], second[kind], settings.percent) for first, second in pairs)
        for kind in pairs[0][0]
    }
    return Change(what, "faig", agreements, numeric)


@dataclass(frozen=True)
class Cascade:
    """Layers that were randomised from the last one on, and what is left of a ranking of the others.

    Attributes:
        kind: Kind of the randomisation, or ``control``: FAIG's own scores shuffled within every layer.
        layers: How many layers were randomised, from the last on.
        total: How many there are.
        method: What ranked.
        percent: The top filters, of those that remain.
        agreements: Degradation → agreement of the remaining filters' ranking with the one before.
        gap: Largest completeness gap of the integrals in the randomised target; None for methods without.
    """

    kind: str
    layers: int
    total: int
    method: str
    percent: float
    agreements: Mapping[str, Agreement]
    gap: float | None


def randomise(laboratory: Laboratory, settings: TrustSettings, name: str) -> list[Cascade]:
    """Randomise the shipped target's layers, cascading from the last, and rank the remaining filters anew."""
    shipped, few = laboratory.target(name), evenly(laboratory.finding, settings.checked)
    used = str(laboratory.attribute(shipped, ["faig"], few)["faig"].settings["precision"])
    methods = tuple(dict.fromkeys(("faig", *settings.randomised_methods)))
    rule = Quadrature("gauss-legendre", settings.randomised_nodes)

    def ranked(model: TargetModel, names: Sequence[str]) -> dict[str, Attribution]:
        return laboratory.attribute(model, names, few, quadrature=rule, precision=used)

    def compared(kind: str, layers: Sequence[str], first: Attribution, second: Attribution) -> Cascade:
        left, total = remaining(first.space, layers), len(first.space.layers)
        agreements = {
            each: agreement_of(first.scores[each][left], second.scores[each][left], settings.percent)
            for each in first.scores
        }
        gap = second.completeness_gap if second.completeness else None
        return Cascade(kind, len(layers), total, second.method, settings.percent, agreements, gap)

    before = ranked(shipped, (*methods, MATCHED))
    depths = from_the_last(shipped.pair.space, settings.depths)
    cascades = []
    for kind in settings.kinds:
        for layers in depths:
            pair = randomised(shipped.pair, layers, kind=kind, seed=laboratory.common.seed)
            text = f"{name}, {kind} of {len(layers)} layers"
            after = ranked(TargetModel(text, shipped.seed, pair, pair.identity), methods)
            cascades += [compared(kind, layers, before[method], after[method]) for method in methods]
    return cascades + [compared(CONTROL, layers, before["faig"], before[MATCHED]) for layers in depths]


@dataclass(frozen=True, eq=False)
class Removal:
    """Removal of one function over the share of filters that is replaced, by one method's ranking.

    Attributes:
        method: What ranks.
        kind: Degradation.
        percents: Points of the curves, ascending, in percent of all filters.
        curves: Removal at every point, pooled over images, ``(target models, percents)``.
        area: Under the curve: mean over target models, sd, interval over images and target models.
        level: Removal that is to be reached.
    """

    method: str
    kind: str
    percents: tuple[float, ...]
    curves: Array
    area: Estimate
    level: float

    @property
    def mean(self) -> tuple[float, ...]:
        """Removal at every point, mean over target models."""
        return tuple(np.mean(self.curves, axis=0).tolist())

    @property
    def needed(self) -> Estimate | None:
        """The smallest percentage that reaches the level, mean ± sd; None where a target model never does."""
        found = [reaches(self.percents, curve, self.level) for curve in self.curves.tolist()]
        reached = [each for each in found if each is not None]
        return over_seeds(reached) if len(reached) == len(found) else None

    @property
    def most(self) -> float:
        """The largest removal anywhere on the mean curve."""
        return max(self.mean)

    @property
    def fall(self) -> float:
        """How far the mean curve falls again below its highest value so far: not 0 where other things break."""
        return float(np.max(np.maximum.accumulate(self.mean) - self.mean))


def area_under(percents: Sequence[float], values: Sequence[float]) -> float:
    """Return the area under a curve over log p, divided by the width: ∫ v d ln p / ln(p_last / p_first), in [0, 1].

    Trapezoids between the points; values are clipped to [0, 1] first, so that a broken network (far below 0) does
    not outweigh everything else. A single point is its own area. NaN where baseline and target do not differ.
    """
    if any(map(math.isnan, values)):  # the two networks do not differ there
        return math.nan
    clipped = [min(1.0, max(0.0, value)) for value in values]
    logs = [math.log(percent) for percent in percents]
    if len(logs) == 1:
        return clipped[0]
    steps = pairwise(zip(logs, clipped, strict=True))
    return sum((a + b) / 2 * (y - x) for (x, a), (y, b) in steps) / (logs[-1] - logs[0])


def reaches(percents: Sequence[float], values: Sequence[float], level: float) -> float | None:
    """Return the first percentage at which a curve reaches a level, between points by log-linear interpolation.

    None where no point does. The curve may fall again behind it: see :attr:`Removal.fall`.
    """
    before: tuple[float, float] | None = None
    for percent, value in zip(percents, values, strict=True):
        if value >= level:
            if before is None:
                return percent
            part = (level - before[1]) / (value - before[1])
            return math.exp(math.log(before[0]) + part * math.log(percent / before[0]))
        before = percent, value
    return None


def measure_curves(laboratory: Laboratory, settings: TrustSettings, name: str) -> list[Removal]:
    """Rank with every method on the discovery images, remove on the others, and measure the own function."""
    models, common = laboratory.targets(name), laboratory.common
    methods, percents = list(dict.fromkeys(settings.curve_methods)), tuple(sorted(set(settings.curve_percents)))
    samples = laboratory.judging(name, settings.judged)
    ranked = [laboratory.attribute(model, methods, laboratory.finding) for model in models]
    removals = []
    for kind in common.degradations:
        edited = [(model, selections_of(found, percents, [kind])) for model, found in zip(models, ranked, strict=True)]
        damage = judge(laboratory, edited, samples, inputs={kind: laboratory.inputs[kind]}).damage
        shape = len(models), len(samples), len(methods), len(percents)
        residual, scale = (damage[column].reshape(shape) for column in ("residual", "scale"))
        removals += [
            removal_of(method, kind, percents, residual[:, :, m], scale[:, :, m], settings.level, common.resamples)
            for m, method in enumerate(methods)
        ]
    return removals


def removal_of(
    method: str,
    kind: str,
    percents: tuple[float, ...],
    residual: Array,
    scale: Array,
    level: float,
    resamples: int = 2000,
) -> Removal:
    """Join what one method did for one degradation; the interval of the area draws images, and target models, anew.

    Args:
        method: What ranked.
        kind: The degradation.
        percents: Points of the curves, ascending.
        residual: Squared distance to the baseline's output, ``(target models, images, percents)``.
        scale: That between the outputs of baseline and target, the same shape.
        level: Removal that is to be reached.
        resamples: Draws of the bootstrap.
    """

    def areas(curves: Array) -> Array:
        return np.apply_along_axis(lambda curve: area_under(percents, curve.tolist()), -1, curves)

    def drawn(counts: Array) -> Array:
        """Return the area of every draw of images and target model."""
        return areas(pooled_ratio(*(np.tensordot(counts, each, (1, 1)) for each in (residual, scale))))

    curves = pooled_ratio(residual.sum(1), scale.sum(1))
    area = bootstrap(drawn, residual.shape[1], value=areas(curves), resamples=resamples)
    return Removal(method, kind, percents, curves, area, level)
