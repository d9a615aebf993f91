# SPDX-License-Identifier: Apache-2.0
"""The layers of deblurring and denoising filters: the paper's figure, and numbers against chance.

Intervals hold the variation over images and target models.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from filterlens.attribution.faig import FAIG, discriminate
from filterlens.degradations.given import as_degradations
from filterlens.degradations.inputs import Inputs
from filterlens.diagnosis.distribution import Uniformity, depth_estimate, overlap, uniformity
from filterlens.evaluation.statistics import LEVEL, Array, Estimate, draw_counts, over_seeds, standard_deviation
from filterlens.filters import FilterSpace, Selection
from filterlens.paper import drawing
from filterlens.paper.experiment import (
    Claim,
    Experiment,
    Outcome,
    Row,
    Table,
    Verdict,
    above,
    common_rows,
    is_above,
)
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.progress import SILENT
from filterlens.report.figures import Panel, Theme, safe_name
from filterlens.report.labels import function_of, percent_interval, significant, whole_percent
from filterlens.settings import Percent, Positive, Settings

AT_ONCE = 16  # draws of the images whose scores are in memory together


@dataclass(frozen=True, eq=False)
class Places:
    """The layers of the found filters of several target models of a pair.

    Attributes:
        name: Name of the pair.
        space: The filters.
        selections: Degradation → the found filters, per target model.
        shares: Degradation → share of the found filters per layer ``(models, layers)``.
        draws: Degradation → the same averaged over target models, for other images and target models drawn with
            replacement, the same draws for all degradations: ``(draws, layers)``.
        images: On how many images the filters were found.
    """

    name: str
    space: FilterSpace
    selections: Sequence[Mapping[str, Selection]]
    shares: Mapping[str, Array]
    draws: Mapping[str, Array]
    images: int

    @property
    def positions(self) -> Array:
        """Relative depth of every layer, 0 (first) to 1 (last)."""
        return np.linspace(0, 1, max(2, len(self.space.layers)))[: len(self.space.layers)]

    @property
    def back(self) -> Array:
        """1 for the layers of the back half, else 0."""
        return np.asarray(self.positions > 0.5, dtype=np.float64)

    @property
    def everything(self) -> Array:
        """Share of all filters per layer: what a choice by chance has on average."""
        counts = np.array([layer.count for layer in self.space.layers], dtype=np.float64)
        return np.asarray(counts / counts.sum())

    @property
    def chance_depth(self) -> float:
        """The mean relative depth of all filters."""
        return float(self.everything @ self.positions)

    @cached_property
    def uniform(self) -> Mapping[str, Sequence[Uniformity]]:
        """Degradation → the test against chance of every target model."""
        return {kind: [uniformity(each[kind]) for each in self.selections] for kind in self.shares}

    def by_chance(self, degradation: str) -> tuple[float, float]:
        """Return how far random filters are from lying uniformly, and how probable the found distance is for them."""
        tests = self.uniform[degradation]
        return over_seeds([each.expected for each in tests]).mean, max(each.p for each in tests)

    def quantiles(self, degradation: str, shares: Sequence[float]) -> list[float]:
        """Return the relative depths up to which these shares of the found filters lie, averaged over target models."""
        summed = np.cumsum(self.shares[degradation].mean(0))
        return [float(self.positions[int(np.searchsorted(summed, share - 1e-9))]) for share in shares]

    def estimate(self, per_layer: Array, degradation: str) -> Estimate:
        """Return the mean of a quantity given per layer ``(layers,)`` over the found filters."""
        return self._estimate(self.shares[degradation] @ per_layer, self.draws[degradation] @ per_layer)

    def depth(self, degradation: str) -> Estimate:
        """Return the mean relative depth of the found filters."""
        return self.estimate(self.positions, degradation)

    def depth_among_filters(self, degradation: str) -> Estimate:
        """Return the mean relative depth of the first target model, its interval over the found filters."""
        return depth_estimate(self.selections[0][degradation])

    def depth_difference(self, first: str, second: str) -> Estimate:
        """Return :meth:`depth` of one degradation minus that of another, paired over images and target models."""
        shares, draws = self.shares[first] - self.shares[second], self.draws[first] - self.draws[second]
        return self._estimate(shares @ self.positions, draws @ self.positions)

    def distance(self, degradation: str) -> Estimate:
        """Return the total variation between the found and all filters, averaged over target models."""
        return self._estimate(*(self._variation(table[degradation]) for table in (self.shares, self.draws)))

    def distance_difference(self, first: str, second: str) -> Estimate:
        """Return :meth:`distance` of one degradation minus that of another, paired."""
        tables = self.shares, self.draws
        return self._estimate(*(self._variation(table[first]) - self._variation(table[second]) for table in tables))

    def _variation(self, shares: Array) -> Array:
        return np.asarray(0.5 * np.abs(shares - self.everything).sum(-1))

    def _estimate(self, values: Array, draws: Array) -> Estimate:
        """Join the values per target model with the draws."""
        mean, sd = float(values.mean()), standard_deviation(values)
        if self.images == 1 and len(values) == 1:  # nothing was resampled
            return Estimate(mean, n=1)
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Estimate(mean, float(low), float(high), sd, len(values))


def places_of(laboratory: Laboratory, name: str, percent: float, resamples: int) -> Places:
    """Find the filters of all target models of a pair, and find them again for every draw of the images.

    A draw takes as many images as there are, with replacement, ranks anew, and takes the top; so the interval holds
    what other images of this kind would have found.
    """
    models, degradations = laboratory.targets(name), laboratory.common.degradations
    scores = [image_scores(laboratory, model) for model in models]
    space, images = models[0].pair.space, len(scores[0])

    def shares(weights: Tensor) -> Array:
        layers = space.layer_index, len(space.layers)
        return np.stack([group_shares(*layers, each, weights, percent) for each in scores])

    whole = shares(torch.ones(1, images) / images)[:, 0]
    drawn = shares(torch.from_numpy(draw_counts(images, resamples, seed=0) / images))
    weights = draw_counts(len(models), resamples, seed=1) / len(models)  # (draws, models)
    joint = np.einsum("dm,mdkl->dkl", weights, drawn)
    means = [each.mean(0) for each in scores]
    selections = [
        {kind: Selection.top(space, mean[k], percent, kind) for k, kind in enumerate(degradations)} for mean in means
    ]
    found, draws = ({kind: table[:, k] for k, kind in enumerate(degradations)} for table in (whole, joint))
    return Places(name, space, selections, found, draws, images)


def image_scores(laboratory: Laboratory, model: TargetModel) -> Tensor:
    """Return FAIG's scores of every single image, ``(images, degradations, filters)`` float64; their mean is FAIG's.

    With a single degradation it is discriminated against the clean input, as FAIG does.
    """
    wanted = laboratory.common.degradations
    kinds = as_degradations(wanted if len(wanted) > 1 else (*wanted, "clean"))
    method = FAIG(model.pair, laboratory.settings())  # as it attributes, so that the measurements are shared
    measured = method.measure_images(Inputs.of(laboratory.finding, kinds), SILENT, laboratory.store)
    rows = [discriminate(torch.stack([each.magnitudes for each in image])) for image in measured]
    return torch.stack(rows)[:, : len(wanted)]


def group_shares(group_of: Tensor, groups: int, scores: Tensor, weights: Tensor, percent: float) -> Array:
    """Return which shares of the top filters lie in each group of filters, ``(rows, degradations, groups)``.

    Args:
        group_of: The group of every filter ``(filters,)``, for example its layer.
        groups: How many groups there are.
        scores: Scores of every image ``(images, degradations, filters)``.
        weights: Weights of the images ``(rows, images)``; each row is ranked by its weighted mean.
        percent: Share of the filters that is taken.
    """
    take = int(scores.shape[-1] * percent / 100 + 1e-9)
    flat = scores.flatten(1).float()
    found = []
    for rows in torch.split(weights.float(), AT_ONCE):
        ranked = (rows @ flat).view(len(rows), *scores.shape[1:])
        places = group_of[ranked.topk(take).indices]
        counts = torch.zeros(*places.shape[:2], groups, dtype=torch.float64)
        found.append(counts.scatter_add_(2, places, torch.ones(places.shape, dtype=torch.float64)) / max(1, take))
    return np.asarray(torch.cat(found).numpy())


CERTAIN = 0.05  # probability below which a choice by chance is ruled out
METHODS = {"faig": "FAIG", "faig-no-elimination": "FAIG without elimination"}


class DistributionSettings(Settings):
    """Settings of the distribution over layers.

    Attributes:
        percent: Share of the filters that is taken.
        draws: Draws of the images, each ranked anew, for the intervals.
    """

    percent: Percent = 1.0
    draws: Positive = 400


def run(laboratory: Laboratory, settings: DistributionSettings) -> Outcome:
    """Count the found filters per layer for every pair and target model, and set that against chance."""
    every = [places_of(laboratory, name, settings.percent, settings.draws) for name in laboratory.common.pairs]
    tables = [_depths(every), _uniformities(every), _overlaps(laboratory, settings.percent), *map(_layers, every)]
    panels = tuple(panel for places in every for panel in _panels(places))
    claims = tuple(claim for places in every for claim in claims_of(places))
    return Outcome(claims, tuple(tables), panels, _TEXT, _specification(laboratory, settings))


def claims_of(places: Places) -> Iterator[Claim]:
    """Judge the paper's claims of deblurring (the blurs) and denoising (the noises) for one pair."""
    blurs, noises = ([kind for kind in places.shares if kind.split(":")[0] == what] for what in ("blur", "noise"))
    for kind in blurs:
        yield _sits_behind(places, kind)
    for kind in noises:
        yield _lies_uniformly(places, kind)
    for blur in blurs:
        for noise in noises:
            yield _less_uniform(places, blur, noise)
            yield _deeper(places, blur, noise)


