# SPDX-License-Identifier: Apache-2.0
"""Measure two-branch networks: branches of the found filters, contribution of each branch, and loss without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from filterlens.attribution.engine import Engine
from filterlens.attribution.faig import SquaredDistance
from filterlens.attribution.path import over_parameters
from filterlens.attribution.quadrature import Adaptive
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.evaluation.statistics import (
    LEVEL,
    Array,
    Estimate,
    bootstrap,
    draw_counts,
    over_both,
)
from filterlens.models.branches import DEGRADATION
from filterlens.pair import ModelPair
from filterlens.paper.experiment import is_above
from filterlens.paper.experiments.distribution import group_shares, image_scores
from filterlens.paper.experiments.two_branch_filters.edits import (
    FAIG,
    RANDOM,
    TYPES,
    Branches,
    Effects,
    edits_of,
    effects_of,
    mean_answers,
)
from filterlens.paper.images import evenly
from filterlens.paper.judged import View, view_of
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.peers.arms import Arm, Setting, arms_of, settings_of
from filterlens.paper.peers.trainings import prepare, trained
from filterlens.settings import Percent, Positive, Settings

BOTH = "blur+noise"  # the settings whose networks learn both functions
LEARNT = 0.2  # dB that fine-tuning must have gained for certain: a function that was not learnt sits nowhere
PRECISION = "fp32"  # small differences of whole branches are measured; bfloat16 rounds too much
LEAST_GAIN = 0.01  # of the baseline's loss: below it there is no gain that could be shared out

Key = tuple[float, str]  # share of the filters in percent, degradation


class TwoBranchSettings(Settings):
    """Settings of the page on the filters of two-branch networks.

    Attributes:
        peers: The two-branch networks; those of the settings with blur and noise.
        compare: Also look into the one-branch network of equal computation.
        percents: Shares of the filters that are counted; the smallest is replaced.
        draws: Draws of the images, each ranked anew, for the intervals of the shares.
        all_parameters_images: Number of images on which all parameters are attributed; None: all images.
        judge_images: Number of images on which edits are judged; None: all images.
    """

    peers: tuple[Literal["dan", "dasr"], ...] = ("dan", "dasr")
    compare: bool = True
    percents: tuple[Percent, ...] = (1.0, 5.0)
    draws: Positive = 400
    all_parameters_images: Positive | None = None
    judge_images: Positive | None = None


@dataclass(frozen=True, eq=False)
class Network:
    """A network with its target models.

    Attributes:
        label: Name in tables and figures.
        setting: Name of the setting for which it was fine-tuned.
        models: One per seed.
        branches: Branches of its filters and parameters.
        multiply_adds: Multiply-adds per LR pixel.
    """

    label: str
    setting: str
    models: Sequence[TargetModel]
    branches: Branches
    multiply_adds: float

    @property
    def stem(self) -> str:
        """The label as part of a file's name."""
        return self.label.lower()


def networks_of(laboratory: Laboratory, names: Sequence[str], *, compare: bool) -> list[list[Network]]:
    """Return each two-branch network and, where it is compared, the one-branch network of equal computation after it.

    Args:
        laboratory: Trains those that are missing, and keeps them.
        names: ``dan``, ``dasr``.
        compare: Also take the one-branch networks.

    Raises:
        FilterlensError: As :func:`filterlens.paper.peers.trainings.trained`.
    """
    peers = laboratory.common.peers
    settings = {setting.peer: setting for setting in settings_of(peers) if setting.name.endswith(BOTH)}
    wanted = [
        [arm for arm in arms_of(peers) if arm.peer == name and (compare or arm.has_two_branches)] for name in names
    ]
    prepare(laboratory, [(arm, settings[arm.peer]) for arms in wanted for arm in arms])
    return [[_network(laboratory, arm, settings[arm.peer]) for arm in arms] for arms in wanted]


