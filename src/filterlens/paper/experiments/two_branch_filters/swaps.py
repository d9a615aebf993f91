# SPDX-License-Identifier: Apache-2.0
"""The functional proof: branches, or a few filters, put back to the baseline, and what is left of each function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from filterlens.data.samples import Sample
from filterlens.evaluation.function_distance import preservation, removal
from filterlens.evaluation.statistics import LEVEL, Array, Estimate, draw_counts, over_both, two_level_mean
from filterlens.metrics import psnr
from filterlens.pair import ModelPair
from filterlens.paper.experiments.two_branch_filters.edits import Swap
from filterlens.paper.laboratory import Laboratory, TargetModel

BASELINE, TARGET = "baseline", "target"


@dataclass(frozen=True, eq=False)
class Swapped:
    """What every edit did, per target model and image.

    Attributes:
        values: (edit, input, what) → ``(models, images)``; what is ``to_baseline`` ‖E − B‖², ``to_target`` ‖E − T‖²,
            ``scale`` ‖T − B‖² or ``psnr``. Edits include ``baseline`` and ``target``.
        resamples: Of every bootstrap.
    """

    values: Mapping[tuple[str, str, str], Array]
    resamples: int

    def removed(self, edit: str, kind: str) -> Estimate:
        """Return R = 1 − ‖E − B‖² / ‖T − B‖²: 1 where nothing is left of what fine-tuning taught on that input."""
        return self._share([(1.0, edit, kind, "to_baseline")])

    def kept(self, edit: str, kind: str) -> Estimate:
        """Return P = 1 − ‖E − T‖² / ‖B − T‖²: 1 where everything is left of it."""
        return self._share([(1.0, edit, kind, "to_target")])

    def removed_more(self, edit: str, other: str, kind: str) -> Estimate:
        """Return R of one edit minus R of another, paired over images and target models."""
        return self._share([(1.0, edit, kind, "to_baseline"), (-1.0, other, kind, "to_baseline")])

    def psnr(self, edit: str, kind: str) -> Estimate:
        """Return the PSNR in dB."""
        return two_level_mean(self.values[edit, kind, "psnr"], resamples=self.resamples)

    def gain(self, kind: str, edit: str = TARGET) -> Estimate:
        """Return by how many dB an edited network, or the target, is better than the baseline, paired."""
        difference = self.values[edit, kind, "psnr"] - self.values[BASELINE, kind, "psnr"]
        return two_level_mean(difference, resamples=self.resamples)

    def gain_left(self, edit: str, kind: str) -> Estimate:
        """Return which part of the target's gain in dB an edited network still has: 1 all, 0 none, below 0 broken."""
        baseline, target, edited = (self.values[name, kind, "psnr"] for name in (BASELINE, TARGET, edit))
        images = baseline.shape[1]

        def part(weights: Array) -> Array:
            gained = weights @ (target - baseline).T
            return np.asarray(np.divide(weights @ (edited - baseline).T, gained, out=np.full(gained.shape, np.nan),
                                        where=gained > 0))  # fmt: skip

        values, draws = part(np.ones((1, images)))[0], part(draw_counts(images, self.resamples, 0))
        if not np.isfinite(values).all():  # a target that gained nothing has no part of it left
            return Estimate(float("nan"))
        return over_both(values, np.where(np.isfinite(draws), draws, values), LEVEL, 0, images)

    @property
    def edits(self) -> list[str]:
        """Names of all edits, the two networks among them."""
        return list(dict.fromkeys(edit for edit, _, _ in self.values))

    def _share(self, terms: Sequence[tuple[float, str, str, str]]) -> Estimate:
        """Return Σ sign · (1 − residual / scale) over the terms."""
        images = next(iter(self.values.values())).shape[1]
        counts = draw_counts(images, self.resamples, 0)

        def total(weights: Array) -> Array:
            parts = []
            for sign, edit, kind, what in terms:
                residual, scale = (weights @ self.values[edit, kind, name].T for name in (what, "scale"))
                parts.append(sign * (1 - residual / scale))
            return np.asarray(np.sum(parts, axis=0))

        return over_both(total(np.ones((1, images)))[0], total(counts), LEVEL, 0, images)


def swap(
    laboratory: Laboratory, models: Sequence[tuple[TargetModel, Sequence[Swap]]], samples: Sequence[Sample]
) -> Swapped:
    """Judge the edits of every target model on every image and input, in float32."""
    items = [(model, swaps, sample) for model, swaps in models for sample in samples]
    digests = {model.seed: [[each.name, each.digest] for each in swaps] for model, swaps in models}
    prints = {sample.name: sample.fingerprint() for sample in samples}
    inputs = {kind: str(degradation) for kind, degradation in laboratory.inputs.items()}

    def identity(item: tuple[TargetModel, Sequence[Swap], Sample]) -> Any:
        model, _, sample = item
        return [model.identity, digests[model.seed], prints[sample.name], inputs, laboratory.common.seed]

    results = laboratory.pieces.of(
        "branch-swaps",
        items,
        identity,
        lambda item: _measure(laboratory, item[0].pair, item[1], item[2]),
        title=lambda item: f"{item[0].name}, {item[0].seed}, {item[2].name}",
    )
    keys = [(edit, kind, what) for edit, kind, what, _ in results[0]]
    table = np.array([[row[3] for row in result] for result in results], dtype=np.float64)
    table = table.reshape(len(models), len(samples), len(keys))
    values = {key: table[:, :, number] for number, key in enumerate(keys)}
    return Swapped(values, laboratory.common.resamples)


@torch.no_grad()
def _measure(laboratory: Laboratory, pair: ModelPair, swaps: Sequence[Swap], sample: Sample) -> list[list[Any]]:
    rows: list[list[Any]] = []
    truth = sample.truth(pair.scale).to(pair.device, pair.dtype)
    for kind, degradation in laboratory.inputs.items():
        lowered = degradation.apply(truth, pair.scale, seed=laboratory.common.seed)
        baseline, target = (pair.run(vector, lowered) for vector in (pair.baseline, pair.target))
        images = lowered.contiguous(memory_format=torch.channels_last)  # as the pair runs its networks
        outputs = {BASELINE: baseline, TARGET: target} | {each.name: each.network(pair)(images) for each in swaps}
        for name, output in outputs.items():
            to_baseline, scale = removal(output, baseline, target)
            measured = {
                "to_baseline": to_baseline,
                "to_target": preservation(output, baseline, target)[0],
                "scale": scale,
                "psnr": float(psnr(output, truth, crop=pair.scale)),
            }
            rows += [[name, kind, what, value] for what, value in measured.items()]
    return rows
