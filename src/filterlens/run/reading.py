# SPDX-License-Identifier: Apache-2.0
"""A finished run, read from its folder into frozen values; a missing file names the command that makes it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filterlens.errors import FilterlensError
from filterlens.run.facts import KeptPicture
from filterlens.run.folder import (
    ATTRIBUTE,
    DAMAGE,
    DISTRIBUTION,
    FILTERS,
    MASK,
    NETWORKS,
    PICTURES,
    mask_command,
    mask_facts,
    pictures_of,
    require_run,
)
from filterlens.run.rows import read_rows
from filterlens.run.tables import DamageSummary, Edit, NetworkQuality, RankedFilter, SelectionShare

TOP_TEN = 10
_ATTRIBUTE = f"{ATTRIBUTE} …"


@dataclass(frozen=True)
class Layer:
    """A convolution of the network, in its order."""

    name: str
    out_channels: int
    in_channels: int
    filters: int


@dataclass(frozen=True)
class Judgement:
    """The results of ``filterlens mask``: damage, the unedited networks, pictures, and settings (``mask.json``)."""

    damage: tuple[DamageSummary, ...]
    networks: tuple[NetworkQuality, ...]
    pictures: tuple[KeptPicture, ...]
    about: Mapping[str, Any]

    @cached_property
    def percents(self) -> tuple[float, ...]:
        """The judged proportions of replaced filters, ascending, in percent."""
        return tuple(sorted({row.edit.percent for row in self.damage}))

    @cached_property
    def degradations(self) -> tuple[str, ...]:
        """The degradations whose filters were replaced, sorted."""
        return tuple(sorted({row.edit.masked for row in self.damage}))

    @cached_property
    def _cells(self) -> dict[tuple[Edit, str], DamageSummary]:
        return {(row.edit, row.input): row for row in reversed(self.damage)}

    def find(self, edit: Edit, on: str) -> DamageSummary | None:
        """Return the damage of one edit on one input, or None where it was not judged."""
        return self._cells.get((edit, on))

    def own(self, edit: Edit) -> DamageSummary | None:
        """Return the damage on the degradation whose filters were replaced."""
        return self.find(edit, edit.masked)

    def cross(self, edit: Edit) -> tuple[DamageSummary, ...]:
        """Return the damage on the *other degradations*; clean inputs do not count."""
        return self._found((edit, other) for other in self.degradations if other != edit.masked)

    def cross_on(self, edit: Edit) -> tuple[DamageSummary, ...]:
        """Return the cross damage on the edit's own input by the filters of each *other* degradation.

        Distances on different inputs have different scales; these share theirs with the own damage of ``edit``.
        """
        return self._found(
            (edit._replace(masked=other), edit.masked) for other in self.degradations if other != edit.masked
        )

    def _found(self, cells: Iterable[tuple[Edit, str]]) -> tuple[DamageSummary, ...]:
        return tuple(row for edit, on in cells if (row := self.find(edit, on)) is not None)


@dataclass(frozen=True)
class RunData:
    """A finished run; ``judgement`` is None while the mask step has not run.

    ``top`` holds, per degradation, the best filters of the first method by rank: at least ten where there are as many.
    """

    folder: Path
    about: Mapping[str, Any]
    layers: tuple[Layer, ...]
    methods: tuple[str, ...]
    degradations: tuple[str, ...]
    filters: int
    top: Mapping[str, tuple[RankedFilter, ...]]
    distribution: tuple[SelectionShare, ...]
    judgement: Judgement | None

    @property
    def method(self) -> str:
        """The first method, whose ranking the report explains in full."""
        return self.methods[0]

    @property
    def judged_methods(self) -> tuple[str, ...]:
        """The methods whose filters were replaced: those of the ranking in order, then the others that were judged."""
        judged = dict.fromkeys(row.edit.method for row in self.judgement.damage) if self.judgement else {}
        return (*(m for m in self.methods if m in judged), *(m for m in judged if m not in self.methods))

    @property
    def scale(self) -> int:
        """The factor of super-resolution."""
        return int(self.about["pair"]["scale"])

    @property
    def percent(self) -> float:
        """The smallest proportion of the distribution table, in percent."""
        return min(row.percent for row in self.distribution)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The judged inputs: each degradation in order, then ``clean`` and whatever else was judged."""
        judged = [row.input for row in self.judgement.damage] if self.judgement else []
        return tuple(dict.fromkeys([d for d in self.degradations if d in judged] + judged))


def read_run(run: Path | str) -> RunData:
    """Read a finished run.

    Args:
        run: The folder that ``filterlens attribute`` wrote and ``filterlens mask`` completed.

    Returns:
        The run; without a judgement if ``damage.csv`` is not there yet.

    Raises:
        FilterlensError: The folder or a file is missing or is not what the run writes.
    """
    folder = Path(run)
    about = require_run(folder)
    pair, settings = about["pair"], about["settings"]
    layers = tuple(Layer(each["name"], each["out"], each["in"], each["filters"]) for each in pair["layers"])
    methods, degradations = tuple(settings["methods"]), tuple(settings["degradations"])
    distribution = tuple(read_rows(_existing(folder / DISTRIBUTION, _ATTRIBUTE), SelectionShare))
    if not (methods and degradations and layers and distribution):
        raise FilterlensError(f"The run '{folder}' names no method, degradation or layer. Run `{_ATTRIBUTE}` again.")
    top = _top(_existing(folder / FILTERS, _ATTRIBUTE), _selected(distribution, methods[0]))
    judged = _judgement(folder, about) if (folder / DAMAGE).is_file() else None
    return RunData(folder, about, layers, methods, degradations, int(pair["filters"]), top, distribution, judged)


def _existing(path: Path, command: str) -> Path:
    if not path.is_file():
        raise FilterlensError(f"'{path}' is missing. `{command}` makes it.")
    return path


def _selected(distribution: tuple[SelectionShare, ...], method: str) -> int:
    """Count the filters of the smallest proportion: as many as the report draws."""
    percent = min(row.percent for row in distribution)
    counts: dict[str, int] = {}
    for row in distribution:
        if row.method == method and row.percent == percent:
            counts[row.degradation] = counts.get(row.degradation, 0) + row.within.selected
    return max(counts.values(), default=0)


def _top(path: Path, count: int) -> dict[str, tuple[RankedFilter, ...]]:
    kept: dict[str, list[RankedFilter]] = {}
    for row in read_rows(path, RankedFilter):
        if row.rank <= max(count, TOP_TEN):
            kept.setdefault(row.degradation, []).append(row)
    return {name: tuple(sorted(found, key=lambda each: each.rank)) for name, found in kept.items()}


def _judgement(folder: Path, about: Mapping[str, Any]) -> Judgement:
    command, degradations = mask_command(folder, about), about["settings"]["degradations"]
    damage = tuple(read_rows(folder / DAMAGE, DamageSummary))
    if not damage:
        raise FilterlensError(f"'{folder / DAMAGE}' holds no line. Run `{command}` again.")
    networks = tuple(read_rows(_existing(folder / NETWORKS, command), NetworkQuality))
    _existing(folder / MASK, command)
    if strangers := sorted({row.edit.masked for row in damage} - set(degradations)):
        raise FilterlensError(
            f"'{folder / DAMAGE}' masks {', '.join(strangers)}, which the run did not attribute "
            f"({', '.join(degradations)}). Run `{command}` again."
        )
    pictures = pictures_of(folder) if (folder / PICTURES).is_file() else ()  # a run may be judged without pictures
    for picture in pictures:
        _existing(folder / picture.file, command)
    return Judgement(damage, networks, tuple(pictures), mask_facts(folder))
