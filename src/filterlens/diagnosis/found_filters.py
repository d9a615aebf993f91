# SPDX-License-Identifier: Apache-2.0
"""The best filters per degradation with their calibration, in a file small enough to ship with a pair."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError
from torch import Tensor

from filterlens.arguments import percentage
from filterlens.diagnosis.calibration import Calibration
from filterlens.diagnosis.classify import Classifier, choose_thresholds
from filterlens.diagnosis.overlap import Reading
from filterlens.errors import FilterlensError, UsageError
from filterlens.filters import Selection
from filterlens.models.pretrained import filters_file
from filterlens.pair import ModelPair
from filterlens.tensors import HEADER, damaged, read_tensors, write_tensors

ROLES = ("baseline", "target")
_KIND = "file of found filters"
_REMEDY = "Find the filters with `filterlens attribute` and use --run."


@dataclass(frozen=True, eq=False)
class FoundFilters:
    """The data that a classifier needs about a pair.

    Attributes:
        rankings: Degradation → flat indices, best first, int64; not necessarily of all filters.
        calibrations: Percent of the filters → degradation → calibration.
        provenance: Origin of both.
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
        held = min((len(ranking) for ranking in self.rankings.values()), default=0)
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
            pair: The pair of the rankings, on the device of the computation.
            percent: Share of the filters in filter^D and filter^x.
            thresholds: ``calibrated`` or ``paper``.
            reading: Settings with which filter^x is found.

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
    """Return how many filters ``percent`` % are, rounded down.

    Raises:
        UsageError: It is not a percentage.
    """
    return int(filters * percentage(percent) / 100 + 1e-9)


class _Header(BaseModel):
    """The header of a file of found filters: everything but the rankings."""

    model_config = ConfigDict(strict=True, extra="ignore")

    class Calibrated(BaseModel):
        """The calibrations at one percentage; texts do not count as numbers."""

        model_config = ConfigDict(extra="ignore")
        percent: Annotated[FiniteFloat, Field(ge=0, le=100)]
        degradations: dict[str, Any]

    pair: dict[str, str]
    filters: Annotated[int, Field(ge=1)]
    calibrations: list[Calibrated]
    provenance: dict[str, Any]


def save_found_filters(path: Path, found: FoundFilters, pair: ModelPair) -> None:
    """Write rankings as int32, and the rest as JSON in the header, with the hashes of the pair."""
    header = {
        "pair": _hashes(pair),
        "filters": len(pair.space),
        "calibrations": [
            {"percent": percent, "degradations": {name: asdict(each) for name, each in table.items()}}
            for percent, table in found.calibrations.items()
        ],
        "provenance": dict(found.provenance),
    }
    tensors = {name: ranking.to(torch.int32) for name, ranking in found.rankings.items()}
    write_tensors(path, tensors, {HEADER: json.dumps(header)})


def load_found_filters(path: Path, pair: ModelPair) -> FoundFilters:
    """Read what :func:`save_found_filters` wrote, and check every number of it.

    Raises:
        FilterlensError: The file is missing, damaged, or belongs to another pair.
    """
    if not path.is_file():
        raise FilterlensError(f"Filters '{path}' do not exist. Use --run RUN with a folder of `filterlens attribute`.")
    tensors, content = read_tensors(path, _KIND, _REMEDY)
    try:
        header = _Header.model_validate(content)
        rankings = {name: _checked(name, tensors[name], header.filters) for name in sorted(tensors)}
        tables = TypeAdapter(dict[str, Calibration], config=ConfigDict(allow_inf_nan=False))
        calibrations = {each.percent: tables.validate_python(each.degradations) for each in header.calibrations}
    except (ValidationError, ValueError) as error:
        raise damaged(path, _KIND, error, _REMEDY) from error
    for role, known in _hashes(pair).items():
        if header.pair.get(role) != known:
            raise FilterlensError(f"'{path}' belongs to another {role}: its hash differs. {_REMEDY}")
    if header.filters != len(pair.space):
        raise FilterlensError(f"'{path}' is of {header.filters} filters, but the pair has {len(pair.space)}. {_REMEDY}")
    return FoundFilters(rankings, calibrations, header.provenance)


def shipped_filters(name: str, device: torch.device | str = "cpu") -> tuple[ModelPair, FoundFilters]:
    """Load a shipped pair and its filters.

    Raises:
        UsageError: No shipped pair has that name.
        FilterlensError: It ships without filters, or they belong to another version of it.
    """
    pair = ModelPair.pretrained(name)
    return pair.to(device), load_found_filters(filters_file(name), pair)


def _checked(name: str, ranking: Tensor, filters: int) -> Tensor:
    """Return flat indices as int64; a ValueError says why they are none."""
    if ranking.dtype != torch.int32 or ranking.ndim != 1:
        raise ValueError(f"the ranking '{name}' is {ranking.dtype} of shape {tuple(ranking.shape)}, not flat int32")
    indices = ranking.long()
    if (
        not len(indices)
        or int(indices.min()) < 0
        or int(indices.max()) >= filters
        or len(torch.unique(indices)) < len(indices)
    ):
        raise ValueError(f"the ranking '{name}' names a filter twice or one that is none of the {filters}")
    return indices


def _hashes(pair: ModelPair) -> dict[str, str]:
    """Return the hashes of the files that a pair was loaded from.

    Raises:
        UsageError: It was not loaded from files.
    """
    if not all(role in pair.facts for role in ROLES):
        raise UsageError("The pair was not loaded from files, so nothing can be kept for it: use ModelPair.load.")
    return {role: pair.facts[role]["sha256"] for role in ROLES}
