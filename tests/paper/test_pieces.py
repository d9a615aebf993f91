# SPDX-License-Identifier: Apache-2.0
import pytest

from filterlens.paper.pieces import Pieces, digest


class Counting:
    """Computes squares and remembers what it was asked."""

    def __init__(self, fail_at=None):
        self.asked, self.fail_at = [], fail_at

    def __call__(self, item):
        self.asked.append(item)
        if item == self.fail_at:
            raise KeyboardInterrupt
        return {"square": item * item}


def results(folder, compute, items=(1, 2, 3)):
    return Pieces(folder).of("squares", items, lambda item: [item], compute)


def test_results_come_in_the_order_of_the_items(tmp_path):
    assert [each["square"] for each in results(tmp_path, Counting(), (3, 1, 2))] == [9, 1, 4]


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        results(tmp_path, Counting(fail_at=2))
    again = Counting()
    assert [each["square"] for each in results(tmp_path, again)] == [1, 4, 9]
    assert again.asked == [2, 3]


def test_equal_items_are_computed_once(tmp_path):
    compute = Counting()
    assert [each["square"] for each in results(tmp_path, compute, (2, 2))] == [4, 4]
    assert compute.asked == [2]


def test_another_identity_is_computed_anew(tmp_path):
    results(tmp_path, Counting())
    compute = Counting()
    Pieces(tmp_path).of("squares", (1,), lambda item: [item, "bf16"], compute)
    assert compute.asked == [1]


def test_what_is_computed_equals_what_is_read_later(tmp_path):
    compute = Counting()
    first = Pieces(tmp_path).one("tuple", 1, lambda: {"a": (1, 2.5)})
    assert first == Pieces(tmp_path).one("tuple", 1, compute) == {"a": [1, 2.5]}
    assert not compute.asked


class Shared:
    """Counters that two processes share; the other one has already taken the first item."""

    rank, size = 0, 1

    def __init__(self):
        self.counters = {}

    def add(self, counter, amount):
        start = 1 if counter.endswith("/next") else 0
        self.counters[counter] = self.counters.get(counter, start) + amount
        return self.counters[counter]

    def agree(self, question, answer):
        return answer()


def test_a_piece_that_another_process_took_is_not_computed_here(tmp_path):
    results(tmp_path, Counting(), (1,))  # the other process's work
    compute = Counting()
    Pieces(tmp_path, Shared()).of("squares", (1, 2, 3), lambda item: [item], compute)
    assert compute.asked == [2, 3]


def test_digests_depend_on_every_part_but_not_on_the_order_of_keys():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert len({digest(1), digest("1"), digest([1]), digest({"a": 1})}) == 4
