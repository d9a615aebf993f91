# SPDX-License-Identifier: Apache-2.0
"""All methods by name, and how to run several of them with no pass computed twice."""

from collections.abc import Iterable, Sequence
from typing import Any

from filterlens.arguments import as_list
from filterlens.attribution.change import AbsoluteChange, RelativeChange
from filterlens.attribution.faig import FAIG, refuse_clean_alone
from filterlens.attribution.goal_directed import GoalDirected
from filterlens.attribution.input_ig import InputIG
from filterlens.attribution.method import IN_ORDER
from filterlens.attribution.quadrature import Quadrature
from filterlens.attribution.random import LayerMatchedRandom, MagnitudeMatchedRandom, Random
from filterlens.attribution.result import Attribution
from filterlens.attribution.taylor import Taylor
from filterlens.attribution.units import Runner
from filterlens.data.samples import Images, as_samples
from filterlens.degradations import parse_degradations
from filterlens.degradations.pipeline import Degradations
from filterlens.errors import UsageError, unknown
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress

NO_ELIMINATION = "faig-no-elimination"
METHODS: dict[str, str] = {
    FAIG.name: FAIG.summary,
    NO_ELIMINATION: "FAIG's magnitudes for one degradation alone, nothing subtracted",
    GoalDirected.name: GoalDirected.summary,
    InputIG.name: InputIG.summary,
    AbsoluteChange.name: AbsoluteChange.summary,
    RelativeChange.name: RelativeChange.summary,
    Taylor.name: Taylor.summary,
    Random.name: Random.summary,
    LayerMatchedRandom.name: LayerMatchedRandom.summary,
    MagnitudeMatchedRandom.name: MagnitudeMatchedRandom.summary,
}
_ALONE = (AbsoluteChange, RelativeChange, Random)
_MATCHED = (LayerMatchedRandom, MagnitudeMatchedRandom)
CONTROLS = tuple(control.name for control in (*_ALONE, *_MATCHED))
"""The methods that look at no image."""


def attribute_with(
    names: str | Sequence[str],
    pair: ModelPair,
    images: Images,
    degradations: Degradations,
    *,
    path_settings: dict[str, Any] | None = None,
    progress: Progress = SILENT,
    runner: Runner = IN_ORDER,
    **conditions: Any,
) -> dict[str, Attribution]:
    """Run several methods; FAIG with and without elimination share one pass.

    Args:
        names: Keys of :data:`METHODS`, in the order wanted.
        pair: Baseline and target.
        images: HR images.
        degradations: What to find filters for.
        path_settings: ``objective``, ``quadrature``, ``contrast`` for the methods on the parameter path.
        progress: Where bars go.
        runner: Who computes; by default this process alone.
        **conditions: ``protocol``, ``precision``, ``seed``, ``memory`` for all.

    Returns:
        Name → attribution, in the order of ``names``. Matched random filters match the first method that looks at
        images; without one, they match FAIG, which is then computed.

    Raises:
        UsageError: An unknown method, or no method.
    """
    names, inputs = known_methods(names), list(parse_degradations(degradations))
    path = path_settings or {}
    how: dict[str, Any] = {"progress": progress, "runner": runner}
    found: dict[str, Attribution] = {}
    matched = any(control.name in names for control in _MATCHED)
    guides = [name for name in names if name not in CONTROLS] or ([FAIG.name] if matched else [])
    images = as_samples(images, progress.note) if guides else []  # once: they may be a generator
    if FAIG.name in {*names, *guides}:
        refuse_clean_alone(inputs)
    if {FAIG.name, NO_ELIMINATION} & {*names, *guides}:
        both = FAIG(pair, **path, **conditions).attribute_both(images, inputs, **how)
        found[FAIG.name], found[NO_ELIMINATION] = both
    if Taylor.name in names:
        shared = {key: value for key, value in path.items() if key != "quadrature"}
        found[Taylor.name] = Taylor(pair, **shared, **conditions).attribute(images, inputs, **how)
    if GoalDirected.name in names:
        found[GoalDirected.name] = GoalDirected(pair, **conditions).attribute(images, inputs, **how)
    if InputIG.name in names:
        own = {key: value for key, value in path.items() if isinstance(value, Quadrature)}
        found[InputIG.name] = InputIG(pair, **own, **conditions).attribute(images, inputs, **how)
    guide = found[guides[0]] if guides else None
    found |= image_free(names, pair, inputs, guide, **conditions)
    return {name: found[name] for name in names}


def known_methods(names: str | Iterable[str]) -> list[str]:
    """Return names of methods, each once; a single one needs no list.

    Raises:
        UsageError: An unknown method, or no method.
    """
    wanted = list(dict.fromkeys(as_list(names)))
    for name in wanted:
        if name not in METHODS:
            raise unknown("method", str(name), METHODS)
    if not wanted:
        raise UsageError(f"No method is given. Legal: {', '.join(METHODS)}.")
    return wanted


def image_free(
    names: Sequence[str], pair: ModelPair, degradations: Sequence[str], guide: Attribution | None, **conditions: Any
) -> dict[str, Attribution]:
    """Run those of the named methods that look at no image.

    Args:
        names: Of methods; all others are passed over.
        pair: Baseline and target.
        degradations: What to find filters for.
        guide: The ranking that matched random filters match.
        **conditions: As for :func:`attribute_with`.
    """
    found = {each.name: each(pair, **conditions).attribute([], degradations) for each in _ALONE if each.name in names}
    if guide is not None:
        chosen = [each for each in _MATCHED if each.name in names]
        found |= {each.name: each(pair, like=guide, **conditions).attribute([], degradations) for each in chosen}
    return found
