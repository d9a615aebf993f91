# SPDX-License-Identifier: Apache-2.0
"""Calibrating a classifier on ground-truth images that are degraded on purpose."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import torch
from torch import Tensor

from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.diagnosis.calibration import Calibration, calibrate
from filterlens.diagnosis.found_filters import FoundFilters
from filterlens.diagnosis.overlap import Reading, input_magnitudes, overlap_scores
from filterlens.diagnosis.patches import cut_patches, patch_corners
from filterlens.errors import UsageError
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress

Kind = tuple[frozenset[str], Degradation]


def calibration_kinds(degradations: Sequence[str]) -> list[Kind]:
    """Return what inputs are degraded by: nothing, each degradation, and each two that one input can have."""
    kinds: list[Kind] = []
    for count in (0, 1, 2):
        for names in combinations(degradations, count):
            try:
                kinds.append((frozenset(names), Degradation.parse("+".join(names) or "clean")))
            except UsageError:  # two strengths of one effect
                continue
    return kinds


def calibrate_on_images(
    pair: ModelPair,
    found: FoundFilters,
    samples: Sequence[Sample],
    percents: Sequence[float],
    *,
    patches: int = 1,
    seed: int = 0,
    resampler: str = "bicubic",
    reading: Reading | None = None,
    progress: Progress = SILENT,
) -> dict[float, dict[str, Calibration]]:
    """Calibrate at several percentages from the same magnitudes.

    Args:
        pair: Baseline and target.
        found: Their rankings.
        samples: HR images; better not those that the classifier is tested on.
        percents: Of the filters.
        patches: How many 64×64 LR patches of every image, each an input of its own.
        seed: Of the noise.
        resampler: Of the down-sampling.
        reading: How filter^x is found.
        progress: Where the bar goes.

    Returns:
        Percent → degradation → calibration.
    """
    kinds = calibration_kinds(list(found.rankings))
    selections = {percent: found.selections(pair, percent) for percent in percents}
    scores: dict[float, dict[str, list[float]]] = {
        percent: {name: [] for name in found.rankings} for percent in percents
    }
    inputs: list[frozenset[str]] = []
    with progress.bar("calibrate", len(samples) * len(kinds)) as bar:
        for sample in samples:
            truth = sample.truth(pair.scale)
            for names, degradation in kinds:
                low = degradation.apply(truth, pair.scale, seed=seed, resampler=resampler)
                for patch in _patches(low, patches):
                    inputs.append(names)
                    magnitudes = input_magnitudes(pair, patch, reading=reading)
                    for percent, table in scores.items():
                        for name, score in overlap_scores(magnitudes, selections[percent], percent).items():
                            table[name].append(score)
                bar.advance()
    tables = {percent: {name: torch.tensor(each) for name, each in table.items()} for percent, table in scores.items()}
    return {percent: calibrate(table, inputs) for percent, table in tables.items()}


def _patches(low: Tensor, most: int) -> Iterator[Tensor]:
    yield from torch.split(cut_patches(low, patch_corners(low.shape[-2], low.shape[-1], most=most)), 1)
