# SPDX-License-Identifier: Apache-2.0
"""Errors quote the value, the nearest legal name and the legal set."""

import pytest

from filterlens.errors import FilterlensError, UsageError, unknown

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
