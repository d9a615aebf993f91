# SPDX-License-Identifier: Apache-2.0
"""The result of an attribution: scores per degradation, their settings, and their exactness."""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator
from torch import Tensor

from filterlens.arguments import whole_number
from filterlens.attribution.found import FoundFilter, FoundFilters
from filterlens.attribution.layer_plot import bars_html, draw_layers, shares_of
from filterlens.degradations import Degradation
from filterlens.errors import FilterlensError, UsageError, unknown
from filterlens.files import write_text
from filterlens.filters import FilterLayer, FilterSpace, Selection, check_scores, ranking
from filterlens.run.rows import frame_of, write_rows
from filterlens.run.tables import RankedFilter
from filterlens.showing.tables import MOST, counted, html_facts, html_table, some
from filterlens.tensors import HEADER, damaged, read_tensors, write_tensors
from filterlens.version import __version__

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

_KIND, _REMEDY = "score file", "Run `filterlens attribute` again."
_Count = Annotated[int, Field(ge=1, lt=2**31)]


@dataclass(frozen=True)
class Completeness:
    """How well the attributions of all parameters, biases included, sum to the change of the objective.

    Attributes:
        image: Name of the image.
        degradation: Degradation of the input.
        attributed: Σ_i ∫ ∂L/∂γ_i (θ_i − θ̄_i) dα over all parameters.
        loss_target: L(θ, x).
        loss_baseline: L(θ̄, x).
        nodes: Number of gradients in the integral.
        change: Share of this input's top 1 % of filters that the last node changed; None where nodes are fixed.
    """

    image: str
    degradation: str
    attributed: float
    loss_target: float
    loss_baseline: float
    nodes: int = 0
    change: float | None = None

    @property
    def gap(self) -> float:
        """|attributed − (L(θ) − L(θ̄))| / |L(θ) − L(θ̄)|; 0 is exact."""
        change = self.loss_target - self.loss_baseline
        return abs(self.attributed - change) / abs(change) if change else abs(self.attributed)


