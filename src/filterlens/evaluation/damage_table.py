# SPDX-License-Identifier: Apache-2.0
"""The own/cross table in one call: what replacing found filters does to inputs of their own function, and to others."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from filterlens.arguments import as_list, percentage
from filterlens.attribution.method import channels_of
from filterlens.attribution.result import Attribution
from filterlens.attribution.settings import AttributeSettings
from filterlens.data.samples import Images
from filterlens.degradations import Degradation
from filterlens.degradations.given import AnyDegradations, OneDegradation
from filterlens.degradations.inputs import GivenPairs, Inputs, inputs_of
from filterlens.degradations.pipeline import CLEAN
from filterlens.errors import FilterlensError, UsageError, unknown
from filterlens.evaluation.damage import Keeper, measure_damage, summarise_damage, summarise_quality
from filterlens.execution.hardware import resolve_precision
from filterlens.filters import Selection
from filterlens.pair import ModelPair
from filterlens.progress import Progress
from filterlens.run.rows import frame_of
from filterlens.run.tables import Damage, DamageSummary, Edit, NetworkQuality
from filterlens.showing.bars import AnyProgress, as_progress
from filterlens.showing.tables import html_table, text_table

if TYPE_CHECKING:
    import pandas

Ranked = Attribution | Selection
METRICS = ("effect", "distance", "distance_reference", "psnr", "ssim", "removal", "preservation")
OWN = "selection"
"""What stands for the method where filters were selected by other means."""


def _effect(row: DamageSummary) -> float | None:
    return row.removal if row.is_own else row.preservation


@dataclass(frozen=True, repr=False)
class DamageTable:
    """The own/cross table: one row per edit and input, over all images.

    Attributes:
        rows: The cells: distances, PSNR, SSIM, removal and preservation.
        networks: PSNR and SSIM of the unedited networks on every input.
        images: What ``rows`` averages: one row per edit, input and image.
    """

    rows: tuple[DamageSummary, ...]
    networks: tuple[NetworkQuality, ...]
    images: tuple[Damage, ...] = field(default=())

    @property
    def edits(self) -> tuple[Edit, ...]:
        """What was replaced: method, share of the filters in percent, and the degradation that they were found for."""
        return tuple(dict.fromkeys(row.edit for row in self.rows))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(dict.fromkeys(row.input for row in self.rows))

    def matrix(self, metric: str = "effect") -> Tensor:
        """Return one number per edit and input, ``(edits, inputs)`` float64; NaN where it is not defined.

        Args:
            metric: ``effect`` (removal on own inputs, preservation on all others), ``distance``,
                ``distance_reference``, ``psnr``, ``ssim``, ``removal`` or ``preservation``; see
                :class:`filterlens.run.tables.DamageSummary`.

        Raises:
            UsageError: No metric has that name.
        """
        if metric not in METRICS:
            raise unknown("metric", str(metric), METRICS)
        numbers = {
            (row.edit, row.input): _effect(row) if metric == "effect" else getattr(row, metric) for row in self.rows
        }
        return torch.tensor(
            [[_number(numbers.get((edit, name))) for name in self.inputs] for edit in self.edits], dtype=torch.float64
        ).reshape(len(self.edits), len(self.inputs))

    def to_pandas(self, what: Literal["cells", "images", "networks"] = "cells") -> "pandas.DataFrame":
        """Return the numbers as a pandas frame.

        Args:
            what: ``cells`` (as ``damage.csv``), ``images`` (as ``damage_per_image.csv``) or ``networks`` (as
                ``networks.csv``).

        Raises:
            UsageError: There is no such table, or pandas is not installed.
        """
        if what == "cells":
            return frame_of(DamageSummary, self.rows)
        if what == "images":
            return frame_of(Damage, self.images)
        if what == "networks":
            return frame_of(NetworkQuality, self.networks)
        raise unknown("table", str(what), ("cells", "images", "networks"))

    def __repr__(self) -> str:
        header, effects, qualities, left = self._texts()
        more = "to_pandas() has all"
        return "\n".join(
            [
                _EFFECTS,
                text_table(header, effects, left=left, more=more),
                _QUALITIES,
                text_table(header, qualities, left=left, more=more),
            ]
        )

    def _repr_html_(self) -> str:
        header, effects, qualities, left = self._texts()
        more = "to_pandas() has all"
        return "".join(
            f"<div><strong>{title}</strong></div>{html_table(header, rows, left=left, more=more)}"
            for title, rows in ((_EFFECTS, effects), (_QUALITIES, qualities))
        )

    def _texts(self) -> tuple[list[str], list[list[str]], list[list[str]], int]:
        """Return header, both tables as text, and the number of columns that name an edit."""
        edits, effects, quality = self.edits, self.matrix().tolist(), self.matrix("psnr").tolist()
        several = [len({edit[place] for edit in edits}) > 1 for place in (0, 1)]
        names = [[*_parts(edit, several), edit.masked] for edit in edits]
        header = [*_parts(("method", "%"), several), "replaced filters of", *self.inputs]
        own = [[edit.masked == name for name in self.inputs] for edit in edits]
        of_networks = {(row.network, row.input): row.psnr for row in self.networks}
        whole = [
            [*[""] * sum(several), f"none: the {role}", *(_text(of_networks.get((role, name))) for name in self.inputs)]
            for role in dict.fromkeys(row.network for row in self.networks)
        ]
        return (
            header,
            [
                [*name, *(f"{'R' if mine else 'P'} {_text(value, 3)}" for mine, value in zip(mines, row, strict=True))]
                for name, mines, row in zip(names, own, effects, strict=True)
            ],
            whole + [[*name, *map(_text, row)] for name, row in zip(names, quality, strict=True)],
            sum(several) + 1,
        )


_EFFECTS = "R: removal on own inputs, P: preservation on others; 1 is ideal"
_QUALITIES = "PSNR in dB"


def damage(
    pair: ModelPair,
    selections: Ranked | Mapping[str, Ranked],
    images: Images | Inputs | None = None,
    degradations: AnyDegradations = None,
    *,
    pairs: GivenPairs | None = None,
    percent: float | Iterable[float] = 1.0,
    protocol: str | None = None,
    seed: int | None = None,
    channels: str | None = None,
    precision: str = "fp32",
    keeper: Keeper | None = None,
    progress: AnyProgress = False,
) -> DamageTable:
    """Replace found filters with the baseline's, and measure what that does to every input: the proof of a ranking.

    ``filterlens mask`` is this call for the rankings of a run folder, and files.

    Args:
        pair: Baseline and target.
        selections: Filters to replace. A ranking: the top ``percent`` % for each of its degradations. A selection: its
            name says whose filters they are. Or a mapping: name of a method → either; or degradation → selection.
        images: Clean HR images to judge on; best ones that were not used to find the filters. None where all
            degradations are given as pairs.
        degradations: Degradations of the inputs; None takes those of the rankings or selections, and clean inputs.
            Functions must be given again, ``{"rain": add_rain}``.
        pairs: Name → pairs to judge on, in any form that :func:`filterlens.data.pairs.as_pairs` takes.
        percent: Share of the filters to replace, one or several; a selection has its own.
        protocol: Choices that inputs are made with, ``default`` or ``reference``; None takes the rankings'.
        seed: Seed of the noise; None takes the rankings'.
        channels: ``as-they-are``, or ``y``: luma of colour images for a network of one channel; None takes the
            rankings'.
        precision: ``fp32``, ``bf16`` or ``auto``.
        keeper: Receiver of pictures, or None.
        progress: True for a bar in the notebook or terminal at hand, or a receiver of bars.

    Returns:
        The table. ``repr`` and notebooks show removal, preservation and PSNR; ``to_pandas()`` and ``matrix`` give all.

    Raises:
        UsageError: There is no selection, the degradations are not given and follow from nothing, the rankings were
            made in different ways, or a setting is not legal.
        FilterlensError: A selection is of another network, or an output is not finite.

    Example:
        >>> table = damage(pair, FAIG(pair).attribute(images, ["blur:2", "noise:0.1"]), held_out)
        >>> table.matrix("removal")
    """
    shown = as_progress(progress)
    ranked = _named(selections)
    rankings = [each for each in ranked.values() if isinstance(each, Attribution)]
    made_with = _made_with(rankings, {"protocol": protocol, "seed": seed, "channels": channels})
    inputs = (
        images
        if isinstance(images, Inputs)
        else _inputs(pair, ranked, images, degradations, pairs, shown, made_with.channels)
    )
    percents = [percentage(each) for each in as_list(percent, int, float)]
    chosen: dict[Edit, Selection] = {}
    for name, each in ranked.items():
        if each.space != pair.space:
            raise FilterlensError(
                f"The filters of '{name}' are of another network ({each.space}) than the pair ({pair.space})."
            )
        chosen |= _edits(name, each, percents, inputs.degradations)
    damages, qualities = measure_damage(
        pair,
        chosen,
        inputs,
        resampler=made_with.conventions.resampler,
        multiple=made_with.conventions.multiple,
        seed=made_with.seed,
        precision=resolve_precision(precision, pair.device),
        keeper=keeper,
        progress=shown,
    )
    return DamageTable(tuple(summarise_damage(damages)), tuple(summarise_quality(qualities)), tuple(damages))


def _named(selections: Ranked | Mapping[str, Ranked]) -> dict[str, Ranked]:
    """Return what is to be judged under the name of its method."""
    if isinstance(selections, Attribution):
        return {selections.method: selections}
    if isinstance(selections, Selection):
        return {selections.name or OWN: selections}
    if not isinstance(selections, Mapping):
        raise UsageError(f"{_FORMS}, not {type(selections).__name__}.")
    if not selections:
        raise UsageError(f"There is nothing to judge. {_FORMS}.")
    for name, each in selections.items():
        if not isinstance(each, Attribution | Selection):
            raise UsageError(f"{_FORMS}; '{name}' is {type(each).__name__}.")
    return {str(name): each for name, each in selections.items()}


_FORMS = "Filters come as an attribution, a selection, or a mapping from names to them"


def _made_with(rankings: Iterable[Attribution], given: Mapping[str, Any]) -> AttributeSettings:
    """Return the choices that inputs are made with: those given, else those of the rankings, which must be one."""
    wanted = {name: value for name, value in given.items() if value is not None}
    recorded = [{name: each.settings[name] for name in given if name in each.settings} for each in rankings]
    found = list(dict.fromkeys(AttributeSettings.of(each | wanted, "damage") for each in recorded or [{}]))
    if len(found) > 1:
        ways = " and ".join(f"protocol '{each.protocol}' with seed {each.seed}" for each in found)
        raise UsageError(f"The rankings were made with {ways}: give protocol=, seed= and channels= for all.")
    return found[0]


def _inputs(
    pair: ModelPair,
    ranked: Mapping[str, Ranked],
    images: Images | None,
    degradations: AnyDegradations,
    pairs: GivenPairs | None,
    progress: Progress,
    channels: str,
) -> Inputs:
    """Return the inputs that are given, or that follow from what is judged: its degradations, and clean ones."""
    how: dict[str, Any] = {"channels": channels_of(pair, channels), "note": progress.note}
    if degradations is not None:
        return inputs_of(images, degradations, pairs, **how)
    names = _names(ranked, pairs or {})
    made: dict[str, OneDegradation] = {name: name for name in names if name not in (pairs or {})}
    if images is not None:
        made[CLEAN] = CLEAN
    found = inputs_of(images, made or None, pairs, **how).with_clean()
    return found.only(list(dict.fromkeys([*names, *found.degradations])))


def _names(ranked: Mapping[str, Ranked], pairs: GivenPairs) -> list[str]:
    """Return the degradations of what is judged, of which those that are not written must be given as pairs."""
    names: list[str] = []
    for name, each in ranked.items():
        wanted = list(each.degradations) if isinstance(each, Attribution) else [_whose(name, each, pairs)]
        names += [text if text in pairs else _spelled(text) or text for text in wanted]
    for name in names:
        if name not in pairs and _spelled(name) is None:
            raise UsageError(
                f"'{name}' is no degradation that is written, so no inputs follow from it: give degradations="
                f"{{'{name}': function}}, or pairs={{'{name}': (lq, gt)}}."
            )
    return list(dict.fromkeys(names))


def _whose(name: str, selection: Selection, pairs: GivenPairs) -> str:
    """Return the degradation whose filters were selected."""
    known = next((text for text in (name, selection.name) if text in pairs), None)
    return known or _spelled(name) or selection.name or name


def _edits(name: str, ranked: Ranked, percents: Sequence[float], inputs: Collection[str]) -> dict[Edit, Selection]:
    """Return the edits of one ranking or selection."""
    if isinstance(ranked, Attribution):
        return {
            Edit(name, share, masked): Selection.top(ranked.space, scores, share, masked)
            for share in percents
            for masked, scores in ranked.scores.items()
        }
    texts = [name, _spelled(name), ranked.name, _spelled(ranked.name)]
    whose = next((text for text in texts if text in inputs), None) or ranked.name or name
    method = OWN if whose in (name, _spelled(name)) else name
    return {Edit(method, 100 * len(ranked) / len(ranked.space), whose): ranked}


def _spelled(name: str) -> str | None:
    """Return a degradation as it is spelled everywhere; None for what is none."""
    try:
        return str(Degradation.parse(name))
    except UsageError:
        return None


def _parts(values: Sequence[Any], chosen: Sequence[bool]) -> list[str]:
    """Return the chosen ones of the first values as text."""
    texts = [f"{value:g}" if isinstance(value, float | int) else str(value) for value in values]
    return list(compress(texts, chosen))


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _text(value: float | None, places: int = 2) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{places}f}"
