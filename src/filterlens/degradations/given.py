# SPDX-License-Identifier: Apache-2.0
"""Degradations in every form that people give: texts, functions, values, lists of them, and name → any of them."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from filterlens.arguments import as_list
from filterlens.degradations.pipeline import CLEAN, GRAMMAR, Degradation
from filterlens.degradations.value import AnyDegradation, OwnDegradation
from filterlens.errors import UsageError

OneDegradation = str | AnyDegradation | Callable[..., Any]
AnyDegradations = OneDegradation | Iterable[OneDegradation] | Mapping[str, OneDegradation] | None
"""What methods take: None is refused like an empty list, unless pairs are given."""

UNNAMED = "own"  # the name of a lone function that has none
_NAME = re.compile(r"[\w.-]+")
_LEGAL = f"a written degradation ({GRAMMAR}), a function of an image (1, C, H, W), or a dictionary name -> either"


def as_degradations(given: AnyDegradations) -> dict[str, AnyDegradation]:
    """Read degradations, keyed by their names in the order given.

    A written one is called as it is written, a function by its own name, unless a mapping names them.

    Raises:
        UsageError: One is none, a name is not legal or given twice, or there is none at all.

    Example:
        >>> list(as_degradations(["noise:0.10", "blur:2"])), list(as_degradations({"soft": "blur:2"}))
        (['noise:0.1', 'blur:2'], ['soft'])
    """
    if given is None:
        given = ()
    if isinstance(given, Mapping):
        named = [(checked_name(name), as_degradation(each)) for name, each in given.items()]
    else:
        values = [given] if callable(given) else as_list(given, AnyDegradation)
        found = [as_degradation(each) for each in values]
        named = [(_own_name(each), each) for each in found]
    names = [name for name, _ in named]
    for name, each in named:
        if names.count(name) > 1:
            raise UsageError(
                f"Degradation '{name}' is given twice. Leave one out"
                + (", or name them: {'mine': function}." if isinstance(each, OwnDegradation) else ".")
            )
        if name == CLEAN and not each.is_clean:
            raise UsageError(f"'{CLEAN}' is the name of inputs without any degradation. Choose another name.")
    if not named:
        raise UsageError(f"No degradation is given. Examples: {GRAMMAR}.")
    return dict(named)


def as_degradation(given: OneDegradation) -> AnyDegradation:
    """Read one degradation.

    Raises:
        UsageError: It is none.
    """
    if isinstance(given, AnyDegradation):
        return given
    if isinstance(given, str):
        return Degradation.parse(given)
    if callable(given):
        return OwnDegradation(given)
    raise UsageError(f"{given!r:.60} is no degradation. Legal: {_LEGAL}; pairs of images are given as pairs=.")


def checked_name(name: object) -> str:
    """Return the name of a degradation: of letters, digits, ``-``, ``_`` and ``.``, or a written degradation.

    Raises:
        UsageError: It is none.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    try:
        return str(Degradation.parse(name))  # type: ignore[arg-type]  # refuses what is no text
    except UsageError:
        raise UsageError(f"{name!r:.60} is no name of a degradation: letters, digits, '-', '_' and '.'.") from None


def _own_name(degradation: AnyDegradation) -> str:
    if not isinstance(degradation, OwnDegradation):
        return str(degradation)
    name = degradation.known.qualified_name.rpartition(".")[2]
    return name if _NAME.fullmatch(name) else UNNAMED
