# SPDX-License-Identifier: Apache-2.0
"""All methods by name, and one run of several methods that computes no pass twice."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from filterlens.arguments import as_list
from filterlens.attribution.faig import FAIG, Taylor, refuse_clean_alone
from filterlens.attribution.goal_directed import GoalDirected
from filterlens.attribution.image_free import (
    AbsoluteChange,
    ImageFree,
    LayerMatchedRandom,
    MagnitudeMatchedRandom,
    MatchedRandom,
    Random,
    RelativeChange,
)
from filterlens.attribution.input_ig import InputIG
from filterlens.attribution.method import Method, channels_of
from filterlens.attribution.result import Attribution
from filterlens.attribution.settings import AttributeSettings
from filterlens.data.samples import Images
from filterlens.degradations.given import AnyDegradations
from filterlens.degradations.inputs import GivenPairs, Inputs, inputs_of, names_of
from filterlens.errors import FilterlensError, UsageError, unknown
from filterlens.execution.memory import is_out_of_memory
from filterlens.pair import ModelPair
from filterlens.plugins import METHODS as OF_PLUGINS
from filterlens.plugins import Plugin, declared, refuse_clash
from filterlens.showing.bars import AnyProgress, as_progress
from filterlens.work.store import NOTHING_KEPT, Store

NO_ELIMINATION = "faig-no-elimination"
_BUILT_IN: dict[str, type[Method]] = {FAIG.name: FAIG, NO_ELIMINATION: FAIG} | {
    each.name: each
    for each in (
        GoalDirected,
        InputIG,
        AbsoluteChange,
        RelativeChange,
        Taylor,
        Random,
        LayerMatchedRandom,
        MagnitudeMatchedRandom,
    )
}


class _Classes(Mapping[str, type[Method]]):
    """Every method's class by name: ours, then those that other packages declare, imported when they are looked up."""

    def __getitem__(self, name: str) -> type[Method]:
        if name in _BUILT_IN:
            return _BUILT_IN[name]
        return _checked(declared(OF_PLUGINS)[name])

    def __iter__(self) -> Iterator[str]:
        return iter({**_BUILT_IN, **declared(OF_PLUGINS)})

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in _BUILT_IN or name in declared(OF_PLUGINS)


class _Summaries(Mapping[str, str]):
    """What every method is, in a few words, by name."""

    def __getitem__(self, name: str) -> str:
        if name == NO_ELIMINATION:
            return "FAIG's magnitudes for one degradation alone, nothing subtracted"
        return _CLASSES[name].summary

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)

    def __contains__(self, name: object) -> bool:
        return name in _CLASSES


_CLASSES = _Classes()
METHODS: Mapping[str, str] = _Summaries()
CONTROLS = tuple(name for name, each in _BUILT_IN.items() if issubclass(each, ImageFree))
"""Our methods that look at no image."""


def attribute_with(
    names: str | Sequence[str],
    pair: ModelPair,
    images: Images | Inputs | None,
    degradations: AnyDegradations = None,
    settings: AttributeSettings | None = None,
    *,
    pairs: GivenPairs | None = None,
    progress: AnyProgress = False,
    store: Store = NOTHING_KEPT,
) -> dict[str, Attribution]:
    """Run several methods; FAIG with and without elimination share one pass.

    Args:
        names: Keys of :data:`METHODS`, in the desired order.
        pair: Baseline and target.
        images: Clean HR images, or all inputs.
        degradations: Degradations to find filters for.
        settings: Settings for all methods; each takes those that affect it.
        pairs: Name → pairs; see :meth:`filterlens.attribution.method.Method.attribute`.
        progress: Receiver of progress bars.
        store: Store that keeps and shares measurements; by default this process computes them and keeps nothing.

    Returns:
        Name → attribution, in the order of ``names``. Matched random filters match the first method that uses
        images; without one, they match FAIG, which is then computed.

    Raises:
        UsageError: An unknown method, no method, or a setting that none of the methods takes.
    """
    progress = as_progress(progress)
    names = known_methods(names)
    settings = settings or AttributeSettings()
    refuse_idle(settings, names)
    guides = _guides(names)
    if not guides:
        return image_free(names, pair, names_of(images, degradations, pairs), None, settings)
    if not isinstance(images, Inputs):  # read once: they may be a generator
        channels = channels_of(pair, settings.channels)
        images = inputs_of(images, degradations, pairs, channels=channels, note=progress.note)
    inputs = list(images.degradations)
    how: dict[str, Any] = {"progress": progress, "store": store}
    found: dict[str, Attribution] = {}
    if FAIG.name in {*names, *guides}:
        refuse_clean_alone(inputs)
    if {FAIG.name, NO_ELIMINATION} & {*names, *guides}:
        both = FAIG(pair, _own(settings, FAIG)).attribute_both(images, **how)
        found[FAIG.name], found[NO_ELIMINATION] = both
    for name in names:
        if name not in found and not _is_image_free(name):
            with _blamed(name):
                found[name] = _CLASSES[name](pair, _own(settings, _CLASSES[name])).attribute(images, **how)
    found |= image_free(names, pair, inputs, found[guides[0]], settings)
    return {name: found[name] for name in names}