@dataclass(frozen=True, eq=False)
class Attribution:
    """Scores of every filter for each degradation.

    Attributes:
        method: Name of the method.
        space: The filters.
        scores: Degradation → ``(filters,)``; higher means more important for it.
        settings: All settings that decided the scores.
        completeness: One entry per image and degradation, for methods that integrate along the parameter path.

    Raises:
        FilterlensError: A degradation has not one finite score per filter.
    """

    method: str
    space: FilterSpace
    scores: Mapping[str, Tensor]
    settings: Mapping[str, Any] = field(default_factory=dict)
    completeness: tuple[Completeness, ...] = ()

    def __post_init__(self) -> None:
        for degradation, scores in self.scores.items():
            check_scores(self.space, scores, f"The scores for '{degradation}'")

    @property
    def degradations(self) -> tuple[str, ...]:
        """The degradations that have scores."""
        return tuple(self.scores)

    @property
    def completeness_gap(self) -> float:
        """The largest relative gap over images and degradations; 0 for methods without a parameter path."""
        return max((entry.gap for entry in self.completeness), default=0.0)

    def of(self, degradation: str | Degradation) -> Tensor:
        """Return the scores ``(filters,)`` of one degradation; an unknown one is a UsageError."""
        return self.scores[self._known(degradation)]

    def _known(self, degradation: str | Degradation) -> str:
        """Return the name by which the scores of a degradation are kept; also of one that is no written chain."""
        name = str(degradation)
        if name not in self.scores:
            with contextlib.suppress(UsageError):
                name = str(Degradation.parse(degradation))
        if name not in self.scores:
            raise unknown("degradation of this attribution", name, self.scores)
        return name

    def select(self, degradation: str | Degradation, percent: float = 1.0) -> Selection:
        """Select the top ``percent`` % of the filters for a degradation."""
        name = self._known(degradation)
        return Selection.top(self.space, self.scores[name], percent, name=name)

    def to_csv(self, path: Path | str) -> None:
        """Write ``degradation,layer,out,in,score,rank`` of every filter, best first; ``in`` of a whole row is ``:``."""
        write_rows(Path(path), RankedFilter, self._ranked())

    def to_pandas(self) -> "pandas.DataFrame":
        """Return what :meth:`to_csv` writes as a pandas frame, scores unrounded.

        Raises:
            UsageError: pandas is not installed.
        """
        return frame_of(RankedFilter, self._ranked())

    def top(self, count: int = 10, degradation: str | Degradation | None = None) -> FoundFilters:
        """Return the best filters with address, score and rank; they print as a table.

        Args:
            count: Number of filters for each degradation.
            degradation: A degradation; None takes every one.

        Raises:
            UsageError: The count is not a positive whole number, or the degradation is unknown.
        """
        count = whole_number(count, "number of filters", 1)
        chosen = self.scores if degradation is None else [self._known(degradation)]
        return FoundFilters(found for name in chosen for found in self._best(name, count))

    def _best(self, degradation: str, count: int) -> Iterator[FoundFilter]:
        scores = self.scores[degradation]
        order = ranking(scores)[:count]
        places = zip(self.space.addresses(order), scores[order].tolist(), strict=True)
        for rank, (address, score) in enumerate(places, start=1):
            yield FoundFilter(degradation, address, score, rank)

    def plot(self, ax: "Axes | None" = None, percent: float = 1.0) -> "Axes":
        """Draw where in the network the found filters lie: each layer's share of the top ``percent`` %.

        Args:
            ax: matplotlib axes to draw into; None makes new ones.
            percent: Share of the filters that count as found.

        Returns:
            The axes, whose ``figure`` can be saved. In a notebook the picture appears below the cell.

        Raises:
            UsageError: The percentage is not legal, or finds no filter.
        """
        return draw_layers(self._found(percent), self.space, ax)

    def _found(self, percent: float) -> dict[str, Selection]:
        """Return the top filters of every degradation; none may be empty."""
        found = {name: Selection.top(self.space, scores, percent, name) for name, scores in self.scores.items()}
        if not all(map(len, found.values())):
            digits = 10 ** (2 + len(str(len(self.space))))
            least = math.ceil(digits * 100 / len(self.space)) / digits  # rounded up, so that it is enough
            raise UsageError(f"{percent:g} % of {len(self.space)} filters is no filter: take at least {least} %.")
        return found

    def __repr__(self) -> str:
        return f"Attribution({'; '.join(f'{value}' for _, value in self._facts())})"

    def _repr_html_(self) -> str:
        names = [layer.name or "weight" for layer in self.space.layers]
        percent = max(1.0, 100 / len(self.space))
        found = self._found(percent) if self.scores else {}
        rows = [
            [
                best.degradation,
                str(best.address),
                f"{best.score:.4g}",
                bars_html(shares_of(found[best.degradation]), names),
            ]
            for best in self.top(1)[:MOST]
        ]
        header = ["degradation", "best filter", "score", f"layers of the top {percent:.3g} %, first to last"]
        table = html_table(header, rows, left=2, raw=[3]) if rows else ""
        return html_facts("Attribution", self._facts()) + table

    def _facts(self) -> list[tuple[str, str]]:
        """Return what there is to say in short."""
        facts = [
            ("method", self.method),
            ("network", str(self.space)),
            ("degradations", some(self.degradations) or "no degradation"),
        ]
        if self.completeness:
            images = len({entry.image for entry in self.completeness})
            facts += [("images", counted(images, "image"))]
            facts += [("exactness", f"completeness gap {100 * self.completeness_gap:.3g} %")]
        return facts

    def _ranked(self) -> Iterator[RankedFilter]:
        for degradation, scores in self.scores.items():
            order = ranking(scores)
            places = zip(self.space.addresses(order), scores[order].tolist(), strict=True)
            for rank, (address, score) in enumerate(places, start=1):
                into = None if address.row else address.in_channel
                yield RankedFilter(degradation, address.layer, address.out_channel, into, score, rank)

    def save(self, path: Path | str) -> None:
        """Write the scores as safetensors at ``path`` and everything else as JSON next to it (``.json``)."""
        save_attributions(path, [self])

    @classmethod
    def load(cls, path: Path | str) -> "Attribution":
        """Read what :meth:`save` wrote.

        Raises:
            FilterlensError: The file is missing, damaged, or holds several methods.
        """
        found = load_attributions(path)
        if len(found) != 1:
            raise FilterlensError(f"'{path}' holds {len(found)} methods ({', '.join(found)}): use load_attributions.")
        return next(iter(found.values()))


