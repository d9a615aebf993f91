# SPDX-License-Identifier: Apache-2.0
"""Items come in order with what was prepared for them, one ahead and no more."""

import pytest

from filterlens.work.ahead import ahead


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_item_comes_once_in_order_with_what_was_prepared(count: int) -> None:
    assert list(ahead(range(count), lambda number: number**2)) == [(number, number**2) for number in range(count)]


def test_one_item_is_prepared_ahead_and_no_more() -> None:
    taken = []

    def items():
        for number in range(5):
            taken.append(number)
            yield number

    stream = ahead(items(), lambda number: number)
    assert next(stream) == (0, 0) and taken == [0, 1]
    assert next(stream) == (1, 1) and taken == [0, 1, 2]
    stream.close()


def test_an_error_of_preparing_arrives_with_its_item() -> None:
    stream = ahead([1, 0, 2], lambda number: 1 / number)
    assert next(stream) == (1, 1.0)
    with pytest.raises(ZeroDivisionError):
        next(stream)