def known_methods(names: str | Iterable[str]) -> list[str]:
    """Return names of methods, each once; a single name needs no list.

    Raises:
        UsageError: An unknown method, one that two packages declare, or no method.
        FilterlensError: The package that declares the method is broken.
    """
    wanted = list(dict.fromkeys(as_list(names)))
    for name in wanted:
        if name not in METHODS:
            raise unknown("method", str(name), METHODS)
        refuse_clash(OF_PLUGINS, name, _BUILT_IN)
        _CLASSES[name]  # a broken package is told before any work
    if not wanted:
        raise UsageError(f"No method is given. Legal: {', '.join(METHODS)}.")
    return wanted


def refuse_idle(settings: AttributeSettings, names: Sequence[str]) -> None:
    """Refuse a changed setting that has no effect on any of the methods.

    Raises:
        UsageError: Such a setting; the error names it, the methods, and the methods that take it.
    """
    if idle := _idle(settings, names):
        setting = min(idle)
        takers = [name for name, each in _BUILT_IN.items() if setting not in each.idle(settings)]
        raise UsageError(
            f"--{setting} {getattr(settings, setting)} means nothing to {', '.join(names)}. Leave it out, or add a "
            f"method that takes it: {', '.join(takers)}."
        )


def taken_by(settings: AttributeSettings, names: Sequence[str]) -> AttributeSettings:
    """Return the settings without those that have no effect on any of the methods."""
    return settings.only(settings.changed() - _idle(settings, names))


def image_free(
    names: Sequence[str],
    pair: ModelPair,
    degradations: Sequence[str],
    guide: Attribution | None,
    settings: AttributeSettings,
) -> dict[str, Attribution]:
    """Run those of the named methods that use no image.

    Args:
        names: Names of methods; all others are passed over.
        pair: Baseline and target.
        degradations: Degradations to find filters for.
        guide: Ranking that matched random filters match.
        settings: Settings for all methods; each takes those that affect it.
    """
    found: dict[str, Attribution] = {}
    for name in dict.fromkeys((*CONTROLS, *names)):
        each = _CLASSES[name]
        is_matched = issubclass(each, MatchedRandom)
        if name in names and _is_image_free(name) and (guide is not None or not is_matched):
            like = {"like": guide} if is_matched else {}
            with _blamed(name):
                method = each(pair, _own(settings, each), **like)
                assert isinstance(method, ImageFree)
                found[name] = method.of_names(degradations)
    return found


def _idle(settings: AttributeSettings, names: Sequence[str]) -> set[str]:
    idle = settings.changed()
    for name in (*names, *_guides(names)):
        idle &= _CLASSES[name].idle(settings)
    return idle


def _guides(names: Sequence[str]) -> list[str]:
    """Return the named methods that use images; FAIG where random filters have no other ranking to match."""
    guides = [name for name in names if not _is_image_free(name)]
    return guides or ([FAIG.name] if any(issubclass(_CLASSES[name], MatchedRandom) for name in names) else [])


def _is_image_free(name: str) -> bool:
    return issubclass(_CLASSES[name], ImageFree)


def _checked(plugin: Plugin) -> type[Method]:
    """Import a method of another package.

    Raises:
        FilterlensError: It cannot be imported, or is no complete method of that name.
    """
    found = plugin.load()
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise plugin.broken(f"'{plugin.entry.value}' is no subclass of filterlens.Method, but {found!r:.60}")
    said = {each for each in ("name", "summary") if not hasattr(found, each)}
    if missing := sorted(found.__abstractmethods__ | said):
        raise plugin.broken(f"'{plugin.entry.value}' lacks {', '.join(missing)}")
    if found.name != plugin.name:
        raise plugin.broken(f"'{plugin.entry.value}' calls itself '{found.name}'")
    return found


@contextlib.contextmanager
def _blamed(name: str) -> Iterator[None]:
    """Name the package whose method fails."""
    try:
        yield
    except FilterlensError:
        raise
    except Exception as error:
        if name in _BUILT_IN or is_out_of_memory(error):
            raise
        raise declared(OF_PLUGINS)[name].failed(error) from error


def _own(settings: AttributeSettings, method: type[Method]) -> AttributeSettings:
    return settings.only(settings.changed() - method.idle(settings))
