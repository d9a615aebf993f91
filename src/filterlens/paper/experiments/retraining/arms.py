# SPDX-License-Identifier: Apache-2.0
"""The arms of the re-training: locations found for a degradation, as many weights elsewhere, and all filters."""

from collections.abc import Mapping
from dataclasses import dataclass

from filterlens.attribution.result import Attribution
from filterlens.editing.low_rank import LowRank
from filterlens.editing.trained_part import AllFilters, LastLayers, SelectedFilters, TrainedPart
from filterlens.filters import Selection
from filterlens.jobs.retrain import weights_in
from filterlens.paper.experiments.retraining.settings import RetrainingSettings
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.report.labels import function_of, method_label

LABELS = {"all": "all filters (upper bound)", "last-layers": "last layers", "low-rank": "low-rank adapter (LoRA)"}
KINDS = {"all": "all", "low-rank": "low_rank"}


@dataclass(frozen=True)
class Arm:
    """One thing that can be trained in the baseline.

    Attributes:
        part: A method that finds filters, ``last-layers``, ``low-rank`` or ``all``.
        found_for: The degradation for which the filters were found; empty for parts that were not found.
    """

    part: str
    found_for: str = ""

    @property
    def kind(self) -> str:
        """Field of :class:`~filterlens.paper.experiments.retraining.settings.Rates` that holds its learning rates."""
        return KINDS.get(self.part, "filters")

    @property
    def label(self) -> str:
        """What tables call it."""
        if self.part in LABELS:
            return LABELS[self.part]
        return f"{method_label(self.part)}, {function_of(self.found_for)} locations"


BOUND = Arm("all")
Parts = dict[tuple[Arm, str], TrainedPart]


def arms_of(laboratory: Laboratory, settings: RetrainingSettings) -> list[Arm]:
    """Return all arms in the order of the tables."""
    found = [Arm(method, place) for place in laboratory.common.degradations for method in settings.methods]
    return [*found, *(Arm(name) for name in settings.others), BOUND]


def parts_of(laboratory: Laboratory, settings: RetrainingSettings, model: TargetModel, seed: int) -> Parts:
    """Return what is trained: (arm, degradation that it is trained on) → part.

    Last layers and adapter get as many weights as FAIG's filters for that degradation have.

    Args:
        laboratory: Ranks the filters.
        settings: Which arms.
        model: In whose target the locations are found.
        seed: Of the training; random filters are drawn anew for each.
    """
    kinds = laboratory.common.degradations
    selections = {
        Arm(method, place): _unnamed(each.select(place, settings.percent))
        for method, each in _rankings(laboratory, settings, model, seed).items()
        for place in kinds
    }
    parts: Parts = {}
    for kind in kinds:
        parts |= {(arm, kind): SelectedFilters(selection) for arm, selection in selections.items()}
        count = weights_in(selections[Arm("faig", kind)])
        others: dict[str, TrainedPart] = {"last-layers": LastLayers(count), "low-rank": LowRank(count)}
        parts |= {(Arm(name), kind): others[name] for name in settings.others}
        parts[BOUND, kind] = AllFilters()
    return parts


def _rankings(
    laboratory: Laboratory, settings: RetrainingSettings, model: TargetModel, seed: int
) -> Mapping[str, Attribution]:
    ranked = [method for method in settings.methods if method != "random"]
    found = laboratory.attribute(model, ranked, laboratory.finding)
    if "random" in settings.methods:
        drawn = laboratory.common.seed + seed
        found |= laboratory.attribute(model, ["random"], laboratory.finding, seed=drawn)
    return found


def _unnamed(selection: Selection) -> Selection:
    """Drop the name: equal filters found for two degradations (by their change, say) are then one training."""
    return Selection(selection.space, selection.indices)