def _network(laboratory: Laboratory, arm: Arm, setting: Setting) -> Network:
    models = trained(laboratory, arm, setting)
    options = arm.network | {"scale": laboratory.common.peers.scale}
    branches = Branches.of(models[0].pair, arm.architecture, options)
    return Network(arm.label, setting.name, models, branches, arm.complexity.multiply_adds)


@dataclass(frozen=True, eq=False)
class Found:
    """The filters found in a network: where they lie, and what replacing them does.

    A group is a layer, or the part of a layer that serves one branch; see :attr:`Branches.groups`.

    Attributes:
        network: The network.
        shares: (percent, degradation) → share of the found filters per group, ``(1 + draws, models, groups)``: of the
            images, then of other images, drawn with replacement and ranked anew.
        images: Number of images on which the filters were found.
        view: Own and cross damage of the filters, as on the page of the masking.
    """

    network: Network
    shares: Mapping[Key, Array]
    images: int
    view: View

    @property
    def branches(self) -> Branches:
        """The branches of the network."""
        return self.network.branches

    @cached_property
    def everything(self) -> Array:
        """Share of all filters per group: what a choice by chance has on average."""
        counts = self.branches.group_of_filters.bincount(minlength=len(self.branches.groups)).double()
        return np.asarray((counts / counts.sum()).numpy())

    @cached_property
    def restorer(self) -> Array:
        """1 for the groups outside the degradation branch, else 0."""
        outside = [self.branches.names[branch] != DEGRADATION for _, branch in self.branches.groups]
        return np.array(outside, dtype=np.float64)

    @cached_property
    def depths(self) -> Array:
        """Relative depth of every group in its own part, the degradation branch or the rest: 0 first, 1 last layer."""
        depths = np.zeros(len(self.branches.groups))
        layer_of = np.array([layer for layer, _ in self.branches.groups])
        for part in (0, 1):
            mine = self.restorer == part
            layers, places = np.unique(layer_of[mine], return_inverse=True)
            depths[mine] = places / max(1, len(layers) - 1)
        return depths

    def inside(self, branch: str) -> Array:
        """1 for the groups of a branch, else 0."""
        number = self.branches.place(branch)
        return np.array([each == number for _, each in self.branches.groups], dtype=np.float64)

    def chance(self, branch: str) -> float:
        """Return which share of all filters lies in a branch."""
        return float(self.everything @ self.inside(branch))

    def mean_shares(self, key: Key) -> Array:
        """Return the share of the found filters per group, averaged over target models: ``(groups,)``."""
        return np.asarray(self.shares[key][0].mean(0))

    def share(self, key: Key, branch: str) -> Estimate:
        """Return which share of the found filters lies in a branch."""
        return self._estimate(self.shares[key] @ self.inside(branch))

    def enrichment(self, key: Key, branch: str) -> Estimate:
        """Return how many times as many found filters lie in a branch as by chance."""
        return self._estimate(self.shares[key] @ self.inside(branch) / self.chance(branch))

    def depth(self, key: Key) -> Estimate:
        """Return the mean relative depth of the found filters that lie outside the degradation branch."""
        return self._estimate(self._depth(self.shares[key]))

    def depth_difference(self, first: Key, second: Key) -> Estimate:
        """Return :meth:`depth` of one degradation minus that of another, paired over images and target models."""
        return self._estimate(self._depth(self.shares[first]) - self._depth(self.shares[second]))

    @property
    def chance_depth(self) -> float:
        """The mean relative depth of all filters outside the degradation branch."""
        return float(self._depth(self.everything))

    def _depth(self, shares: Array) -> Array:
        inside = shares @ self.restorer
        weighted = np.asarray(shares @ (self.restorer * self.depths))
        return np.asarray(np.divide(weighted, inside, out=np.full(np.shape(inside), np.nan), where=inside > 0))

    def _estimate(self, rows: Array) -> Estimate:
        """Estimate a quantity ``(1 + draws, models)``; NaN where it means nothing for a target model."""
        values, draws = rows[0], rows[1:]
        if not np.isfinite(values).all():
            return Estimate(float("nan"))
        return over_both(values, np.where(np.isfinite(draws), draws, values), LEVEL, 0, self.images)


