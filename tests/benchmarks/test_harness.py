# SPDX-License-Identifier: Apache-2.0
"""What all benchmarks lean on: turns, goals, exponents, images, child processes."""

import pytest
import torch

from benchmarks.harness.goal import Goal
from benchmarks.harness.images import ImageChoice, mirrored
from benchmarks.harness.settings import Settings
from benchmarks.harness.timing import Timing, alternate
from benchmarks.harness.worker import Worker, peak_memory
from benchmarks.power_law import exponent
from benchmarks.training import WARM_UP, StepClock

CPU = torch.device("cpu")
MIB = 2**20


def test_tasks_take_turns_after_one_call_of_each_that_is_not_timed():
    calls = []
    times = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, CPU)
    assert calls == ["a", "b"] * 4
    assert {key: len(timing.seconds) for key, timing in times.items()} == {"a": 3, "b": 3}


def test_a_timing_states_best_middle_and_spread():
    timing = Timing((3.0, 2.0, 2.5))
    assert (timing.best, timing.median, timing.spread) == (2.0, 2.5, 0.5)


@pytest.mark.parametrize(
    ("sense", "value", "met"),
    [
        ("at most", 2, True),
        ("at most", 2.1, False),
        ("at least", 2, True),
        ("at least", 1.9, False),
        ("at most", None, None),
    ],
)
def test_the_bound_itself_meets_a_goal(sense, value, met):
    verdict = Goal("figure", sense, 2, ".1f", " s").judge(value)
    assert verdict.met is met
    assert verdict.goal == f"figure: {sense} 2.0 s"
    assert verdict.measured == ("nothing" if value is None else f"{value:.1f} s")


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_found(power):
    sizes = (1, 3, 10, 50)
    assert exponent(sizes, [7 * size**power for size in sizes]) == pytest.approx(power, abs=1e-12)


def test_a_constant_part_lowers_the_exponent():
    sizes = (1, 2, 4, 8)
    assert 0 < exponent(sizes, [size + 5 for size in sizes]) < 1


def test_mirroring_continues_an_image_without_a_jump_and_cuts_larger_ones():
    image = torch.arange(6).view(1, 2, 3)
    assert mirrored(image, 3, 7)[0].tolist() == [[0, 1, 2, 2, 1, 0, 0], [3, 4, 5, 5, 4, 3, 3], [3, 4, 5, 5, 4, 3, 3]]
    assert mirrored(image, 1, 2)[0].tolist() == [[0, 1]]


def test_images_are_the_shipped_photographs_or_a_folder():
    assert list(ImageChoice(count=2).load()) == ["astronaut", "chelsea"]
    squares = ImageChoice(count=1, side=40)
    assert squares.load()["astronaut"].shape == (3, 40, 40)
    assert str(squares) == "central squares of shipped photographs: astronaut 40x40"


def test_a_childs_peak_of_memory_is_its_own():
    here = torch.ones(400 * MIB // 4)
    with Worker(threads=1) as worker:
        before = worker.run(peak_memory, CPU)
        worker.run(fill, 200 * MIB)
        after = worker.run(peak_memory, CPU)
    assert before < here.nbytes <= peak_memory(CPU)
    assert 199 * MIB < after - before < 300 * MIB


def fill(size):
    torch.ones(size // 4)


def test_the_step_clock_leaves_the_first_steps_out(monkeypatch):
    moments = iter([10.0, 16.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(moments))
    clock = StepClock(CPU, WARM_UP + 3)
    with clock.bar("train target", WARM_UP + 3) as bar:
        for _ in range(WARM_UP + 3):
            bar.advance()
    assert clock.seconds_per_step == 2.0


def test_the_command_names_folders_without_their_place(tmp_path):
    settings = Settings(threads=2, images=tmp_path / "set14", quick=True, device="cpu")
    assert settings.command("limit") == "python -m benchmarks limit --threads 2 --device cpu --images set14 --quick"
