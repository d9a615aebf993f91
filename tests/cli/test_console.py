# SPDX-License-Identifier: Apache-2.0
"""Where nobody watches a terminal, a bar speaks in lines, and losing the reader stops no job."""

import io
import re
import subprocess
import sys
import time

import pytest

from filterlens.cli import console


def test_a_bar_without_a_terminal_says_how_far_it_is_every_while_and_at_its_end(monkeypatch, capsys):
    monkeypatch.setattr(console, "SPEAK_EVERY", 0.01)
    with console.Terminal().bar("train target", 10, 2) as bar:
        bar.advance(3)
        bar.describe("train target, loss 0.1234")
        shown = ""
        while shown.count("\n") < 3:  # also while nothing moves
            time.sleep(0.01)
            shown += capsys.readouterr().err
        bar.advance(5)
    lines = shown.splitlines()
    assert re.fullmatch(r"train target, loss 0\.1234: 5 of 10, 50 %, \d:\d\d:\d\d passed, \d:\d\d:\d\d left", lines[-1])
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"train target, loss 0\.1234: 10 of 10, 100 %, \d:\d\d:\d\d passed", last)


def test_the_time_left_is_that_of_the_steps_of_this_run(monkeypatch):
    now = iter([100.0, 160.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now))
    bar = console._PlainBar("train", 1000, 900)
    bar.advance(20)
    assert bar.line() == "train: 920 of 1000, 92 %, 0:01:00 passed, 0:04:00 left"


def test_a_bar_of_nothing_is_no_division_by_zero(capsys):
    with console.Terminal().bar("read", 0):
        pass
    assert capsys.readouterr().err.startswith("read: 0 of 0, 0 %")


@pytest.mark.parametrize("error", [BrokenPipeError, OSError])
def test_a_reader_that_left_or_a_full_disk_stops_no_job(monkeypatch, error):
    class Gone(io.StringIO):
        def write(self, text):
            raise error(28, "No space left on device")

    monkeypatch.setattr(console, "_errors", console._ErrorConsole(file=Gone()))
    done = []
    with console.Terminal().bar("train", 2) as bar:
        for _ in range(2):
            bar.advance()
            console.Terminal().note("note")
            done.append(1)
    assert len(done) == 2


def test_a_pipe_whose_reader_left_stops_no_job():
    code = (
        "import sys; from filterlens.cli.console import Terminal\n"
        "sys.stdin.read()\n"
        "with Terminal().bar('train', 2) as bar:\n    Terminal().note('a note'); bar.advance(2)\n"
        "print('whole')"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        process.stderr.close()
        process.stdin.close()
        assert process.stdout.read() == b"whole\n"