def _sits_behind(places: Places, kind: str) -> Claim:
    depth, filters = places.depth(kind), places.depth_among_filters(kind)
    half, all_half = places.estimate(places.back, kind), float(places.everything @ places.back)
    start, end = places.quantiles(kind, (0.25, 0.75))
    checks = [
        is_above(depth, places.chance_depth) and is_above(filters, places.chance_depth),
        is_above(half, max(0.5, all_half)),
    ]
    return Claim(
        f"{places.name}: {function_of(kind)} filters sit in the back part of the network",
        "paper, figure of the distribution",
        Verdict.of(checks),
        f"mean relative depth {depth}, all filters {places.chance_depth:.3g}; {percent_interval(half)} of them lie "
        f"in the back half, where {whole_percent(all_half)} of all filters are; the middle half of them lies between "
        f"the relative depths {start:.2g} and {end:.2g}",
    )


def _lies_uniformly(places: Places, kind: str) -> Claim:
    depth, distance, (expected, p) = places.depth(kind), places.distance(kind), places.by_chance(kind)
    shares = places.shares[kind].mean(0)
    most = int((shares / places.everything).argmax())
    return Claim(
        f"{places.name}: {function_of(kind)} filters lie uniformly over the layers",
        "paper, figure of the distribution",
        Verdict.of([p >= CERTAIN, above(depth, places.chance_depth) is None]),
        f"distance to uniform {distance}, random filters {expected:.3g} (p = {significant(p)}); mean relative depth "
        f"{depth}, all filters {places.chance_depth:.3g}; most crowded: {places.space.layers[most].name} with "
        f"{100 * shares[most]:.1f} % of them and {100 * places.everything[most]:.1f} % of all filters",
    )


