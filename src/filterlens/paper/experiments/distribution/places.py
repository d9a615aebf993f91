# SPDX-License-Identifier: Apache-2.0
"""Where the found filters lie, per layer, and how that would vary with other images and other target models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from filterlens.attribution.adaptive import Adaptive
from filterlens.attribution.discriminate import discriminate
from filterlens.attribution.faig import FAIG
from filterlens.degradations import Degradation
from filterlens.evaluation.statistics import LEVEL, Array, Estimate, draw_counts, standard_deviation
from filterlens.filters import FilterSpace, Selection
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.progress import SILENT

AT_ONCE = 16  # draws of the images whose scores are in memory together


@dataclass(frozen=True, eq=False)
class Places:
    """The layers of the found filters of several target models of a pair.

    Attributes:
        space: The filters.
        selections: Degradation → the found filters, per target model.
        shares: Degradation → share of the found filters per layer ``(models, layers)``.
        draws: Degradation → the same averaged over target models, for other images and target models drawn with
            replacement, the same draws for all degradations: ``(draws, layers)``.
        images: On how many images the filters were found.
    """

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
    def everything(self) -> Array:
        """Share of all filters per layer: what a choice by chance has on average."""
        counts = np.array([layer.count for layer in self.space.layers], dtype=np.float64)
        return np.asarray(counts / counts.sum())

    def quantiles(self, degradation: str, shares: Sequence[float]) -> list[float]:
        """Return the relative depths up to which these shares of the found filters lie, averaged over target models."""
        summed = np.cumsum(self.shares[degradation].mean(0))
        return [float(self.positions[int(np.searchsorted(summed, share - 1e-9))]) for share in shares]

    def estimate(self, per_layer: Array, degradation: str) -> Estimate:
        """Return the mean of a quantity given per layer ``(layers,)`` over the found filters."""
        return self._estimate(self.shares[degradation] @ per_layer, self.draws[degradation] @ per_layer)

    def difference(self, per_layer: Array, first: str, second: str) -> Estimate:
        """Return that of one degradation minus that of another, paired over images and target models."""
        shares, draws = self.shares[first] - self.shares[second], self.draws[first] - self.draws[second]
        return self._estimate(shares @ per_layer, draws @ per_layer)

    def distance(self, degradation: str) -> Estimate:
        """Return the total variation between the found and all filters, averaged over target models."""
        return self._estimate(_variation(self.shares[degradation] - self.everything),
                              _variation(self.draws[degradation] - self.everything))  # fmt: skip

    def distance_difference(self, first: str, second: str) -> Estimate:
        """Return :meth:`distance` of one degradation minus that of another, paired."""
        values, draws = (
            _variation(table[first] - self.everything) - _variation(table[second] - self.everything)
            for table in (self.shares, self.draws)
        )
        return self._estimate(values, draws)

    def _estimate(self, values: Array, draws: Array) -> Estimate:
        """Join the values per target model with the draws."""
        mean, sd = float(values.mean()), standard_deviation(values)
        if self.images == 1 and len(values) == 1:  # nothing was resampled
            return Estimate(mean, n=1)
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Estimate(mean, float(low), float(high), sd, len(values))


def places_of(laboratory: Laboratory, models: Sequence[TargetModel], percent: float, resamples: int) -> Places:
    """Find the filters of all target models, and find them again for every draw of the images.

    A draw takes as many images as there are, with replacement, ranks anew, and takes the top; so the interval holds
    what other images of this kind would have found.
    """
    degradations = laboratory.common.degradations
    scores = [image_scores(laboratory, model) for model in models]
    space, images = models[0].pair.space, len(scores[0])
    counts = torch.from_numpy(draw_counts(images, resamples, seed=0) / images)
    drawn = np.stack([_layer_shares(space, each, counts, percent) for each in scores])
    whole = np.stack([_layer_shares(space, each, torch.ones(1, images) / images, percent)[0] for each in scores])
    weights = draw_counts(len(models), resamples, seed=1) / len(models)  # (draws, models)
    joint = np.einsum("dm,mdkl->dkl", weights, drawn)
    selections = [
        {kind: Selection.top(space, each.mean(0)[k], percent, kind) for k, kind in enumerate(degradations)}
        for each in scores
    ]
    shares = {kind: whole[:, k] for k, kind in enumerate(degradations)}
    return Places(space, selections, shares, {kind: joint[:, k] for k, kind in enumerate(degradations)}, images)


def image_scores(laboratory: Laboratory, model: TargetModel) -> Tensor:
    """Return FAIG's scores of every single image, ``(images, degradations, filters)`` float64; their mean is FAIG's.

    With a single degradation it is discriminated against the clean input, as FAIG does.
    """
    common, wanted = laboratory.common, laboratory.common.degradations
    kinds = [Degradation.parse(name) for name in (wanted if len(wanted) > 1 else (*wanted, "clean"))]
    method = FAIG(
        model.pair, quadrature=Adaptive(common.tolerance), seed=common.seed, precision=common.precision
    )  # as the laboratory attributes, so that the measurements are shared
    runner = laboratory.runner(model)
    measured = method.measure_images(laboratory.finding, kinds, SILENT, runner)
    rows = [discriminate(torch.stack([each.magnitudes for each in image])) for image in measured]
    return torch.stack(rows)[:, : len(wanted)]


def _layer_shares(space: FilterSpace, scores: Tensor, counts: Tensor, percent: float) -> Array:
    """Return the shares of the top filters per layer, ``(rows, kinds, layers)``, one row per weights over images."""
    take = int(len(space) * percent / 100 + 1e-9)
    flat = scores.flatten(1).float()
    found = []
    for rows in torch.split(counts.float(), AT_ONCE):
        ranked = (rows @ flat).view(len(rows), *scores.shape[1:])
        found.append(space.layer_index[ranked.topk(take).indices])
    layers = torch.cat(found).flatten(0, 1)  # (rows x kinds, take)
    bins = layers + len(space.layers) * torch.arange(len(layers)).unsqueeze(1)
    totals = bins.flatten().bincount(minlength=len(layers) * len(space.layers)).double() / max(1, take)
    return np.asarray(totals.view(len(counts), -1, len(space.layers)).numpy())


def _variation(difference: Array) -> Array:
    return np.asarray(0.5 * np.abs(difference).sum(-1))
