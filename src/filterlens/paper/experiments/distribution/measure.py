# SPDX-License-Identifier: Apache-2.0
"""Measure the layers of the found filters, and their variation over images and target models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from filterlens.attribution.faig import FAIG, discriminate
from filterlens.degradations import Degradation
from filterlens.diagnosis.distribution import Uniformity, depth_estimate, uniformity
from filterlens.evaluation.statistics import LEVEL, Array, Estimate, draw_counts, over_seeds, standard_deviation
from filterlens.filters import FilterSpace, Selection
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.progress import SILENT

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
    kinds = [Degradation.parse(name) for name in (wanted if len(wanted) > 1 else (*wanted, "clean"))]
    method = FAIG(model.pair, laboratory.settings())  # as it attributes, so that the measurements are shared
    measured = method.measure_images(laboratory.finding, kinds, SILENT, laboratory.store)
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