def shares_of(laboratory: Laboratory, network: Network, percents: Sequence[float], resamples: int) -> dict[Key, Array]:
    """Find the filters of all target models, and find them again for every draw of the images; see :class:`Found`."""
    scores = [image_scores(laboratory, model) for model in network.models]
    images = len(scores[0])
    groups = network.branches.group_of_filters, len(network.branches.groups)
    weights = torch.full((1, images), 1 / images), torch.from_numpy(draw_counts(images, resamples, seed=0) / images)
    shares: dict[Key, Array] = {}
    for percent in percents:
        rows = [[group_shares(*groups, each, some, percent) for some in weights] for each in scores]
        found = np.stack([np.concatenate(each) for each in rows], axis=1)  # (1 + draws, models, degradations, groups)
        shares |= {(percent, kind): found[:, :, place] for place, kind in enumerate(laboratory.common.degradations)}
    return shares


@dataclass(frozen=True, eq=False)
class Contributions:
    r"""FAIG of all parameters, summed over branches and types of parameters.

    Attributes:
        branches: Names of the branches.
        absolute: Degradation → Σ \|FAIG_i\|, ``(models, images, branches, types)``.
        signed: Degradation → −Σ FAIG_i, what the loss fell by; with all parameters it is L(θ̄) − L(θ).
        losses: Degradation → L(θ̄), ``(models, images)``.
        gap: The largest relative completeness gap of all integrals.
        resamples: Draws of every bootstrap.
    """

    branches: tuple[str, ...]
    absolute: Mapping[str, Array]
    signed: Mapping[str, Array]
    losses: Mapping[str, Array]
    gap: float
    resamples: int

    def share(self, kind: str, branch: str, type_: str | None = None) -> Estimate:
        r"""Return the part of all Σ \|FAIG_i\| that a branch has, or its parameters of one type; pooled over images."""
        return self._ratio(self.absolute[kind], branch, type_)

    def gain(self, kind: str, branch: str) -> Estimate:
        """Return the part of the loss's fall that is attributed to a branch; NaN where the loss did not fall."""
        fall = self.signed[kind].sum((2, 3)).sum(1)
        if (fall < LEAST_GAIN * self.losses[kind].sum(1)).any():
            return Estimate(float("nan"))
        return self._ratio(self.signed[kind], branch)

    def types_of(self, branch: str) -> list[str]:
        """Return the types of parameters that contribute anything in a branch."""
        place = self.branches.index(branch)
        sums = np.sum([table[:, :, place].sum((0, 1)) for table in self.absolute.values()], axis=0)
        return [name for name, value in zip(TYPES, sums, strict=True) if value > 0]

    def _ratio(self, table: Array, branch: str, type_: str | None = None) -> Estimate:
        """Return Σ part / Σ total over the images, averaged over target models."""
        mine = table[:, :, self.branches.index(branch)]
        part, total = mine.sum(2) if type_ is None else mine[:, :, TYPES.index(type_)], table.sum((2, 3))
        return bootstrap(
            lambda counts: np.asarray((counts @ part.T) / (counts @ total.T)),
            part.shape[1],
            value=np.asarray(part.sum(1) / total.sum(1)),
            resamples=self.resamples,
        )


def contributions_of(laboratory: Laboratory, network: Network, samples: Sequence[Sample]) -> Contributions:
    """Integrate FAIG over all parameters for every target model, image and degradation."""
    common, branches = laboratory.common, network.branches
    kinds = common.degradations
    found = laboratory.measured(
        "branch-contributions",
        [(model, kind) for model in network.models for kind in kinds],
        samples,
        lambda each: [each[0].identity, branches.digest, each[1], common.tolerance],
        lambda each, sample: _contributions(laboratory, branches, each[0].pair, sample, each[1]),
        title=lambda each: f"{each[0].title}, {each[1]}",
    )
    absolute, signed, losses = (
        {kind: found[what][number :: len(kinds)] for number, kind in enumerate(kinds)}
        for what in ("absolute", "signed", "loss")
    )
    return Contributions(branches.names, absolute, signed, losses, float(found["gap"].max()), common.resamples)


