# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can act on: each quotes the value, says what is legal, and how to mend it."""

from collections.abc import Iterable
from difflib import get_close_matches


class FilterlensError(Exception):
    """Something went wrong that the message explains; the command line exits with ``exit_code``."""

    exit_code = 1


class UsageError(FilterlensError):
    """A setting or an argument is not legal."""

    exit_code = 2


def first_line(error: Exception, most: int = 200) -> str:
    """Return the beginning of what foreign code said of its failure; empty where it said nothing."""
    return (str(error).splitlines() or [""])[0][:most]


def unknown(kind: str, value: str, legal: Iterable[str]) -> UsageError:
    """Build the error for a name that is not among the legal ones, with the nearest legal name.

    Args:
        kind: What is named, for example ``"method"``.
        value: What the user wrote.
        legal: The names that exist.
    """
    names = sorted(legal)
    by_lower_case = {name.lower(): name for name in names}
    near = get_close_matches(value.lower(), by_lower_case, n=1, cutoff=0.5)
    hint = f" Did you mean '{by_lower_case[near[0]]}'?" if near else ""
    return UsageError(f"Unknown {kind} '{value}'.{hint} Legal: {', '.join(names)}.")
