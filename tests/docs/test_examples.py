# SPDX-License-Identifier: Apache-2.0
"""Every example of the gallery runs, at reduced size and as it stands; the site, which CI makes, runs them too."""

import re
import time

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pytest
import torch

from tests.docs.pages import EXAMPLES

SCRIPTS = sorted(EXAMPLES.glob("plot_*.py"))
SMALL = {"SIDE": 64, "STEPS": 30}
MOST_SECONDS = 40  # of one core; the gallery promises 20 on a machine that does nothing else


@pytest.fixture(autouse=True)
def _closed_figures(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: None)
    torch.manual_seed(0)
    yield
    plt.close("all")


def reduced(source: str) -> str:
    """Shrink the constants at the top; everything else stays as the reader sees it."""
    for name, value in SMALL.items():
        source = re.sub(rf"^{name} = \d+", f"{name} = {value}", source, flags=re.MULTILINE)
    return source


def run(source: str, name: str) -> None:
    exec(compile(source, name, "exec"), {"__name__": "__main__"})


def shows_something(figure) -> bool:
    return any(axis.images or axis.lines or axis.patches or axis.collections for axis in figure.axes)


def test_there_are_at_least_eight_examples():
    if not EXAMPLES.is_dir():
        pytest.skip("the examples are not beside the tests (installed without a checkout)")
    assert len(SCRIPTS) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_example_runs_at_reduced_size_and_draws(script):
    run(reduced(script.read_text(encoding="utf-8")), script.name)
    figures = [plt.figure(number) for number in plt.get_fignums()]
    assert figures and all(shows_something(figure) for figure in figures)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_example_runs_as_it_stands_in_the_time_that_the_gallery_promises(script):
    started = time.process_time()
    run(script.read_text(encoding="utf-8"), script.name)
    assert time.process_time() - started < MOST_SECONDS
    assert plt.get_fignums()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_example_tells_its_story(script):
    text = script.read_text(encoding="utf-8")
    assert text.startswith('# SPDX-License-Identifier: Apache-2.0\n"""\n')
    title, underline = text.splitlines()[2:4]
    assert title and underline == "=" * len(title)
    assert text.count("\n# %%\n") >= 3 and "plt.show()" in text
