# SPDX-License-Identifier: Apache-2.0
"""Results are computed once, kept whole, and taken again only where everything that decides them is the same."""

import math

import pytest
import torch

from filterlens.errors import FilterlensError
from filterlens.work.processes import Alone, in_turns
from filterlens.work.store import Store, digest
from tests.noting import Noting

ONE, NAN = (torch.tensor([value]).numpy().tobytes() for value in (1.0, math.nan))


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
    return Store(folder).compute("squares", items, lambda item: [item], compute)


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
    Store(tmp_path).compute("squares", (1,), lambda item: [item, "bf16"], compute)
    assert compute.asked == [1]


def test_what_is_computed_equals_what_is_read_later(tmp_path):
    compute = Counting()
    first = Store(tmp_path).one("tuple", 1, lambda: {"a": (1, 2.5)})
    assert first == Store(tmp_path).one("tuple", 1, compute) == {"a": [1, 2.5]}
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


def test_an_item_that_another_process_took_is_not_computed_here(tmp_path):
    results(tmp_path, Counting(), (1,))  # the other process's work
    compute = Counting()
    Store(tmp_path, Shared()).compute("squares", (1, 2, 3), lambda item: [item], compute)
    assert compute.asked == [2, 3]


def test_digests_depend_on_every_part_but_not_on_the_order_of_keys():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert len({digest(1), digest("1"), digest([1]), digest({"a": 1})}) == 4


def test_without_a_folder_results_are_computed_one_by_one_and_nothing_is_kept():
    compute = Counting()
    stream = Store().stream("squares", (1, 2, 3), str, lambda item, _, step: compute(item))
    assert next(stream) == {"square": 1} and compute.asked == [1]
    assert list(stream) == [{"square": 4}, {"square": 9}]


def test_tensors_and_json_are_kept_side_by_side(tmp_path):
    values = {"scores": torch.arange(6, dtype=torch.float64).view(2, 3), "mask": torch.tensor([True, False]), "mu": 2.5}
    Store(tmp_path).one("mixed", 1, lambda: values)
    found = Store(tmp_path).one("mixed", 1, Counting())
    assert found.keys() == values.keys() and found["mu"] == 2.5
    assert all(torch.equal(found[name], values[name]) for name in ("scores", "mask"))
    assert found["scores"].dtype == torch.float64


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-3]),
        lambda path: path.write_bytes(path.read_bytes().replace(ONE, NAN)),
        lambda path: path.write_bytes(path.read_bytes().replace(b"2.5", b"NaN")),
    ],
)
def test_what_is_damaged_or_not_finite_is_computed_again(tmp_path, damage):
    def one():
        return Store(tmp_path).one("mixed", 1, lambda: {"scores": torch.ones(1), "mu": 2.5})

    one()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    damage(path)
    assert path.read_bytes() != whole
    found = one()
    assert torch.equal(found["scores"], torch.ones(1)) and found["mu"] == 2.5 and path.read_bytes() == whole


def test_numbers_without_tensors_may_be_infinite(tmp_path):
    assert Store(tmp_path).one("psnr", 1, lambda: [math.inf, 30.0]) == [math.inf, 30.0]


def test_the_longest_items_are_taken_first(tmp_path):
    compute = Counting()
    stream = Store(tmp_path).stream("squares", (1, 3, 2), str, lambda item, _, step: compute(item), cost=float)
    assert compute.asked == [3, 2, 1] and [each["square"] for each in stream] == [1, 9, 4]


def test_a_note_says_how_many_were_taken_from_disk(tmp_path):
    results(tmp_path, Counting(), (1, 2))
    told = Noting()
    Store(tmp_path, progress=told).compute("squares", (1, 2, 3), lambda item: [item], Counting())
    assert told.notes == ["squares: 2 of 3 were computed before and are taken from disk"]


def test_clearing_removes_results_and_leaves_what_is_not_ours(tmp_path):
    folder = tmp_path / "partial"
    results(folder, Counting())
    (folder / "mine.txt").write_text("mine")
    Store(folder).clear()
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    (folder / "mine.txt").unlink()
    Store(folder).clear()
    assert not folder.exists()


class Failed(Shared):
    """The other process took the first item, failed, and left nothing."""

    size = 2

    def add(self, counter, amount):
        if counter.endswith("/finished"):
            return 2
        return super().add(counter, amount)


def test_what_another_process_failed_to_compute_is_told(tmp_path):
    with pytest.raises(FilterlensError, match="another process failed to compute it"):
        Store(tmp_path, Failed()).compute("squares", (1, 2), lambda item: [item], Counting())


def test_a_process_that_fails_lets_the_others_go_on():
    processes = Alone()

    def fail(taken):
        raise FilterlensError(f"at {next(taken)}")

    with pytest.raises(FilterlensError, match="at 1"):
        in_turns(processes, [1, 2], fail)
    (finished,) = [name for name in processes._counters if name.endswith("/finished")]
    assert processes.add(finished, 0) == 1


def test_items_are_shared_by_turns():
    done = []
    in_turns(Shared(), ["a", "b", "c"], done.extend)
    assert done == ["b", "c"]