def _less_uniform(places: Places, blur: str, noise: str) -> Claim:
    difference = places.distance_difference(blur, noise)
    first, second = (places.distance(kind).mean for kind in (blur, noise))
    return Claim(
        f"{places.name}: {function_of(noise)} filters lie more uniformly than {function_of(blur)} ones",
        "paper, figure of the distribution (the weaker reading)",
        Verdict.of([is_above(difference)]),
        f"distance to uniform {second:.3g} against {first:.3g}, difference {difference}",
    )


def _deeper(places: Places, blur: str, noise: str) -> Claim:
    difference = places.depth_difference(blur, noise)
    first, second = (places.depth(kind).mean for kind in (blur, noise))
    return Claim(
        f"{places.name}: {function_of(blur)} filters lie deeper than {function_of(noise)} ones",
        "paper, figure of the distribution",
        Verdict.of([is_above(difference)]),
        f"mean relative depth {first:.3g} against {second:.3g}, difference {difference}",
    )


def _depths(every: Sequence[Places]) -> Table:
    """Return how deep the found filters lie."""
    rows = [
        (
            places.name,
            function_of(kind),
            places.depth(kind),
            places.depth_among_filters(kind),
            places.chance_depth,
            places.estimate(places.back, kind),
            float(places.everything @ places.back),
        )
        for places in every
        for kind in places.shares
    ]
    heads = ("mean relative depth", "first target, interval over filters", "depth of all filters")
    return Table(
        "depth",
        "Mean relative depth of the found filters (0: first layer, 1: last)",
        ("pair", "filters", *heads, "share in the back half", "of all filters there"),
        tuple(rows),
        "Mean ± sd over target models, [95 % interval over images and target models, the filters found anew for every "
        "draw]. Beside it, of the first target model: ± sd and interval over its found filters, taken as a sample.",
    )


