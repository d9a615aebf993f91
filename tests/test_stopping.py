# SPDX-License-Identifier: Apache-2.0
"""A signal waits until the job has saved, and then ends it with the code that a shell knows."""

import signal
import threading
from collections.abc import Iterator

import pytest

from filterlens import stopping
from filterlens.errors import FilterlensError
from filterlens.stopping import AbandonedError, HeldSignals, told_signals


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    """Begin with Python's handlers, also where the tests run in a background that ignores Ctrl-C; restore them."""
    before = {number: signal.getsignal(number) for number in stopping.ENDING}
    for number in before:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_is_told_with_128_more_as_exit_code(name: str) -> None:
    number = signal.Signals[name]
    with pytest.raises(FilterlensError, match=f"ended by {name}") as caught, told_signals():
        signal.raise_signal(number)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) is signal.SIG_DFL


def test_no_handler_of_errors_on_the_way_swallows_a_told_signal() -> None:
    with pytest.raises(FilterlensError, match="SIGTERM"), told_signals():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception:
            raise AssertionError from None


def test_a_held_signal_ends_the_block_when_the_job_says_so() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt), HeldSignals() as held:
        for step in range(5):
            if step == 2:
                signal.raise_signal(signal.SIGINT)
            steps.append(step)
            if held.asked:
                held.deliver(held.asked)
    assert steps == [0, 1, 2]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_that_nobody_delivered_comes_when_the_block_ends() -> None:
    done = []
    with pytest.raises(FilterlensError, match="SIGTERM"), told_signals():
        with HeldSignals():
            signal.raise_signal(signal.SIGTERM)
            done.append("the last of the work")
        done.append("after the block")
    assert done == ["the last of the work"]


def test_several_signals_at_once_are_one_and_a_later_one_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt), HeldSignals() as held:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert held.asked == signal.SIGTERM
        monkeypatch.setattr(stopping, "ONE_WISH", -1.0)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError


def test_work_that_can_be_repeated_is_given_up() -> None:
    with pytest.raises(AbandonedError), HeldSignals() as held:
        held.check()
        signal.raise_signal(signal.SIGTERM)
        held.check()


@pytest.mark.parametrize("holding", [HeldSignals, told_signals])
def test_a_signal_that_the_process_ignores_stays_ignored(holding: type) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    with holding():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_outside_the_main_thread_nothing_is_held() -> None:
    seen = []

    def work() -> None:
        with told_signals(), HeldSignals() as held:
            seen.append(held.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0]


def test_a_handler_that_lets_the_job_go_on_is_obeyed() -> None:
    heard = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    with HeldSignals() as held:
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
            held.deliver(held.asked)
            assert held.asked == 0
    assert heard == [signal.SIGTERM] * 2
