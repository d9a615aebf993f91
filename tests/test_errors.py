# SPDX-License-Identifier: Apache-2.0
"""Errors quote the value, the nearest legal name and the legal set."""

import pytest

from filterlens.errors import FilterlensError, UsageError, printable, shortened, unknown

LEGAL = ("faig", "change", "Taylor")


@pytest.mark.parametrize(
    ("value", "nearest"), [("fiag", "faig"), ("FAIG", "faig"), ("chnage", "change"), ("tailor", "Taylor")]
)
def test_a_near_miss_is_told_the_nearest_legal_name(value: str, nearest: str) -> None:
    assert str(unknown("method", value, LEGAL)).startswith(f"Unknown method '{value}'. Did you mean '{nearest}'?")


def test_a_far_miss_is_told_the_legal_names_only() -> None:
    assert str(unknown("method", "xyz", LEGAL)) == "Unknown method 'xyz'. Legal: Taylor, change, faig."


def test_a_wrong_use_ends_with_2_and_a_failure_with_1() -> None:
    assert unknown("method", "x", LEGAL).exit_code == UsageError.exit_code == 2
    assert FilterlensError.exit_code == 1
    assert issubclass(UsageError, FilterlensError)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, naïve, 日本, №, a b", "plain, naïve, 日本, №, a b"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb\x07\x00\x9b", "a\\rb\\x07\\x00\\x9b"),
        ("evil\u202etxt.exe", "evil\\u202etxt.exe"),
        ("two\nlines\tkept", "two\nlines\tkept"),
        ("lone \udcff byte", "lone \\udcff byte"),
    ],
)
def test_nothing_that_a_terminal_would_obey_is_printed(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()


def test_long_messages_keep_their_beginning_and_their_remedy() -> None:
    text = shortened(f"'{'x' * 4000}' is wrong.\nGive another.")
    assert len(text) <= 500 and text.startswith("'xxx") and text.endswith("is wrong. Give another.")
    assert shortened("short \x1b[0m") == "short \\x1b[0m"
