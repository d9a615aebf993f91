# SPDX-License-Identifier: Apache-2.0
"""Numbers and lists that a user gives."""

import numpy as np
import pytest

from filterlens.arguments import as_list, percentage, real_number, seed_number, whole_number
from filterlens.errors import UsageError

NO_NUMBERS = [True, "3", None, [], float("nan"), float("inf"), -float("inf"), 1j]


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, 9, 2.5, 2.0, np.float32(2)])
def test_what_is_no_whole_number_in_range_is_quoted(value):
    with pytest.raises(UsageError, match=r"^nodes = .* is not legal: a whole number from 1 to 8\.$"):
        whole_number(value, "nodes", 1, 8)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -1e-9, 1, 5.0])
def test_what_is_no_number_in_range_is_quoted(value):
    with pytest.raises(UsageError, match=r"^level = .* is not legal: a number above 0 and below 1\.$"):
        real_number(value, "level", above=0, below=1)


@pytest.mark.parametrize("value", [*NO_NUMBERS, -0.1, 100.1])
def test_what_is_no_percentage_is_quoted(value):
    with pytest.raises(UsageError, match=r"is not a percentage of filters: 0 to 100"):
        percentage(value)


def test_no_percent_is_one_only_where_nothing_may_be_selected():
    assert percentage(0) == 0 and percentage(np.float32(100)) == 100
    with pytest.raises(UsageError, match="0 is not a percentage of filters: above 0, at most 100"):
        percentage(0, of_none=False)


@pytest.mark.parametrize("value", [-1, 1.0, True, "7"])
def test_seeds_are_whole_numbers_from_0(value):
    with pytest.raises(UsageError, match="seed = "):
        seed_number(value)


def test_numbers_of_numpy_are_numbers():
    assert whole_number(np.int64(3), "nodes", 1, 3) == 3 and real_number(np.float32(0.5), "level", most=0.5) == 0.5


def test_one_is_a_list_of_one_and_a_text_is_not_its_letters():
    assert as_list("noise:0.1") == ["noise:0.1"] and as_list(1.0, int, float) == [1.0]
    assert as_list(name for name in ("a", "b")) == ["a", "b"]
    with pytest.raises(UsageError, match="3 is not legal here: give a list"):
        as_list(3)