def _uniformities(every: Sequence[Places]) -> Table:
    """Return how far the found filters are from lying as random ones would."""
    rows = [
        (places.name, function_of(kind), places.distance(kind), *places.by_chance(kind))
        for places in every
        for kind in places.shares
    ]
    return Table(
        "uniformity",
        "How far the found filters are from lying uniformly",
        ("pair", "filters", "distance to uniform", "random filters", "p"),
        tuple(rows),
        "Total variation between the shares per layer of the found and of all filters: 0 is uniform, 1 is elsewhere "
        "altogether. Random filters of the same number are not at 0. p: probability of at least that distance for "
        "random filters (10,000 draws; the largest over target models).",
    )


def _overlaps(laboratory: Laboratory, percent: float) -> Table:
    """Return how much the sets of every pair have in common, with and without elimination."""
    return Table(
        "overlap",
        f"Overlap of the sets found for different degradations, {percent:g} %",
        ("pair", "ranking", "sets", "share in common", "by chance", "times chance"),
        [row for name in laboratory.common.pairs for row in _overlaps_of(laboratory, name, percent)],
        "With two degradations elimination makes the two rankings opposites, so their tops are disjoint by "
        "construction; what the functions share shows without elimination.",
    )


def _overlaps_of(laboratory: Laboratory, name: str, percent: float) -> Iterator[Row]:
    found = [laboratory.attribute(model, list(METHODS), laboratory.finding) for model in laboratory.targets(name)]
    for method, label in METHODS.items():
        for kinds in combinations(laboratory.common.degradations, 2):
            both = [overlap(*(each[method].select(kind, percent) for kind in kinds)) for each in found]
            share, ratio = (over_seeds([getattr(each, what) for each in both]) for what in ("share", "ratio"))
            chance = over_seeds([each.expected / each.first for each in both]).mean
            yield (name, label, ", ".join(map(function_of, kinds)), share, chance, ratio)


