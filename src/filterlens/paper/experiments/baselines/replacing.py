# SPDX-License-Identifier: Apache-2.0
"""Replace filters of a target by any network's values, and measure the damage against the target's own baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from filterlens.data.samples import Sample
from filterlens.evaluation.damage import Damage, Edit, Quality, damage_of, ends_of, quality_of, truth_of
from filterlens.filters import Selection
from filterlens.paper.judged import Judged, as_rows, fingerprint, from_rows
from filterlens.paper.laboratory import Laboratory, TargetModel


@dataclass(frozen=True, eq=False)
class Replacement:
    """Which filters of a target are replaced, and by whose.

    Attributes:
        selection: The filters.
        donor: Name of the network that gives the values.
    """

    selection: Selection
    donor: str


@dataclass(frozen=True, eq=False)
class Patient:
    """A target model and what is replaced in it.

    Attributes:
        model: The target with the baseline that it was fine-tuned from.
        donors: Name → a pair whose baseline gives values.
        edits: The replacements.
    """

    model: TargetModel
    donors: Mapping[str, TargetModel]
    edits: Mapping[Edit, Replacement]

    def edited(self, edit: Edit) -> Tensor:
        """Return the flat parameters of the target with a donor's filters; biases stay the target's."""
        pair, wanted = self.model.pair, self.edits[edit]
        return torch.where(
            pair.weight_mask(wanted.selection.mask), self.donors[wanted.donor].pair.baseline, pair.target
        )

    def networks(self) -> dict[str, Tensor]:
        """Return the unedited networks, whose quality is told: every donor, and the target."""
        return {name: donor.pair.baseline for name, donor in self.donors.items()} | {"target": self.model.pair.target}

    def identity(self) -> list[Any]:
        """Return what decides the damage, besides image and inputs."""
        edits = [[*edit, each.donor, fingerprint(each.selection)] for edit, each in self.edits.items()]
        return [self.model.identity, {name: donor.identity for name, donor in self.donors.items()}, edits]


def judge_replaced(laboratory: Laboratory, patients: Sequence[Patient], samples: Sequence[Sample]) -> Judged:
    """Measure every replacement on every image, as :func:`filterlens.paper.judged.judge` does.

    Removal and preservation are measured towards the baseline that the target was fine-tuned from, whoever gave the
    values: R = 1 − ‖E − B‖² / ‖T − B‖² on the own input, P = 1 − ‖E − T‖² / ‖B − T‖² on every other.
    """
    items = [(patient, sample) for patient in patients for sample in samples]
    prints = {sample.name: sample.fingerprint() for sample in samples}
    kinds = {kind: str(degradation) for kind, degradation in laboratory.inputs.items()}
    decisive = [kinds, laboratory.judge_precision, laboratory.common.seed]
    identities = {patient: patient.identity() for patient in patients}
    results = laboratory.pieces.of(
        "replace",
        items,
        identity=lambda item: [identities[item[0]], prints[item[1].name], *decisive],
        compute=lambda item: _measure(laboratory, *item),
        title=lambda item: f"{item[0].model.name}, {item[0].model.seed}, {item[1].name}",
    )
    places = [(patient.model.seed, sample.name) for patient, sample in items]
    return from_rows(zip(places, results, strict=True), laboratory.common.resamples)


@torch.no_grad()
def _measure(laboratory: Laboratory, patient: Patient, sample: Sample) -> dict[str, Any]:
    pair, precision = patient.model.pair, laboratory.judge_precision
    truth = truth_of(pair, sample)
    damages: list[Damage] = []
    qualities: list[Quality] = []
    for kind, degradation in laboratory.inputs.items():
        ends = ends_of(pair, truth, degradation, sample.name, kind, seed=laboratory.common.seed, precision=precision)
        for name, vector in patient.networks().items():
            qualities.append(quality_of(name, ends, pair.run(vector, ends.lowered, precision), truth, pair.scale))
        for edit in patient.edits:
            output = pair.run(patient.edited(edit), ends.lowered, precision)
            damages += damage_of([edit], ends, output, truth, pair.scale)
    return as_rows(damages, qualities)