def save_attributions(path: Path | str, attributions: Sequence[Attribution]) -> None:
    """Write the scores of several methods over one filter space into one safetensors file, and JSON next to it."""
    path = Path(path)
    header = {
        "version": __version__,
        "layers": [layer.facts() for layer in attributions[0].space.layers],
        "methods": {
            each.method: {
                "degradations": list(each.scores),
                "settings": dict(each.settings),
                "completeness": [asdict(entry) | {"gap": entry.gap} for entry in each.completeness],
            }
            for each in attributions
        },
    }
    text = json.dumps(header, indent=2)
    tensors = {
        f"{each.method}/{degradation}": scores for each in attributions for degradation, scores in each.scores.items()
    }
    write_tensors(path, tensors, {HEADER: text})
    write_text(path.with_suffix(".json"), text + "\n")


def load_attributions(path: Path | str) -> dict[str, Attribution]:
    """Read attributions from a safetensors file: method → attribution.

    Raises:
        FilterlensError: The file is missing or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FilterlensError(f"Scores '{path}' do not exist. `filterlens attribute` writes them.")
    tensors, header = read_tensors(path, _KIND, _REMEDY)
    try:
        return _attributions(_Header.model_validate(header), tensors)
    except (ValidationError, ValueError, FilterlensError) as error:
        raise damaged(path, _KIND, error, _REMEDY) from error


def _attributions(header: "_Header", tensors: Mapping[str, Tensor]) -> dict[str, Attribution]:
    """Join header and arrays; a ValueError or FilterlensError names any mismatch."""
    space = header.space()
    wanted = {f"{method}/{name}" for method, facts in header.methods.items() for name in facts.degradations}
    if missing := sorted(wanted - tensors.keys()):
        raise ValueError(f"the array '{missing[0]}' is missing")
    return {
        method: Attribution(
            method=method,
            space=space,
            scores={name: tensors[f"{method}/{name}"] for name in facts.degradations},
            settings=facts.settings,
            completeness=tuple(Completeness(**entry.model_dump()) for entry in facts.completeness),
        )
        for method, facts in header.methods.items()
    }


def as_scores(values: Tensor, like: torch.dtype) -> Tensor:
    """Bring accumulated scores to the CPU in the weights' type, so that saved and computed ranks agree.

    Raises:
        FilterlensError: A score is not finite: the network overflowed somewhere on the path.
    """
    if not values.isfinite().all():
        raise FilterlensError(
            "The scores are not finite: the network overflows on its path. Try --precision fp32, and check that the "
            "two checkpoints belong together."
        )
    return values.to("cpu", like)


class _Part(BaseModel):
    """A part of the header: additions by newer versions are ignored, and texts do not count as numbers."""

    model_config = ConfigDict(strict=True, extra="ignore")


class _LayerFacts(_Part):
    """One layer of a score file's header; see :class:`filterlens.filters.FilterLayer`."""

    name: str
    out_channels: _Count
    in_channels: _Count
    kernel: Annotated[tuple[_Count, ...], Field(strict=False)]  # JSON has lists alone
    offset: Annotated[int, Field(ge=0)]
    row: bool = False


class _CompletenessFacts(_Part):
    """One entry; see :class:`filterlens.attribution.result.Completeness`."""

    image: str
    degradation: str
    attributed: FiniteFloat
    loss_target: FiniteFloat
    loss_baseline: FiniteFloat
    nodes: Annotated[int, Field(ge=0)] = 0
    change: FiniteFloat | None = None


class _MethodFacts(_Part):
    """Facts about the scores of one method."""

    degradations: list[str]
    settings: dict[str, Any]
    completeness: list[_CompletenessFacts]


class _Header(_Part):
    """The header of a score file, checked before anything in it is used."""

    layers: Annotated[list[_LayerFacts], Field(min_length=1)]
    methods: Annotated[dict[str, _MethodFacts], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_one_network(self) -> "_Header":
        names = [layer.name for layer in self.layers]
        if len(set(names)) < len(names):
            raise ValueError("a layer is named twice")
        ends = accumulate((layer.out_channels * layer.in_channels for layer in self.layers), initial=0)
        if [layer.offset for layer in self.layers] != [start for start, _ in pairwise(ends)]:
            raise ValueError("the filters of the layers do not follow one another")
        return self

    def space(self) -> FilterSpace:
        """Return the filters that the scores are of."""
        return FilterSpace.of_layers(FilterLayer(**layer.model_dump()) for layer in self.layers)
