# SPDX-License-Identifier: Apache-2.0
"""Checks of numbers and lists that a user gives; errors quote the value and the legal ones. And numbers as text."""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from filterlens.errors import UsageError


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; True and "3" are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether a value is a finite number; True and "3" are not."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def whole_number(value: Any, what: str, least: int | None = None, most: int | None = None) -> int:
    """Return a whole number.

    Args:
        value: Value from the user.
        what: Name of the value in errors, for example ``"nodes"``.
        least: Smallest legal value.
        most: Largest legal value.

    Raises:
        UsageError: It is not a whole number (True and "3" are not), or out of range.
    """
    if not is_whole(value) or (least is not None and value < least) or (most is not None and value > most):
        raise UsageError(f"{what} = {_quoted(value)} is not legal: a whole number{_range(least, most)}.")
    return int(value)


def real_number(
    value: Any,
    what: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> float:
    """Return a finite number.

    Args:
        value: Value from the user.
        what: Name of the value in errors, for example ``"memory in GiB"``.
        least: Smallest legal value.
        above: Bound that the value must exceed.
        most: Largest legal value.
        below: Bound that the value must stay below.

    Raises:
        UsageError: It is not a number (True and "3" are not), not finite, or out of range.
    """
    fits = is_finite(value) and (least is None or value >= least) and (above is None or value > above)
    if not (fits and (most is None or value <= most) and (below is None or value < below)):
        raise UsageError(f"{what} = {_quoted(value)} is not legal: a number{_range(least, most, above, below)}.")
    return float(value)


def percentage(value: Any, *, of_none: bool = True) -> float:
    """Return a share of the filters in percent; 0 is legal only where ``of_none``.

    Raises:
        UsageError: It is none.
    """
    try:
        return real_number(value, "percentage", least=0 if of_none else None, above=None if of_none else 0, most=100)
    except UsageError:
        legal = "0 to 100" if of_none else "above 0, at most 100"
        raise UsageError(f"{_quoted(value)} is not a percentage of filters: {legal}.") from None


def seed_number(value: Any) -> int:
    """Return a seed: a whole number from 0."""
    return whole_number(value, "seed", 0)


def as_list(given: Any, *types: type) -> list[Any]:
    """Return one value or several as a list; a text, or a value of one of ``types``, is one value.

    Raises:
        UsageError: It is neither.
    """
    if isinstance(given, (str, *types)):
        return [given]
    if not isinstance(given, Iterable):
        raise UsageError(f"{_quoted(given)} is not legal here: give a list.")
    return list(given)


def written(value: float) -> str:
    """Return the shortest text that reads back as ``value``; never with a plus sign, which joins degradations.

    Example:
        >>> written(2.0), written(0.1), written(1e7)
        ('2', '0.1', '10000000')
    """
    return str(int(value)) if value == int(value) else repr(float(value))


def _quoted(value: Any) -> str:
    text = repr(value) if isinstance(value, str) or not isinstance(value, Real) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _range(
    least: float | None, most: float | None = None, above: float | None = None, below: float | None = None
) -> str:
    low = f" above {above:g}" if above is not None else f" from {least:g}" if least is not None else ""
    high = f" below {below:g}" if below is not None else f" to {most:g}" if most is not None else ""
    return f"{low}{' and' if above is not None and high else ''}{high}"
