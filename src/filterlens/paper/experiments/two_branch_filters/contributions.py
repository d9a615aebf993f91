# SPDX-License-Identifier: Apache-2.0
"""What every branch contributes to the change of the loss, all its parameters counted and not its filters alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from filterlens.attribution.adaptive import Adaptive
from filterlens.attribution.engine import Engine
from filterlens.attribution.objective import SquaredDistance
from filterlens.attribution.path import over_parameters
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.evaluation.statistics import LEVEL, Array, Estimate, draw_counts, over_both
from filterlens.pair import ModelPair
from filterlens.paper.experiments.two_branch_filters.branches import KINDS, Branches
from filterlens.paper.laboratory import Laboratory, TargetModel

PRECISION = "fp32"  # sums over whole branches are compared with a change of the loss that may be small
LEAST_GAIN = 0.01  # of the baseline's loss: below it there is no gain that could be shared out


@dataclass(frozen=True, eq=False)
class Contributions:
    r"""FAIG summed over branches and kinds of parameters.

    Attributes:
        branches: Their names.
        absolute: Degradation → Σ \|FAIG_i\|, ``(models, images, branches, kinds)``.
        signed: Degradation → −Σ FAIG_i, what the loss fell by; with all parameters it is L(θ̄) − L(θ).
        losses: Degradation → L(θ̄), ``(models, images)``.
        gap: The largest relative completeness gap of all integrals.
        resamples: Of every bootstrap.
    """

    branches: tuple[str, ...]
    absolute: Mapping[str, Array]
    signed: Mapping[str, Array]
    losses: Mapping[str, Array]
    gap: float
    resamples: int

    def share(self, degradation: str, branch: str, kind: str | None = None) -> Estimate:
        r"""Return the part of all Σ \|FAIG_i\| that a branch has, or its parameters of one kind; pooled over images."""
        table = self.absolute[degradation]
        return self._ratio(self._part(table, branch, kind), table.sum((2, 3)))

    def gain(self, degradation: str, branch: str) -> Estimate:
        """Return the part of the loss's fall that is attributed to a branch; NaN where the loss did not fall."""
        table = self.signed[degradation]
        total = table.sum((2, 3))
        if (total.sum(1) < LEAST_GAIN * self.losses[degradation].sum(1)).any():
            return Estimate(float("nan"))
        return self._ratio(self._part(table, branch, None), total)

    def kinds_of(self, branch: str) -> list[str]:
        """Return the kinds of parameters that contribute anything in a branch."""
        place = self.branches.index(branch)
        sums = sum(table[:, :, place].sum((0, 1)) for table in self.absolute.values())
        return [kind for kind, value in zip(KINDS, np.atleast_1d(sums), strict=True) if value > 0]

    def _part(self, table: Array, branch: str, kind: str | None) -> Array:
        mine = table[:, :, self.branches.index(branch)]
        return np.asarray(mine.sum(2) if kind is None else mine[:, :, KINDS.index(kind)])

    def _ratio(self, part: Array, total: Array) -> Estimate:
        """Return Σ part / Σ total over the images, averaged over target models."""
        counts = draw_counts(part.shape[1], self.resamples, 0)
        draws = (counts @ part.T) / (counts @ total.T)
        return over_both(part.sum(1) / total.sum(1), draws, LEVEL, 0, part.shape[1])


def contributions_of(
    laboratory: Laboratory, branches: Branches, models: Sequence[TargetModel], samples: Sequence[Sample]
) -> Contributions:
    """Integrate FAIG over all parameters for every target model, image and degradation."""
    kinds = laboratory.common.degradations
    items = [(model, sample, kind) for model in models for sample in samples for kind in kinds]
    common = laboratory.common
    prints = {sample.name: sample.fingerprint() for sample in samples}

    def identity(item: tuple[TargetModel, Sample, str]) -> Any:
        model, sample, kind = item
        return [model.identity, branches.digest, prints[sample.name], kind, common.tolerance, common.seed]

    results = laboratory.pieces.of(
        "branch-contributions",
        items,
        identity,
        lambda item: _measure(laboratory, branches, item[0].pair, item[1], item[2]),
        title=lambda item: f"{item[0].name}, {item[0].seed}, {item[1].name}, {item[2]}",
    )
    shape = (len(models), len(samples), len(kinds))

    def table(name: str) -> Mapping[str, Array]:
        values = np.array([result[name] for result in results], dtype=np.float64)
        values = values.reshape(*shape, *values.shape[1:])
        return {kind: values[:, :, number] for number, kind in enumerate(kinds)}

    gap = max(result["gap"] for result in results)
    return Contributions(
        branches.names, table("absolute"), table("signed"), table("loss"), gap, laboratory.common.resamples
    )


def _measure(laboratory: Laboratory, branches: Branches, pair: ModelPair, sample: Sample, kind: str) -> Any:
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
    """Add a quantity per parameter, ``(parameters,)``, over branches and kinds: ``(branches, kinds)``."""
    places = branches.of_parameters.cpu() * len(KINDS) + branches.kinds.cpu()
    size = len(branches.names) * len(KINDS)
    return torch.zeros(size, dtype=values.dtype).index_add_(0, places, values).view(len(branches.names), len(KINDS))
