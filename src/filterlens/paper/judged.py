# SPDX-License-Identifier: Apache-2.0
"""The own/cross damage of many edits of many target models on many images: measured, as an array, and its estimates.

Selectivity is J = R + P − 1: removal of the own function plus mean preservation of the others, less 1. It is 1 where
the function is gone and nothing else changed, and 0 both where nothing was replaced (R = 0, P = 1) and where
everything was (R = 1, P = 0); a network that merely breaks gets less than 0. In form it is Youden's index.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from filterlens.attribution.result import Attribution
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.diagnosis.distribution import overlap
from filterlens.evaluation.damage import measure_damage
from filterlens.evaluation.statistics import (
    Array,
    Estimate,
    Overlap,
    bootstrap,
    pooled_ratio,
    two_level_mean,
    two_level_ratio,
)
from filterlens.filters import Selection
from filterlens.paper.experiment import Row
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.run.tables import Edit

INTERVALS = (
    "95 %, bootstrap over images and target models, paired for differences; squares of one photograph are drawn as if "
    "they were independent"
)
COLUMNS = ("distance", "distance_reference", "residual", "scale")  # of Damage
NETWORKS = ("baseline", "target")


@dataclass(frozen=True, eq=False)
class Judged:
    """Every edit of every target model on every input and image. All gains are paired over images and target models.

    Attributes:
        edits: Replaced filters.
        inputs: Names of the inputs on which that was judged.
        damage: Column of :data:`COLUMNS` → ``(target models, images, edits, inputs)``.
        psnr: Unedited network → PSNR in dB, ``(target models, images, inputs)``.
        resamples: Draws of every bootstrap.
    """

    edits: Sequence[Edit]
    inputs: Sequence[str]
    damage: Mapping[str, Array]
    psnr: Mapping[str, Array]
    resamples: int = 2000

    @property
    def methods(self) -> list[str]:
        """The methods that were judged, in order."""
        return list(dict.fromkeys(edit.method for edit in self.edits))

    def distance(self, edit: Edit, kind: str, *, reference: bool = False) -> Estimate:
        """Return the function distance x 1000: mean, sd over target models, bootstrap interval over images."""
        return self._mean(self._at(edit, kind, "distance_reference" if reference else "distance"))

    def distance_gain(self, edit: Edit, other: Edit, kind: str) -> Estimate:
        """Return the function distance x 1000 of ``edit`` minus that of ``other`` on one kind of input."""
        return self._mean(self._at(edit, kind, "distance") - self._at(other, kind, "distance"))

    def share(self, edit: Edit, kind: str) -> Estimate:
        """Return removal (own input) or preservation (any other), pooled over the pixels of all images."""
        return two_level_ratio(
            self._at(edit, kind, "residual"), self._at(edit, kind, "scale"), resamples=self.resamples
        )

    def selectivity(self, edit: Edit, others: Sequence[str]) -> Estimate:
        """Return J of an edit, where ``others`` are the inputs that must stay: 1 is ideal, below 0 is broken."""
        return self._drawn(edit, lambda counts: self._selectivity(edit, others, counts))

    def selectivity_gain(self, edit: Edit, other: Edit, others: Sequence[str]) -> Estimate:
        """Return J of ``edit`` minus J of ``other``, both replaced for the same degradation."""
        return self._drawn(
            edit, lambda counts: self._selectivity(edit, others, counts) - self._selectivity(other, others, counts)
        )

    def quality(self, network: str, kind: str) -> Estimate:
        """Return the PSNR of an unedited network, in dB."""
        return self._mean(self.psnr[network][:, :, self.inputs.index(kind)])

    def _selectivity(self, edit: Edit, others: Sequence[str], counts: Array) -> Array:
        """Return J for every draw of the images ``(draws, images)`` and target model ``(draws, target models)``."""
        shares = [self._share(edit, kind, counts) for kind in others]
        return np.asarray(self._share(edit, edit.masked, counts) + np.mean(shares, axis=0) - 1)

    def _share(self, edit: Edit, kind: str, counts: Array) -> Array:
        return pooled_ratio(*(counts @ self._at(edit, kind, column).T for column in ("residual", "scale")))

    def _drawn(self, edit: Edit, statistic: Callable[[Array], Array]) -> Estimate:
        images = self._at(edit, edit.masked, "residual").shape[1]
        return bootstrap(statistic, images, resamples=self.resamples)

    def _mean(self, values: Array) -> Estimate:
        return two_level_mean(values, resamples=self.resamples)

    def _at(self, edit: Edit, kind: str, column: str) -> Array:
        """Return a column of one edit on one kind of input, ``(target models, images)``."""
        return self.damage[column][:, :, self.edits.index(edit), self.inputs.index(kind)]


@dataclass(frozen=True, eq=False)
class View:
    """The data of the tables, figures and claims of one pair.

    Attributes:
        name: Name of the pair.
        percent: Share of the filters that was replaced.
        degradations: Degradations for which filters were found.
        judged: The damage.
        found: The rankings of every target model by name; empty where no table needs them.
    """

    name: str
    percent: float
    degradations: Sequence[str]
    judged: Judged
    found: Sequence[Mapping[str, Attribution]] = ()

    @property
    def inputs(self) -> Sequence[str]:
        """The inputs on which the edits were judged."""
        return self.judged.inputs

    @property
    def matrix(self) -> list[tuple[str, str]]:
        """Whose filters were replaced, and on which input: the columns of own and cross damage."""
        return [(masked, kind) for masked in self.degradations for kind in self.inputs]

    @property
    def heads(self) -> list[str]:
        """Heads of the columns of :attr:`matrix`."""
        return [f"{masked} filters, {kind} input" for masked, kind in self.matrix]

    def edit(self, method: str, masked: str) -> Edit:
        """Name the replacement of what a method finds for a degradation."""
        return Edit(method, self.percent, masked)

    def rows(self, labels: Mapping[str, str], value: Callable[[Edit, str], Estimate]) -> list[Row]:
        """Return one row per method, its label first, then a value for every place of :attr:`matrix`.

        Args:
            labels: Method → label.
            value: (edit, input) → number, for example :meth:`Judged.distance`.
        """
        return [
            (label, *(value(self.edit(method, masked), kind) for masked, kind in self.matrix))
            for method, label in labels.items()
        ]

    def others(self, masked: str) -> list[str]:
        """Return the inputs that an edit for ``masked`` must leave alone."""
        return others_of(masked, self.degradations)

    def selectivity(self, edit: Edit) -> Estimate:
        """Return J of an edit over all other degradations."""
        return self.judged.selectivity(edit, self.others(edit.masked))

    def selectivity_gain(self, edit: Edit, other: Edit) -> Estimate:
        """Return J of ``edit`` minus J of ``other``, both replaced for the same degradation."""
        return self.judged.selectivity_gain(edit, other, self.others(edit.masked))

    def overlaps(self, edit: Edit, other: Edit) -> list[Overlap]:
        """Set the filters of two edits against each other, for every target model."""
        return [overlap(*(each[name].select(masked, percent) for name, percent, masked in (edit, other)))
                for each in self.found]  # fmt: skip


def others_of(own: str, degradations: Sequence[str]) -> list[str]:
    """Return the inputs that an edit for ``own`` must leave alone: the other degradations, or else the clean one."""
    return [kind for kind in degradations if kind != own] or ["clean"]


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


def view_of(
    laboratory: Laboratory,
    models: Sequence[TargetModel],
    found: Sequence[Mapping[str, Attribution]],
    percents: Sequence[float],
    samples: Sequence[Sample],
    degradations: Sequence[str] | None = None,
    precision: str | None = None,
) -> View:
    """Replace the top filters of every ranking of a pair, and judge that on all degradations and on clean inputs.

    Args:
        laboratory: Shares the work and keeps its results.
        models: The target models of the pair.
        found: The rankings of every target model by name.
        percents: Shares of the filters; the first one is the view's.
        samples: HR images to judge on.
        degradations: Degradations for which filters were found; default: the common ones.
        precision: Precision of the judged networks; default: the common one.
    """
    kinds = degradations or laboratory.common.degradations
    edited = [(model, selections_of(each, percents, kinds)) for model, each in zip(models, found, strict=True)]
    inputs = {name: Degradation.parse(name) for name in (*kinds, "clean")}
    judged = judge(laboratory, edited, samples, inputs=inputs, precision=precision)
    return View(models[0].name, percents[0], kinds, judged, found)


def judge(
    laboratory: Laboratory,
    models: Sequence[tuple[TargetModel, Mapping[Edit, Selection]]],
    samples: Sequence[Sample],
    *,
    donors: Mapping[int, Mapping[Edit, TargetModel]] | None = None,
    inputs: Mapping[str, Degradation] | None = None,
    precision: str | None = None,
) -> Judged:
    """Replace the selected filters and measure what that does, per target model and image.

    Args:
        laboratory: Shares the work and keeps its results.
        models: Target models, each with its edits.
        samples: HR images to judge on.
        donors: Seed of the target model → edit → the model whose baseline gives the filters' values; by default its
            own does. Removal and preservation are measured towards the own baseline, whoever gives the values.
        inputs: Name → degradation; default: the common ones and clean.
        precision: Precision of the judged networks; default: the common one.
    """
    kinds = dict(inputs or laboratory.inputs)
    chosen, seed = precision or laboratory.judge_precision, laboratory.common.seed
    decisive = [{kind: str(degradation) for kind, degradation in kinds.items()}, chosen]
    given = {model.seed: (donors or {}).get(model.seed, {}) for model, _ in models}

    def identity(item: tuple[TargetModel, Mapping[Edit, Selection]]) -> Any:
        model, edited = item
        donor = given[model.seed]
        edits = [[*edit, each.fingerprint(), donor.get(edit, model).identity] for edit, each in edited.items()]
        return [model.identity, edits, decisive]

    def measure(item: tuple[TargetModel, Mapping[Edit, Selection]], sample: Sample) -> dict[str, Any]:
        model, edited = item
        values = {edit: donor.pair.baseline for edit, donor in given[model.seed].items()}
        damages, qualities = measure_damage(
            model.pair, edited, [sample], kinds, donors=values, seed=seed, precision=chosen
        )
        cells = {(row.edit, row.input): row for row in damages}
        columns = {name: [[getattr(cells[edit, kind], name) for kind in kinds] for edit in edited] for name in COLUMNS}
        levels = {(row.network, row.input): row.psnr for row in qualities}
        return columns | {network: [levels[network, kind] for kind in kinds] for network in NETWORKS}

    found = laboratory.measured("judge", models, samples, identity, measure, title=lambda item: item[0].title)
    damage, psnr = ({name: found[name] for name in names} for names in (COLUMNS, NETWORKS))
    return Judged(list(models[0][1]), list(kinds), damage, psnr, laboratory.common.resamples)
