# SPDX-License-Identifier: Apache-2.0
"""Tables and figures of where the found filters lie."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from filterlens.attribution.result import Attribution
from filterlens.diagnosis.distribution import Uniformity, depth_estimate, overlap
from filterlens.evaluation.statistics import Array, Estimate, over_seeds
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Table
from filterlens.paper.experiments.distribution.places import Places
from filterlens.paper.experiments.distribution.tick_map import tick_map
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import function_of

METHODS = {"faig": "FAIG", "faig-no-elimination": "FAIG without elimination"}


@dataclass(frozen=True)
class View:
    """One pair.

    Attributes:
        name: Of the pair.
        places: Where its found filters lie.
        uniform: Degradation → the test against chance of every target model.
    """

    name: str
    places: Places
    uniform: Mapping[str, Sequence[Uniformity]]

    @property
    def chance(self) -> float:
        """The mean relative depth of all filters."""
        return float(self.places.everything @ self.places.positions)

    @property
    def back(self) -> Array:
        """1 for the layers of the back half, else 0."""
        return np.asarray(self.places.positions > 0.5, dtype=np.float64)

    def among_filters(self, kind: str) -> Estimate:
        """Return the mean relative depth of the first target model, its interval over the found filters."""
        return depth_estimate(self.places.selections[0][kind])


def depths(views: Sequence[View], kinds: Sequence[str]) -> Table:
    """Return how deep the found filters lie."""
    rows = [
        (
            view.name,
            function_of(kind),
            view.places.estimate(view.places.positions, kind),
            view.among_filters(kind),
            view.chance,
            view.places.estimate(view.back, kind),
            float(view.places.everything @ view.back),
        )
        for view in views
        for kind in kinds
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


def uniformities(views: Sequence[View], kinds: Sequence[str]) -> Table:
    """Return how far the found filters are from lying as random ones would."""
    rows: list[tuple[Cell, ...]] = []
    for view in views:
        for kind in kinds:
            tests = view.uniform[kind]
            expected, p = over_seeds([each.expected for each in tests]).mean, max(each.p for each in tests)
            rows.append((view.name, function_of(kind), view.places.distance(kind), expected, p))
    return Table(
        "uniformity",
        "How far the found filters are from lying uniformly",
        ("pair", "filters", "distance to uniform", "random filters", "p"),
        tuple(rows),
        "Total variation between the shares per layer of the found and of all filters: 0 is uniform, 1 is elsewhere "
        "altogether. Random filters of the same number are not at 0. p: probability of at least that distance for "
        "random filters (10,000 draws; the largest over target models).",
    )


def overlap_rows(
    name: str, found: Sequence[Mapping[str, Attribution]], kinds: Sequence[str], percent: float
) -> Iterator[tuple[Cell, ...]]:
    """Yield how much the sets of one pair have in common, with and without elimination."""
    for method, label in METHODS.items():
        for place, first in enumerate(kinds):
            for second in kinds[place + 1 :]:
                both = [overlap(*(each[method].select(kind, percent) for kind in (first, second))) for each in found]
                share, ratio = (over_seeds([getattr(each, what) for each in both]) for what in ("share", "ratio"))
                chance = over_seeds([each.expected / each.first for each in both]).mean
                yield (name, label, f"{function_of(first)}, {function_of(second)}", share, chance, ratio)


def overlaps(rows: Sequence[tuple[Cell, ...]], percent: float) -> Table:
    """Return the overlaps of all pairs."""
    return Table(
        "overlap",
        f"Overlap of the sets found for different degradations, {percent:g} %",
        ("pair", "ranking", "sets", "share in common", "by chance", "times chance"),
        tuple(rows),
        "With two degradations elimination makes the two rankings opposites, so their tops are disjoint by "
        "construction; what the functions share shows without elimination.",
    )


def layers(view: View, kinds: Sequence[str]) -> Table:
    """Return the share of the found filters in every layer."""
    places = view.places
    rows: list[tuple[Cell, ...]] = []
    for number, layer in enumerate(places.space.layers):
        only = np.eye(len(places.space.layers))[number]
        depth, all_filters = float(places.positions[number]), float(places.everything[number])
        rows.append((layer.name, depth, all_filters, *(places.estimate(only, kind) for kind in kinds)))
    return Table(
        f"layers-{view.name}",
        f"{view.name}: share per layer",
        ("layer", "depth", "of all filters", *(f"of the {function_of(kind)} filters" for kind in kinds)),
        tuple(rows),
    )


def panels(view: View, kinds: Sequence[str]) -> Iterator[Panel]:
    """Draw a map of ticks per degradation, and the shares per layer."""
    places = view.places
    for color, kind in enumerate(kinds):
        title = f"{view.name}: {function_of(kind)} filters, one tick each"
        yield tick_map(f"ticks-{view.name}-{safe_name(kind)}", title, places.selections[0][kind], color)
    numbers = list(range(1, len(places.space.layers) + 1))
    curves = []
    for kind in kinds:
        every = [places.estimate(each, kind) for each in np.eye(len(numbers))]
        curves.append(drawing.Line.of(function_of(kind), numbers, every))
    curves.append(drawing.Line("all filters", numbers, places.everything.tolist(), dashed=True))
    title = f"{view.name}: share of the found filters per layer"
    yield drawing.lines(f"shares-{view.name}", title, curves, "layer", "share", size=(7.2, 4.2))
