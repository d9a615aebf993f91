# SPDX-License-Identifier: Apache-2.0
"""Where nobody watches a terminal, a bar speaks in lines, and losing the reader stops no job."""

import io
import re
import subprocess
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest

from filterlens import FAIG, UsageError
from filterlens.progress import SILENT
from filterlens.showing import bars
from tests.attribution.small_networks import make_pair, photographs


def test_a_bar_without_a_terminal_says_how_far_it_is_every_while_and_at_its_end(monkeypatch, capsys):
    monkeypatch.setattr(bars, "SPEAK_EVERY", 0.01)
    with bars.Terminal().bar("train target", 10, 2) as bar:
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
    monkeypatch.setattr(bars.time, "monotonic", lambda: next(now))
    bar = bars._PlainBar("train", 1000, 900)
    bar.advance(20)
    assert bar.line() == "train: 920 of 1000, 92 %, 0:01:00 passed, 0:04:00 left"


def test_a_bar_of_nothing_is_no_division_by_zero(capsys):
    with bars.Terminal().bar("read", 0):
        pass
    assert capsys.readouterr().err.startswith("read: 0 of 0, 0 %")


@pytest.mark.parametrize("error", [BrokenPipeError, OSError])
def test_a_reader_that_left_or_a_full_disk_stops_no_job(monkeypatch, error):
    class Gone(io.StringIO):
        def write(self, text):
            raise error(28, "No space left on device")

    monkeypatch.setattr(bars, "_errors", bars._ErrorConsole(file=Gone()))
    done = []
    with bars.Terminal().bar("train", 2) as bar:
        for _ in range(2):
            bar.advance()
            bars.Terminal().note("note")
            done.append(1)
    assert len(done) == 2


def test_a_pipe_whose_reader_left_stops_no_job():
    code = (
        "import sys; from filterlens.showing.bars import Terminal\n"
        "sys.stdin.read()\n"
        "with Terminal().bar('train', 2) as bar:\n    Terminal().note('a note'); bar.advance(2)\n"
        "print('whole')"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        process.stderr.close()
        process.stdin.close()
        assert process.stdout.read() == b"whole\n"


class Page:
    """What a notebook shows: one cell output per display handle."""

    def __init__(self):
        self.outputs = []

    def display(self, value, display_id):
        assert display_id is True
        self.outputs.append(value)
        place = len(self.outputs) - 1
        return SimpleNamespace(update=lambda value: self.outputs.__setitem__(place, value))


@pytest.fixture
def page(monkeypatch):
    """A notebook around the test: what IPython says there, and what it shows."""
    page, display, interactive = Page(), ModuleType("IPython.display"), ModuleType("IPython")
    display.HTML, display.display = str, page.display
    interactive.display, interactive.get_ipython = display, lambda: SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", interactive)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return page


def test_a_bar_in_a_notebook_is_drawn_in_place_and_stays(page, monkeypatch):
    monkeypatch.setattr(bars, "REDRAW_EVERY", -1)
    shown = bars.as_progress(True)
    assert isinstance(shown, bars.Notebook)
    with shown.bar("attribute <b>", 4) as bar:
        assert '<progress value="0" max="4">' in page.outputs[0]
        bar.advance(2)
        assert (
            '<progress value="2" max="4">' in page.outputs[0] and "attribute &lt;b&gt;: 2 of 4, 50 %" in page.outputs[0]
        )
        bar.describe("attribute, chelsea")
        bar.advance(2)
    assert len(page.outputs) == 1 and "attribute, chelsea: 4 of 4, 100 %" in page.outputs[0]


def test_a_fast_loop_does_not_redraw_the_page_at_every_step(page, monkeypatch):
    drawn = []
    monkeypatch.setattr(bars._NotebookBar, "show", lambda self: drawn.append(self._done))
    with bars.Notebook().bar("fast", 10_000) as bar:
        for _ in range(10_000):
            bar.advance()
    assert len(drawn) < 1000 and drawn[-1] == 10_000


def test_a_method_shows_its_bar_and_notes_where_they_are_asked_for(page, capsys):
    _, _, pair = make_pair()
    silent = FAIG(pair, nodes=1, quadrature="midpoint").attribute(photographs(1), "blur:1")
    assert not page.outputs
    shown = FAIG(pair, nodes=1, quadrature="midpoint").attribute(photographs(1), "blur:1", progress=True)
    assert ": 2 of 2, 100 %" in page.outputs[0]
    assert "one degradation: 'blur:1' is discriminated against the clean input" in capsys.readouterr().out
    assert shown.of("blur:1").equal(silent.of("blur:1"))


def test_outside_a_notebook_true_is_the_terminal_and_false_is_silence(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert isinstance(bars.as_progress(True), bars.Terminal)
    monkeypatch.delitem(sys.modules, "IPython")
    assert isinstance(bars.as_progress(True), bars.Terminal)
    assert bars.as_progress(False) is SILENT
    assert bars.as_progress(SILENT) is SILENT


@pytest.mark.parametrize("wrong", [5, "yes", print])
def test_what_can_show_nothing_is_quoted(wrong):
    with pytest.raises(UsageError, match=r"progress=.* shows nothing: give True, False, or an object"):
        bars.as_progress(wrong)
