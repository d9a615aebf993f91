# SPDX-License-Identifier: Apache-2.0
"""Which share of the found filters lies in each branch and layer, and how that varies with images and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from filterlens.evaluation.statistics import LEVEL, Array, Estimate, draw_counts, over_both
from filterlens.models.branches import DEGRADATION
from filterlens.paper.experiments.distribution.measure import AT_ONCE, image_scores
from filterlens.paper.experiments.two_branch_filters.branches import Branches
from filterlens.paper.laboratory import Laboratory, TargetModel

Key = tuple[float, str]


@dataclass(frozen=True, eq=False)
class Shares:
    """The places of the found filters of several target models.

    A group is a layer, or the part of a layer that serves one branch; see :attr:`Branches.groups`.

    Attributes:
        branches: Of the network.
        found: (percent, degradation) → share of the found filters per group, ``(models, groups)``.
        draws: The same for other images, drawn with replacement and ranked anew: ``(draws, models, groups)``.
        images: On how many images the filters were found.
    """

    branches: Branches
    found: Mapping[Key, Array]
    draws: Mapping[Key, Array]
    images: int

    @property
    def everything(self) -> Array:
        """Share of all filters per group: what a choice by chance has on average."""
        counts = self.branches.group_of_filters.bincount(minlength=len(self.branches.groups)).double()
        return np.asarray((counts / counts.sum()).numpy())

    @property
    def depths(self) -> Array:
        """Relative depth of every group in its own part, the degradation branch or the rest: 0 first, 1 last layer."""
        depths = np.zeros(len(self.branches.groups))
        for part in (True, False):
            mine = [place for place, each in enumerate(self._is_degradation) if each == part]
            layers = sorted({self.branches.groups[place][0] for place in mine})
            for place in mine:
                depths[place] = layers.index(self.branches.groups[place][0]) / max(1, len(layers) - 1)
        return depths

    @property
    def restorer(self) -> Array:
        """1 for the groups outside the degradation branch, else 0."""
        return np.array([not each for each in self._is_degradation], dtype=np.float64)

    @property
    def _is_degradation(self) -> list[bool]:
        return [self.branches.names[branch] == DEGRADATION for _, branch in self.branches.groups]

    def inside(self, branch: str) -> Array:
        """1 for the groups of a branch, else 0."""
        number = self.branches.place(branch)
        return np.array([each == number for _, each in self.branches.groups], dtype=np.float64)

    def share(self, key: Key, branch: str) -> Estimate:
        """Return which share of the found filters lies in a branch."""
        inside = self.inside(branch)
        return self._estimate(self.found[key] @ inside, self.draws[key] @ inside)

    def enrichment(self, key: Key, branch: str) -> Estimate:
        """Return how many times as many found filters lie in a branch as by chance."""
        inside = self.inside(branch)
        chance = self.everything @ inside
        return self._estimate(self.found[key] @ inside / chance, self.draws[key] @ inside / chance)

    def depth(self, key: Key) -> Estimate:
        """Return the mean relative depth of the found filters that lie outside the degradation branch."""
        return self._estimate(self._depth(self.found[key]), self._depth(self.draws[key]))

    def depth_difference(self, first: Key, second: Key) -> Estimate:
        """Return :meth:`depth` of one degradation minus that of another, paired over images and target models."""
        values, draws = (self._depth(table[first]) - self._depth(table[second]) for table in (self.found, self.draws))
        return self._estimate(values, draws)

    @property
    def chance_depth(self) -> float:
        """The mean relative depth of all filters outside the degradation branch."""
        return float(self._depth(self.everything))

    def _depth(self, shares: Array) -> Array:
        inside = shares @ self.restorer
        weighted = np.asarray(shares @ (self.restorer * self.depths))
        return np.asarray(np.divide(weighted, inside, out=np.full(np.shape(inside), np.nan), where=inside > 0))

    def _estimate(self, values: Array, draws: Array) -> Estimate:
        if not np.isfinite(values).all():  # a target model has no such filter at all
            return Estimate(float("nan"))
        return over_both(values, np.where(np.isfinite(draws), draws, values), LEVEL, 0, self.images)


def shares_of(
    laboratory: Laboratory,
    branches: Branches,
    models: Sequence[TargetModel],
    percents: Sequence[float],
    resamples: int,
) -> Shares:
    """Find the filters of all target models, and find them again for every draw of the images."""
    kinds = laboratory.common.degradations
    scores = [image_scores(laboratory, model) for model in models]
    images = len(scores[0])
    drawn = torch.from_numpy(draw_counts(images, resamples, seed=0) / images)
    found, draws = {}, {}
    for percent in percents:
        whole = [group_shares(branches, each, torch.full((1, images), 1 / images), percent)[0] for each in scores]
        again = [group_shares(branches, each, drawn, percent) for each in scores]
        for number, kind in enumerate(kinds):
            found[percent, kind] = np.stack([each[number] for each in whole])
            draws[percent, kind] = np.stack([each[:, number] for each in again], axis=1)
    return Shares(branches, found, draws, images)


def group_shares(branches: Branches, scores: Tensor, weights: Tensor, percent: float) -> Array:
    """Return the shares of the top filters per group, ``(rows, degradations, groups)``.

    Args:
        branches: Of the network.
        scores: ``(images, degradations, filters)``.
        weights: Of the images, ``(rows, images)``; each row is ranked by its weighted mean.
        percent: Share of the filters that is taken.
    """
    take = int(scores.shape[-1] * percent / 100 + 1e-9)
    groups = len(branches.groups)
    rows = []
    for part in torch.split(weights.float(), AT_ONCE):
        ranked = torch.einsum("ri,idf->rdf", part, scores.float())
        places = branches.group_of_filters[ranked.topk(take).indices]
        counts = torch.zeros(*places.shape[:2], groups, dtype=torch.float64)
        rows.append(counts.scatter_add_(2, places, torch.ones(places.shape, dtype=torch.float64)) / max(1, take))
    return np.asarray(torch.cat(rows).numpy())
