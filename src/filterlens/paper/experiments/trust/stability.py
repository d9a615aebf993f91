# SPDX-License-Identifier: Apache-2.0
"""Stability of a ranking: over image sets, noise seeds, target models, quadratures and precisions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from filterlens.attribution.quadrature import Quadrature
from filterlens.data.samples import Sample
from filterlens.evaluation.stability import Agreement, agreement_of, between_parts, parts_of, spread
from filterlens.evaluation.statistics import Estimate
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Claim, Table, Verdict
from filterlens.paper.experiments.trust.settings import TrustSettings
from filterlens.paper.images import evenly
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.report.figures import Panel
from filterlens.report.labels import listed, method_label, percent_text, whole_percent

LEAST = 0.8  # of the top filters that disjoint image sets have in common
Scores = Mapping[str, Tensor]


@dataclass(frozen=True)
class Change:
    """What was changed between two rankings, and how far they agree.

    Attributes:
        what: In words.
        method: Of the ranking.
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
        rule = {"quadrature": Quadrature("gauss-legendre", nodes)}
        return laboratory.attribute(model, ["faig"], few, path_settings=rule, precision=precision)["faig"].scores

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


def stability_claims(name: str, stability: Stability) -> Iterator[Claim]:
    """Judge the agreement between disjoint image sets, and whether numerics matter less than images."""
    top, halves = percent_text(stability.percent), stability.halves
    checks = [] if halves is None else [halves.overlap(kind).mean >= LEAST for kind in stability.kinds]
    yield Claim(
        f"{name}: FAIG's top {top} from disjoint image sets agree by at least {whole_percent(LEAST)}",
        "filterlens",
        Verdict.of(checks),
        _images_sentence(stability) if halves else "there is a single discovery image, which cannot be split",
    )
    if halves is not None:
        numeric = [change for change in stability.changes if change.numeric]
        pairs = [
            (change.overlap(kind).mean, halves.overlap(kind).mean) for change in numeric for kind in stability.kinds
        ]
        said = "; ".join(f"{change.what}: {_both(change, stability.kinds)}" for change in numeric)
        yield Claim(
            f"{name}: how the integral is computed changes the top {top} less than which images are taken",
            "filterlens",
            Verdict.of([own > other for own, other in pairs]),
            f"in common: {said}; disjoint halves of the images: {_both(halves, stability.kinds)}",
        )


def _images_sentence(stability: Stability) -> str:
    words = []
    for size, change in stability.growth["faig"].items():
        splits = len(change.agreements[stability.kinds[0]])
        words.append(
            f"{size} against {stability.images - size} images: {_both(change, stability.kinds)} ({splits} ways)"
        )
    chance = stability.growth["faig"][1].agreements[stability.kinds[0]][0].chance
    return f"in common (lowest to highest): {'; '.join(words)}; by chance {whole_percent(chance)}"


def _both(change: Change, kinds: Sequence[str]) -> str:
    """Write the overlap of every degradation: ``blur:2 81 % (79 to 83)``."""
    parts = []
    for kind in kinds:
        overlap = change.overlap(kind)
        text = f"{kind} {whole_percent(overlap.mean)}"
        if overlap.n > 1 and overlap.low is not None and overlap.high is not None:
            text += f" ({100 * overlap.low:.0f} to {100 * overlap.high:.0f})"
        parts.append(text)
    return listed(parts)


def agreement_table(name: str, stability: Stability) -> Table:
    """Tabulate every change."""
    top = percent_text(stability.percent)
    heads = [f"{kind}: {what}" for kind in stability.kinds for what in (f"top {top} in common", "rank correlation")]
    return Table(
        f"stability-{name}",
        f"{name}: how far a ranking agrees with itself when one thing changes",
        ("what changes", "method", "comparisons", *heads),
        tuple(_row(change, stability.kinds) for change in stability.changes),
        "Mean [lowest, highest] over the comparisons. Images are split and target models compared on all discovery "
        "images, everything else on few of them.",
    )


def growth_table(name: str, stability: Stability) -> Iterator[Table]:
    """Tabulate the agreement over the number of images."""
    rows = [_row(change, stability.kinds) for sizes in stability.growth.values() for change in sizes.values()]
    top = percent_text(stability.percent)
    heads = [f"{kind}: {what}" for kind in stability.kinds for what in (f"top {top} in common", "rank correlation")]
    if rows:
        yield Table(
            f"images-{name}",
            f"{name}: rankings from few images against those from all others",
            ("images", "method", "comparisons", *heads),
            tuple(rows),
            "Mean [lowest, highest] over the ways to choose the images, and over target models.",
        )


def growth_panel(name: str, stability: Stability) -> Iterator[Panel]:
    """Draw the agreement over the number of images."""
    top = percent_text(stability.percent)
    for kind in stability.kinds:
        curves = [
            drawing.Line(
                method_label(method),
                list(sizes),
                [change.overlap(kind).mean for change in sizes.values()],
                [change.overlap(kind).low or 0.0 for change in sizes.values()],
                [change.overlap(kind).high or 0.0 for change in sizes.values()],
            )
            for method, sizes in stability.growth.items()
            if sizes
        ]
        if curves:
            yield drawing.lines(
                f"images-{name}-{kind.replace(':', '-')}",
                f"{name}: top {top} for {kind} from few images, against all others",
                curves,
                "images",
                "share in common (band: lowest to highest)",
                limits=(0, 1.02),
            )


def _row(change: Change, kinds: Sequence[str]) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    for kind in kinds:
        cells += [change.overlap(kind), change.correlation(kind)]
    return (change.what, method_label(change.method), len(change.agreements[kinds[0]]), *cells)