def _layers(places: Places) -> Table:
    """Return the share of the found filters in every layer."""
    rows: list[Row] = []
    layers = places.space.layers
    for layer, only, depth, share in zip(layers, np.eye(len(layers)), places.positions, places.everything, strict=True):
        found = (places.estimate(only, kind) for kind in places.shares)
        rows.append((layer.name, float(depth), float(share), *found))
    return Table(
        f"layers-{places.name}",
        f"{places.name}: share per layer",
        ("layer", "depth", "of all filters", *(f"of the {function_of(kind)} filters" for kind in places.shares)),
        rows,
    )


def _panels(places: Places) -> Iterator[Panel]:
    """Draw a map of ticks per degradation, and the shares per layer."""
    for color, kind in enumerate(places.shares):
        title = f"{places.name}: {function_of(kind)} filters, one tick each"
        yield tick_map(f"ticks-{places.name}-{safe_name(kind)}", title, places.selections[0][kind], color)
    numbers = list(range(1, len(places.space.layers) + 1))
    curves = [
        drawing.Line.of(function_of(kind), numbers, [places.estimate(only, kind) for only in np.eye(len(numbers))])
        for kind in places.shares
    ]
    curves.append(drawing.Line("all filters", numbers, places.everything.tolist(), dashed=True))
    title = f"{places.name}: share of the found filters per layer"
    yield drawing.lines(f"shares-{places.name}", title, curves, "layer", "share", size=(7.2, 4.2))


def tick_map(stem: str, title: str, selection: Selection, color: int = 0) -> Panel:
    """Draw the paper's figure: one row per layer, from the first (top) to the last, and one tick per found filter.

    Args:
        stem: Stem of the file's name.
        title: Above the figure.
        selection: The found filters.
        color: Number of the colour in the theme's cycle.
    """
    rows = ticks(selection)
    names = [layer.name for layer in selection.space.layers]

    def draw(axes: Axes, theme: Theme) -> None:
        axes.eventplot(rows, lineoffsets=range(len(rows)), linelengths=0.82, linewidths=0.5,
                       colors=theme.cycle[color % len(theme.cycle)])  # fmt: skip
        axes.set_xlim(0, 1)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        step = max(1, len(rows) // 18)
        axes.set_yticks(range(0, len(rows), step), names[::step], fontsize=7)
        axes.set_xlabel("filters of the layer, in the order of their index (share of the layer)")

    counts = ", ".join(f"{name} {len(row)}" for name, row in zip(names, rows, strict=True) if len(row))
    return Panel(stem, title, f"Ticks of the found filters per layer: {counts}.", draw, size=(6.2, 5.4))


def ticks(selection: Selection) -> list[list[float]]:
    """Return per layer where its found filters lie, from 0 (its first filter) to 1 (behind its last)."""
    space = selection.space
    layers, indices = space.layer_index[selection.indices].numpy(), selection.indices.numpy()
    return [
        np.sort((indices[layers == number] - layer.offset + 0.5) / layer.count).tolist()
        for number, layer in enumerate(space.layers)
    ]


def _specification(laboratory: Laboratory, settings: DistributionSettings) -> dict[str, str]:
    rows = common_rows(laboratory.common)
    del rows["judged on"]
    return rows | {
        "found filters": f"top {settings.percent:g} % by FAIG",
        "intervals": f"{settings.draws} draws of images and target models with replacement, ranked anew; squares of "
        "one photograph are drawn as if they were independent",
        "relative depth": "place of the layer in the order of the network, 0 (first) to 1 (last)",
    }


_TEXT = (
    "Every tick is a found filter; each row is a layer, from the first (top) to the last. Layers have different "
    "numbers of filters, so 'uniform' means: in proportion to the filters of the layer, as random filters would lie.",
    "The maps show the first target model; tables and curves are averaged over all target models of a pair.",
)

EXPERIMENT = Experiment(
    "distribution",
    "Where the found filters lie",
    "layers and filters of deblurring and denoising: the figure, depth, distance to uniform, overlap",
    DistributionSettings,
    run,
)
