# SPDX-License-Identifier: Apache-2.0
"""The best filters per degradation with their calibration, small enough to ship beside a pair."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from filterlens.diagnosis.calibration import Calibration, Logistic
from filterlens.diagnosis.classify import Classifier, choose_thresholds
from filterlens.diagnosis.overlap import Reading
from filterlens.errors import FilterlensError, UsageError
from filterlens.files import whole_file
from filterlens.filters import Selection
from filterlens.pair import ModelPair

ROLES = ("baseline", "target")


@dataclass(frozen=True, eq=False)
class FoundFilters:
    """What a classifier needs to know of a pair.

    Attributes:
        rankings: Degradation → flat indices, best first, int64; not necessarily of all filters.
        calibrations: Percent of the filters → degradation → calibration.
        provenance: Where both come from.
    """

    rankings: Mapping[str, Tensor]
    calibrations: Mapping[float, Mapping[str, Calibration]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def selections(self, pair: ModelPair, percent: float) -> dict[str, Selection]:
        """Return the top ``percent`` % for every degradation.

        Raises:
            UsageError: Less than one filter, or more than the rankings hold.
        """
        count = filter_count(len(pair.space), percent)
        held = min(len(ranking) for ranking in self.rankings.values())
        if not 1 <= count <= held:
            most = f"{100 * held / len(pair.space):.4g} %"
            raise UsageError(
                f"{percent:g} % of the filters is not possible here: from 1 filter to {most}. "
                "A run folder (--run) holds rankings of all filters."
            )
        return {name: Selection(pair.space, ranking[:count], name) for name, ranking in self.rankings.items()}

    def classifier(
        self, pair: ModelPair, percent: float = 1.0, thresholds: str = "calibrated", reading: Reading | None = None
    ) -> Classifier:
        """Build a classifier.

        Args:
            pair: The pair that the rankings belong to, on the device that is to compute.
            percent: Share of the filters in filter^D and filter^x.
            thresholds: ``calibrated`` or ``paper``.
            reading: How filter^x is found.

        Raises:
            UsageError: The percentage is not possible or not calibrated, or the thresholds are unknown.
        """
        selections = self.selections(pair, percent)
        calibrations = self.calibrations.get(percent, {})
        if thresholds == "calibrated" and not calibrations and self.calibrations:
            known = ", ".join(f"{each:g}" for each in sorted(self.calibrations))
            raise UsageError(
                f"{percent:g} % of the filters is not calibrated, only {known} %. "
                "Use one of them or --thresholds paper."
            )
        limits = choose_thresholds(thresholds, tuple(selections), calibrations)
        return Classifier(pair, selections, percent, limits, calibrations, reading or Reading())


def filter_count(filters: int, percent: float) -> int:
    """Return how many filters ``percent`` % are, rounded down; 0 for what is no percentage."""
    return int(filters * percent / 100 + 1e-9) if 0 <= percent <= 100 else 0


def save_found_filters(path: Path, found: FoundFilters, pair: ModelPair) -> None:
    """Write rankings as int32, and the rest as JSON in the header, with the hashes of the pair."""
    header = {
        "pair": {role: pair.facts[role]["sha256"] for role in ROLES},
        "filters": len(pair.space),
        "calibrations": [
            {"percent": percent, "degradations": {name: asdict(each) for name, each in table.items()}}
            for percent, table in found.calibrations.items()
        ],
        "provenance": dict(found.provenance),
    }
    tensors = {name: ranking.to(torch.int32).contiguous() for name, ranking in found.rankings.items()}
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata={"filterlens": json.dumps(header)})


def load_found_filters(path: Path, pair: ModelPair) -> FoundFilters:
    """Read what :func:`save_found_filters` wrote.

    Raises:
        FilterlensError: The file is missing, damaged, or belongs to another pair.
    """
    if not path.is_file():
        raise FilterlensError(f"Filters '{path}' do not exist. Use --run RUN with a folder of `filterlens attribute`.")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["filterlens"])
            rankings = {name: file.get_tensor(name).long() for name in sorted(file.keys())}
        hashes, calibrations = header["pair"], {each["percent"]: _table(each) for each in header["calibrations"]}
        provenance = header["provenance"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FilterlensError(f"'{path}' is not an intact file of found filters ({error}). Make it again.") from error
    for role in ROLES:
        if hashes.get(role) != pair.facts[role]["sha256"]:
            raise FilterlensError(
                f"'{path}' belongs to another {role}: its hash differs. Find the filters of this pair with "
                "`filterlens attribute` and use --run."
            )
    return FoundFilters(rankings, calibrations, provenance)


def _table(entry: Mapping[str, Any]) -> dict[str, Calibration]:
    return {
        name: Calibration(
            each["threshold"], Logistic(**each["curve"]), each["balanced_accuracy"], tuple(each["hidden_by"])
        )
        for name, each in entry["degradations"].items()
    }
