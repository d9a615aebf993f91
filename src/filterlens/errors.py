# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can act on: each quotes the value, says what is legal and gives a remedy."""

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 500  # characters of a message


class FilterlensError(Exception):
    """An error that its message explains; the command line exits with ``exit_code``.

    Args:
        message: Text with the value, the legal values and the remedy.
        command: Command line that repairs the cause; shown on a line of its own, which is never cut.
    """

    exit_code = 1

    def __init__(self, message: str = "", *, command: str = "") -> None:
        super().__init__(f"{message} {command}" if command else message)
        self.message, self.command = message, command


class UsageError(FilterlensError):
    """A setting or an argument is not legal."""

    exit_code = 2


def printable(text: str) -> str:
    r"""Escape what a terminal would obey instead of showing: control characters except newlines, and direction marks.

    Names of files and tensors come from others; one that holds ``\x1b[2J`` must not clear the user's screen.
    """
    return "".join(letter if _is_shown(letter) else letter.encode("unicode_escape").decode() for letter in text)


def _is_shown(letter: str) -> bool:
    return letter in "\n\t" or letter.isprintable() or unicodedata.category(letter) in ("Zs", "Co")


def shortened(text: str, most: int = LONGEST) -> str:
    """Return the text in one line; of a longer text the beginning, and the end with the remedy."""
    line = " ".join(printable(text).split())
    if len(line) <= most:
        return line
    end = most // 3
    return f"{line[: most - end - 3]} … {line[-end:]}"


def quoted(said: object, most: int = 120) -> str:
    """Return untrusted text from a file in one short line that cannot fill or control the terminal."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(said)).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def first_line(error: Exception, most: int = 200) -> str:
    """Return the beginning of the message of foreign code; empty where there is none."""
    return (str(error).splitlines() or [""])[0][:most]


def unknown(what: str, value: str, legal: Iterable[str]) -> UsageError:
    """Build the error for a name that is not among the legal ones, with the nearest legal name.

    Args:
        what: The thing that has the name, for example ``"method"``.
        value: The name from the user.
        legal: The names that exist.
    """
    names = sorted(legal)
    by_lower_case = {name.lower(): name for name in names}
    near = get_close_matches(value.lower(), by_lower_case, n=1, cutoff=0.5)
    hint = f" Did you mean '{by_lower_case[near[0]]}'?" if near else ""
    return UsageError(f"Unknown {what} '{value}'.{hint} Legal: {', '.join(names)}.")