def _contributions(laboratory: Laboratory, branches: Branches, pair: ModelPair, sample: Sample, kind: str) -> Any:
    common = laboratory.common
    truth = sample.truth(pair.scale).to(pair.device, pair.dtype)
    inputs = Degradation.parse(kind).apply(truth, pair.scale, seed=common.seed)
    engine, loss = Engine(pair, PRECISION), SquaredDistance().loss
    found = over_parameters(engine, inputs, truth, loss, Adaptive(common.tolerance), lambda: None)
    contributions = found.contributions.double().cpu()
    change = found.loss_target - found.loss_baseline
    return {
        "absolute": sums(branches, contributions.abs()).tolist(),
        "signed": (-sums(branches, contributions)).tolist(),
        "loss": found.loss_baseline,
        "gap": abs(float(contributions.sum()) - change) / max(abs(change), 1e-12),
    }


def sums(branches: Branches, values: Tensor) -> Tensor:
    """Add a quantity per parameter, ``(parameters,)``, over branches and types: ``(branches, types)``."""
    places = branches.of_parameters.cpu() * len(TYPES) + branches.types.cpu()
    size = len(branches.names) * len(TYPES)
    return torch.zeros(size, dtype=values.dtype).index_add_(0, places, values).view(len(branches.names), len(TYPES))


@dataclass(frozen=True, eq=False)
class Study:
    """Everything that is measured on one two-branch network and on the one-branch network next to it.

    Attributes:
        kinds: The degradations whose functions are looked for.
        percent: Share of the filters that is replaced, the smallest of the page.
        networks: The two-branch network and, where it is compared, the one-branch network.
        contributions: Contributions of all parameters of the two-branch network.
        effects: Effects of putting its branches or filters back to the baseline.
    """

    kinds: Sequence[str]
    percent: float
    networks: Sequence[Found]
    contributions: Contributions
    effects: Effects

    @property
    def two(self) -> Found:
        """The two-branch network."""
        return self.networks[0]

    @property
    def label(self) -> str:
        """Name of the two-branch network."""
        return self.two.network.label

    @cached_property
    def learnt(self) -> list[str]:
        """The degradations that fine-tuning taught the network to undo: a gain that is neither small nor uncertain."""
        gains = {kind: self.effects.gain(kind) for kind in self.kinds}
        return [kind for kind, gain in gains.items() if gain.mean >= LEARNT and is_above(gain)]


def measure(laboratory: Laboratory, settings: TwoBranchSettings, networks: Sequence[Network]) -> Study:
    """Measure everything on a two-branch network and, where there is one, on its one-branch network."""
    percent, two = min(settings.percents), networks[0]
    judging = laboratory.judging(two.setting, settings.judge_images)
    found = []
    for network in networks:
        rankings = [laboratory.attribute(model, [FAIG, RANDOM], laboratory.finding) for model in network.models]
        view = view_of(laboratory, network.models, rankings, [percent], judging, precision=PRECISION)
        shares = shares_of(laboratory, network, settings.percents, settings.draws)
        found.append(Found(network, shares, len(laboratory.finding), view))
    answers = mean_answers(laboratory, two.branches, two.models, laboratory.finding)
    edited = [
        (model, edits_of(model, two.branches, ranking, percent, answer))
        for model, ranking, answer in zip(two.models, found[0].view.found, answers, strict=True)
    ]
    return Study(
        laboratory.common.degradations,
        percent,
        found,
        contributions_of(laboratory, two, evenly(laboratory.finding, settings.all_parameters_images)),
        effects_of(laboratory, edited, judging),
    )
