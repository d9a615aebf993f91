# SPDX-License-Identifier: Apache-2.0
"""Effects of other packages, written like ours: ``rain:0.5,length=15``; :mod:`filterlens.plugins` finds them."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor

from filterlens.arguments import written
from filterlens.degradations.randomness import RandomSource, image_keys
from filterlens.degradations.value import OwnDegradation
from filterlens.errors import FilterlensError, UsageError
from filterlens.plugins import DEGRADATIONS, Plugin, declared

Kind = type[int] | type[float] | type[str] | type[bool]
_KINDS: dict[str, Kind] = {"int": int, "float": float, "str": str, "bool": bool}


@dataclass(frozen=True)
class Added:
    """An effect of another package; it stands alone in a degradation.

    Attributes:
        plugin: The package and the effect's name.
        options: Name and value of what was written, the strength first, then in the order of the signature; options
            at their defaults are left out.
        function: The degradation that the package made of them.
    """

    plugin: Plugin
    options: tuple[tuple[str, Any], ...]
    function: Callable[..., Tensor] = field(repr=False, compare=False)

    def __str__(self) -> str:
        (_, strength), *others = self.options
        return ",".join([f"{self.plugin.name}:{_text(strength)}", *(f"{name}={_text(each)}" for name, each in others)])

    def apply(
        self,
        images: Tensor,
        scale: int,
        *,
        seed: int = 0,
        keys: Sequence[str] | None = None,
        resampler: str = "bicubic",
        random: RandomSource | None = None,
    ) -> Tensor:
        """Make low-resolution images; see :meth:`filterlens.degradations.value.OwnDegradation.apply`.

        Args:
            images: HR images ``(B, C, H, W)`` in [0, 1].
            scale: Down-sampling factor.
            seed: Seed of random numbers, together with ``keys``.
            keys: One key per image; by default made from the content.
            resampler: Filter of the down-sampling.
            random: Source in place of ``seed`` and ``keys``.

        Raises:
            FilterlensError: The package's function fails; the error names the package.
        """
        if random is not None:  # in a training: as many seeds as images, drawn from its stream
            drawn = random.normal(images[:, :1, :1, :1], str(self)).flatten().tolist()
            keys, seed = [float(number).hex() for number in drawn], 0
        elif keys is None:
            keys = image_keys(images)
        try:
            return OwnDegradation(self.function).apply(images, scale, seed=seed, keys=keys, resampler=resampler)
        except FilterlensError as error:
            raise type(error)(f"'{self}' of the package {self.plugin}: {error}") from error


def legal_options(plugin: Plugin) -> dict[str, Kind]:
    """Return the options of an effect and their types, read from its signature; the first one is the strength.

    Raises:
        FilterlensError: The package is broken, or its effect is no function of a strength.
    """
    factory = plugin.load()
    if not callable(factory):
        raise plugin.broken(f"'{plugin.entry.value}' is no function, but {factory!r:.60}")
    try:
        parameters = list(_signature(factory).parameters.values())
    except (TypeError, ValueError) as error:
        raise plugin.broken(f"'{plugin.entry.value}' has no signature that can be read") from error
    named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    if not named:
        raise plugin.broken(f"'{plugin.entry.value}' takes no strength")
    if needed := [each.name for each in named[1:] if each.default is each.empty]:
        raise plugin.broken(f"the option '{needed[0]}' of '{plugin.entry.value}' has no default")
    return {each.name: _kind(each) for each in named}


def added(plugin: Plugin, options: dict[str, Any]) -> Added:
    """Make an effect of the options that were written.

    Raises:
        UsageError: The package refuses a value.
        FilterlensError: It fails, or makes no function.
    """
    factory = plugin.load()
    try:
        function = factory(**options)
    except FilterlensError:
        raise
    except (ValueError, AssertionError) as error:
        given = ", ".join(f"{name} = {value}" for name, value in options.items())
        raise UsageError(f"{given} is not legal for '{plugin.name}' of the package {plugin}: {error}") from error
    except Exception as error:
        raise plugin.failed(error) from error
    if not callable(function):
        raise plugin.broken(f"'{plugin.entry.value}' returns {type(function).__name__}, and no function of images")
    first, *others = _signature(factory).parameters.values()
    said = [each.name for each in others if each.name in options and options[each.name] != each.default]
    return Added(plugin, tuple((name, options[name]) for name in (first.name, *said)), function)


def added_in(names: Sequence[str]) -> list[Plugin]:
    """Return the plug-ins of written degradations, without importing them."""
    found = declared(DEGRADATIONS)
    effects = dict.fromkeys(name.partition(":")[0] for name in names)
    return [found[effect] for effect in effects if effect in found]


def _signature(factory: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(factory, eval_str=True)
    except NameError:  # an annotation that is imported for type checkers alone
        return inspect.signature(factory)


def _kind(parameter: inspect.Parameter) -> Kind:
    """Return the type of an option: as annotated, else that of its default, else a number."""
    annotated = parameter.annotation
    if annotated in _KINDS.values():
        return cast(Kind, annotated)
    if annotated in _KINDS:
        return _KINDS[annotated]
    kind = type(parameter.default)
    return kind if kind in _KINDS.values() else float


def _text(value: Any) -> str:
    return written(value) if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
