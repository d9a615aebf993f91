# SPDX-License-Identifier: Apache-2.0
"""How faithful a ranking is: what removing its first p % does, from very few filters to many.

Only squared distances of unrounded outputs are taken, and the two ends are computed once per image and input, so a
point of a curve costs one forward pass per image.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from filterlens.arguments import as_list, percentage, real_number, seed_number
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.editing.dial import substituted
from filterlens.evaluation.damage import Ends, ends_of, named, truth_of
from filterlens.evaluation.function_distance import preservation, removal
from filterlens.filters import Selection, check_scores, ranking
from filterlens.pair import ModelPair
from filterlens.pixels import require_finite
from filterlens.progress import SILENT, Progress
from filterlens.run.tables import Edit

PERCENTS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0)
PRECISION = 1.02  # the bisection ends where two counts are that close
FIRST_SHARE = 0.01


@dataclass(frozen=True)
class Squares:
    """What one edit did to one image of one input: 1 − residual / scale is removal (own input) or preservation."""

    edit: Edit
    input: str
    image: str
    residual: float
    scale: float


@dataclass(frozen=True)
class Curve:
    """Removal or preservation over the share of filters that is replaced, pooled over images.

    Attributes:
        method: The method that ranked the filters.
        masked: The degradation whose filters are replaced.
        input: The degradation of the input; the curve is of removal where it is ``masked``, else of preservation.
        percents: Ascending, in percent of all filters.
        values: 1 − Σ residual / Σ scale at each.
    """

    method: str
    masked: str
    input: str
    percents: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def area(self) -> float:
        """Area under the curve over log p, divided by the width: ∫ v d ln p / ln(p_last / p_first), in [0, 1].

        Trapezoids between the points; values are clipped to [0, 1] first, so that a broken network (far below 0) does
        not outweigh everything else. A single point is its own area. NaN where baseline and target do not differ.
        """
        if any(map(math.isnan, self.values)):  # the two networks do not differ there
            return math.nan
        clipped = [min(1.0, max(0.0, value)) for value in self.values]
        logs = [math.log(percent) for percent in self.percents]
        if len(logs) == 1:
            return clipped[0]
        steps = pairwise(zip(logs, clipped, strict=True))
        return sum((a + b) / 2 * (y - x) for (x, a), (y, b) in steps) / (logs[-1] - logs[0])

    @property
    def fall(self) -> float:
        """How far the curve falls again below its highest value so far; 0 where it only rises."""
        return max(highest - value for highest, value in zip(accumulate(self.values, max), self.values, strict=True))

    def reaches(self, level: float = 0.9) -> float | None:
        """Return the first percentage at which the curve reaches ``level``, between points by log-linear interpolation.

        None where no point does. The curve may fall again behind it: see :attr:`fall`.
        """
        before: tuple[float, float] | None = None
        for percent, value in zip(self.percents, self.values, strict=True):
            if value >= level:
                if before is None:
                    return percent
                part = (level - before[1]) / (value - before[1])
                return math.exp(math.log(before[0]) + part * math.log(percent / before[0]))
            before = percent, value
        return None


@dataclass(frozen=True)
class Probe:
    """Removal R (pooled over images) where the first ``filters`` of a ranking are replaced."""

    filters: int
    percent: float
    removal: float


@dataclass(frozen=True)
class Threshold:
    """The smallest number of filters found at which a function is removed.

    Attributes:
        level: The removal that was asked for.
        reached: The fewest filters that reach it, or None where nothing probed does (biases are never replaced, so
            even all filters may not).
        below: The next fewer probe, which does not reach it; ``reached`` is at most 2 % or one filter more than it.
        probes: Everything that was tried, from few filters to many.
    """

    level: float
    reached: Probe | None
    below: Probe | None
    probes: tuple[Probe, ...]

    @property
    def falls_again(self) -> bool:
        """Whether a probe with more filters than ``reached`` is below the level: removal is then not monotone."""
        most = math.inf if self.reached is None else self.reached.filters
        return any(probe.filters > most and probe.removal < self.level for probe in self.probes)


@torch.no_grad()
def measure_squares(
    pair: ModelPair,
    rankings: Mapping[tuple[str, str], Tensor],
    samples: Sequence[Sample],
    inputs: Mapping[str, Degradation],
    *,
    percents: Sequence[float] = PERCENTS,
    resampler: str = "bicubic",
    multiple: int = 1,
    seed: int = 0,
    precision: str = "fp32",
    progress: Progress = SILENT,
) -> list[Squares]:
    """Remove the first p % of every ranking and measure squared distances on every input of every image.

    Args:
        pair: Baseline and target.
        rankings: (method, masked degradation) → scores ``(filters,)``.
        samples: HR images to judge on.
        inputs: Name → degradation of the inputs.
        percents: The points of the curves.
        resampler: Interpolation of the down-sampling.
        multiple: Images are cut to multiples of the scale and of this.
        seed: Seed of the noise.
        precision: ``fp32`` or ``bf16``.
        progress: Receiver of the progress bar.

    Returns:
        One :class:`Squares` per ranking, percentage, input and image; see :func:`curves_of`.

    Raises:
        UsageError: A percentage outside (0, 100].
    """
    edits, seed = _edits(pair, rankings, percents), seed_number(seed)
    found: list[Squares] = []
    with progress.bar("faithfulness", len(samples) * len(inputs) * len(edits)) as bar:
        for sample in samples:
            truth = truth_of(pair, sample, multiple)
            for name, degradation in inputs.items():
                bar.describe(f"faithfulness, {sample.name}, {name}")
                ends = ends_of(
                    pair, truth, degradation, sample.name, name, resampler=resampler, seed=seed, precision=precision
                )
                for edit, selection in edits:
                    output = pair.run(substituted(pair, selection), ends.lowered, precision)
                    require_finite(output, named(edit), sample.name, name)
                    judge = removal if edit.masked == name else preservation
                    found.append(Squares(edit, name, sample.name, *judge(output, ends.baseline, ends.target)))
                    bar.advance()
    return found


def curves_of(squares: Sequence[Squares]) -> list[Curve]:
    """Pool over images and join the percentages: one curve per method, masked degradation and input."""
    sums: dict[tuple[str, str, str], dict[float, tuple[float, float]]] = {}
    for each in squares:
        points = sums.setdefault((each.edit.method, each.edit.masked, each.input), {})
        residual, scale = points.get(each.edit.percent, (0.0, 0.0))
        points[each.edit.percent] = residual + each.residual, scale + each.scale
    return [
        Curve(*key, tuple(sorted(points)), tuple(_value(*points[percent]) for percent in sorted(points)))
        for key, points in sums.items()
    ]


@torch.no_grad()
def smallest_removal(
    pair: ModelPair,
    scores: Tensor,
    samples: Sequence[Sample],
    degradation: Degradation,
    *,
    level: float = 0.9,
    resampler: str = "bicubic",
    multiple: int = 1,
    seed: int = 0,
    precision: str = "fp32",
) -> Threshold:
    """Find the fewest filters of a ranking that remove ``level`` of a function on its own inputs.

    From 1 % of the filters upwards in factors of two until the level is reached (all filters last), then bisection
    between that probe and the one before, on the ratio. It finds *a* crossing; where removal falls again behind it,
    :attr:`Threshold.falls_again` says so, and fewer filters than ``below`` are assumed not to reach the level.
    The degraded images and both ends are kept in memory while it works: a dozen images are enough.

    Args:
        pair: Baseline and target.
        scores: ``(filters,)``.
        samples: HR images.
        degradation: The function to remove, which is also the input.
        level: The removal to reach, in (0, 1).
        resampler: Interpolation of the down-sampling.
        multiple: Images are cut to multiples of the scale and of this.
        seed: Seed of the noise.
        precision: ``fp32`` or ``bf16``.

    Raises:
        UsageError: The level is not in (0, 1).
    """
    level = real_number(level, "share of a function to remove", above=0, below=1)
    check_scores(pair.space, scores, "The scores")
    name, seed = str(degradation), seed_number(seed)
    ends = [
        ends_of(
            pair,
            truth_of(pair, sample, multiple),
            degradation,
            sample.name,
            name,
            resampler=resampler,
            seed=seed,
            precision=precision,
        )
        for sample in samples
    ]
    order, total = ranking(scores), len(pair.space)
    probes: dict[int, float] = {}

    def reaches(count: int) -> bool:
        if count not in probes:
            probes[count] = _removal(pair, Selection(pair.space, order[:count]), ends, precision)
        return probes[count] >= level

    low, high = _bracket(reaches, total)
    while high is not None and high - low > 1 and high > PRECISION * low:
        middle = max(low + 1, min(high - 1, round((max(low, 1) * high) ** 0.5)))
        low, high = (low, middle) if reaches(middle) else (middle, high)
    tried = {count: Probe(count, 100 * count / total, value) for count, value in sorted(probes.items())}
    return Threshold(level, tried.get(high or 0), tried.get(low), tuple(tried.values()))


def _edits(
    pair: ModelPair, rankings: Mapping[tuple[str, str], Tensor], percents: Sequence[float]
) -> list[tuple[Edit, Selection]]:
    points = [percentage(percent, of_none=False) for percent in as_list(percents, int, float)]
    return [
        (Edit(method, percent, masked), Selection.top(pair.space, scores, percent))
        for (method, masked), scores in rankings.items()
        for percent in sorted(points)
    ]


def _value(residual: float, scale: float) -> float:
    return 1 - residual / scale if scale else float("nan")


def _bracket(reaches: Callable[[int], bool], total: int) -> tuple[int, int | None]:
    """Return the last count that does not reach the level (0: none tried) and the first that does (None: no count)."""
    low, count = 0, max(1, round(FIRST_SHARE * total))
    while not reaches(count):
        if count == total:
            return total, None
        low, count = count, min(2 * count, total)
    return low, count


def _removal(pair: ModelPair, selection: Selection, ends: Sequence[Ends], precision: str) -> float:
    edited, what = substituted(pair, selection), f"the target without {len(selection)} filters"
    pairs = []
    for end in ends:
        output = require_finite(pair.run(edited, end.lowered, precision), what, end.image)
        pairs.append(removal(output, end.baseline, end.target))
    return _value(sum(residual for residual, _ in pairs), sum(scale for _, scale in pairs))
