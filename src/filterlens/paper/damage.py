# SPDX-License-Identifier: Apache-2.0
"""The own/cross damage matrix of many target models and images, as pieces of work, and its estimates."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from filterlens.attribution.result import Attribution
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.evaluation.damage import Damage, Edit, Quality, measure_damage
from filterlens.evaluation.statistics import Estimate, two_level_mean, two_level_ratio
from filterlens.filters import Selection
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.pieces import digest


@dataclass(frozen=True)
class Judged:
    """All edits of all target models on all images.

    Attributes:
        damages: One row per target model, edit, input and image, keyed by (seed, edit, input, image).
        qualities: Of the unedited networks, one per target model, network, input and image.
    """

    damages: dict[tuple[int, Edit, str, str], Damage]
    qualities: dict[tuple[int, str, str, str], Quality]
    resamples: int = 2000

    @property
    def seeds(self) -> list[int]:
        """Seeds of the target models."""
        return sorted({key[0] for key in self.damages})

    def images(self, edit: Edit, kind: str) -> list[str]:
        """Names of the images on which an edit was judged."""
        return list(dict.fromkeys(key[3] for key in self.damages if key[1] == edit and key[2] == kind))

    def has(self, edit: Edit, kind: str) -> bool:
        """Whether the edit was judged on inputs of that kind."""
        return any(key[1] == edit and key[2] == kind for key in self.damages)

    def distance(self, edit: Edit, kind: str, *, reference: bool = False) -> Estimate:
        """Return the function distance x 1000: mean, sd over target models, bootstrap interval over images."""
        column = "distance_reference" if reference else "distance"
        return two_level_mean(self._grid(edit, kind, column), resamples=self.resamples)

    def share(self, edit: Edit, kind: str) -> Estimate:
        """Return removal (own input) or preservation (any other), pooled over the pixels of all images."""
        return two_level_ratio(
            self._grid(edit, kind, "residual"), self._grid(edit, kind, "scale"), resamples=self.resamples
        )

    def per_image(self, edit: Edit, kind: str, column: str = "distance") -> Any:
        """Return a column as an array ``(target models, images)``."""
        return self._grid(edit, kind, column)

    def quality(self, network: str, kind: str) -> Estimate:
        """Return the PSNR of an unedited network, in dB."""
        rows = [
            [quality.psnr for key, quality in self.qualities.items() if key[:3] == (seed, network, kind)]
            for seed in self.seeds
        ]
        return two_level_mean(np.array(rows), resamples=self.resamples)

    def _grid(self, edit: Edit, kind: str, column: str) -> Any:
        names = self.images(edit, kind)
        return np.array(
            [[getattr(self.damages[seed, edit, kind, name], column) for name in names] for seed in self.seeds],
            dtype=np.float64,
        )


def selections_of(
    found: Mapping[str, Attribution], percents: Sequence[float], degradations: Sequence[str]
) -> dict[Edit, Selection]:
    """Return the top filters of every method, percentage and degradation."""
    return {
        Edit(method, percent, masked): each.select(masked, percent)
        for method, each in found.items()
        for percent in percents
        for masked in degradations
    }


def judge(
    laboratory: Laboratory,
    models: Sequence[tuple[TargetModel, Mapping[Edit, Selection]]],
    samples: Sequence[Sample],
    *,
    inputs: Mapping[str, Degradation] | None = None,
    precision: str | None = None,
    name: str = "judge",
) -> Judged:
    """Replace the selected filters and measure what that does, per target model and image.

    Args:
        laboratory: Shares and keeps the pieces.
        models: Target models, each with its edits.
        samples: HR images to judge on.
        inputs: Name → degradation; default: the common ones and clean.
        precision: Of the judged networks; default: the common one.
        name: Of the pieces.
    """
    kinds = dict(inputs or laboratory.inputs)
    chosen = precision or laboratory.judge_precision
    seed = laboratory.common.seed
    edits = {
        model.seed: [[*edit, digest(selection.indices.sort().values.tolist())] for edit, selection in edited.items()]
        for model, edited in models
    }
    prints = {sample.name: sample.fingerprint() for sample in samples}
    items = [(model, edited, sample) for model, edited in models for sample in samples]

    def identity(item: tuple[TargetModel, Mapping[Edit, Selection], Sample]) -> Any:
        model, _, sample = item
        texts = {kind: str(degradation) for kind, degradation in kinds.items()}
        return [model.identity, edits[model.seed], prints[sample.name], texts, chosen, seed]

    def compute(item: tuple[TargetModel, Mapping[Edit, Selection], Sample]) -> Any:
        model, edited, sample = item
        damages, qualities = measure_damage(model.pair, edited, [sample], kinds, seed=seed, precision=chosen)
        return {
            "damages": [asdict(each) | {"edit": list(each.edit)} for each in damages],
            "qualities": [asdict(each) for each in qualities],
        }

    results = laboratory.pieces.of(
        name, items, identity, compute, title=lambda item: f"{item[0].name}, {item[0].seed}, {item[2].name}"
    )
    damaged: dict[tuple[int, Edit, str, str], Damage] = {}
    quality: dict[tuple[int, str, str, str], Quality] = {}
    for (model, _, sample), result in zip(items, results, strict=True):
        for row in result["damages"]:
            damage = Damage(**row | {"edit": Edit(*row["edit"]), "image": sample.name})
            damaged[model.seed, damage.edit, damage.input, sample.name] = damage
        for row in result["qualities"]:
            measured = Quality(**row | {"image": sample.name})
            quality[model.seed, measured.network, measured.input, sample.name] = measured
    return Judged(damaged, quality, laboratory.common.resamples)
