# SPDX-License-Identifier: Apache-2.0
"""Where deblurring and denoising filters lie in the network: the paper's figure, and numbers against chance."""

from collections.abc import Iterator, Sequence

from filterlens.diagnosis.distribution import uniformity
from filterlens.evaluation.statistics import over_seeds
from filterlens.paper.experiment import (
    Claim,
    Experiment,
    Outcome,
    Verdict,
    images_text,
    is_above,
    is_below,
    targets_text,
)
from filterlens.paper.experiments.distribution import tables
from filterlens.paper.experiments.distribution.places import places_of
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.settings import Percent, Positive, Settings
from filterlens.report.labels import function_of, percent_interval, significant, whole_percent

CERTAIN = 0.05  # probability below which a choice by chance is ruled out


class DistributionSettings(Settings):
    """Settings of the distribution over layers.

    Attributes:
        percent: Share of the filters that is taken.
        draws: Of the images, each ranked anew, for the intervals.
    """

    percent: Percent = 1.0
    draws: Positive = 400


def run(laboratory: Laboratory, settings: DistributionSettings) -> Outcome:
    """Count the found filters per layer for every pair and target model, and set that against chance."""
    kinds = laboratory.common.degradations
    views, rows = [], []
    for name in laboratory.common.pairs:
        models = laboratory.targets(name)
        found = [laboratory.attribute(model, list(tables.METHODS), laboratory.finding) for model in models]
        places = places_of(laboratory, models, settings.percent, settings.draws)
        uniform = {kind: [uniformity(each[kind]) for each in places.selections] for kind in kinds}
        views.append(tables.View(name, places, uniform))
        rows += list(tables.overlap_rows(name, found, kinds, settings.percent))
    shown = [tables.depths(views, kinds), tables.uniformities(views, kinds), tables.overlaps(rows, settings.percent)]
    shown += [tables.layers(view, kinds) for view in views]
    panels = [panel for view in views for panel in tables.panels(view, kinds)]
    claims = [claim for view in views for claim in claims_of(view, kinds)]
    return Outcome(tuple(claims), tuple(shown), tuple(panels), _TEXT, _specification(laboratory, settings))


def claims_of(view: tables.View, kinds: Sequence[str]) -> Iterator[Claim]:
    """Judge the paper's claims of deblurring (the blurs) and denoising (the noises) for one pair."""
    blurs, noises = ([kind for kind in kinds if kind.split(":")[0] == what] for what in ("blur", "noise"))
    for kind in blurs:
        yield _sits_behind(view, kind)
    for kind in noises:
        yield _lies_uniformly(view, kind)
    for blur in blurs:
        for noise in noises:
            yield _less_uniform(view, blur, noise)
            yield _deeper(view, blur, noise)


def _sits_behind(view: tables.View, kind: str) -> Claim:
    depth, filters = view.places.estimate(view.places.positions, kind), view.among_filters(kind)
    half, all_half = view.places.estimate(view.back, kind), float(view.places.everything @ view.back)
    start, end = view.places.quantiles(kind, (0.25, 0.75))
    checks = [is_above(depth, view.chance) and is_above(filters, view.chance), is_above(half, max(0.5, all_half))]
    return Claim(
        f"{view.name}: {function_of(kind)} filters sit in the back part of the network",
        "paper, figure of the distribution",
        Verdict.of(checks),
        f"mean relative depth {depth}, all filters {view.chance:.3g}; {percent_interval(half)} of them lie in the back "
        f"half, where {whole_percent(all_half)} of all filters are; the middle half of them lies between the relative "
        f"depths {start:.2g} and {end:.2g}",
    )


def _lies_uniformly(view: tables.View, kind: str) -> Claim:
    tests, distance = view.uniform[kind], view.places.distance(kind)
    depth = view.places.estimate(view.places.positions, kind)
    expected, p = over_seeds([each.expected for each in tests]).mean, max(each.p for each in tests)
    at_chance = not is_above(depth, view.chance) and not is_below(depth, view.chance)
    shares = view.places.shares[kind].mean(0)
    most = int((shares / view.places.everything).argmax())
    return Claim(
        f"{view.name}: {function_of(kind)} filters lie uniformly over the layers",
        "paper, figure of the distribution",
        Verdict.of([p >= CERTAIN, at_chance]),
        f"distance to uniform {distance}, random filters {expected:.3g} (p = {significant(p)}); mean relative depth "
        f"{depth}, all filters {view.chance:.3g}; most crowded: {view.places.space.layers[most].name} with "
        f"{100 * shares[most]:.1f} % of them and {100 * view.places.everything[most]:.1f} % of all filters",
    )


def _less_uniform(view: tables.View, blur: str, noise: str) -> Claim:
    difference = view.places.distance_difference(blur, noise)
    first, second = (view.places.distance(kind).mean for kind in (blur, noise))
    return Claim(
        f"{view.name}: {function_of(noise)} filters lie more uniformly than {function_of(blur)} ones",
        "paper, figure of the distribution (the weaker reading)",
        Verdict.of([is_above(difference)]),
        f"distance to uniform {second:.3g} against {first:.3g}, difference {difference}",
    )


def _deeper(view: tables.View, blur: str, noise: str) -> Claim:
    difference = view.places.difference(view.places.positions, blur, noise)
    first, second = (view.places.estimate(view.places.positions, kind).mean for kind in (blur, noise))
    return Claim(
        f"{view.name}: {function_of(blur)} filters lie deeper than {function_of(noise)} ones",
        "paper, figure of the distribution",
        Verdict.of([is_above(difference)]),
        f"mean relative depth {first:.3g} against {second:.3g}, difference {difference}",
    )


def _specification(laboratory: Laboratory, settings: DistributionSettings) -> dict[str, str]:
    return {
        "target models": targets_text(laboratory.common),
        "found on": images_text(laboratory.common.find),
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
