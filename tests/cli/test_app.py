# SPDX-License-Identifier: Apache-2.0
"""``filterlens app`` says in one line what keeps it from starting."""

import importlib.util
import socket

import pytest


@pytest.fixture
def with_gradio(monkeypatch):
    """As if gradio were installed: nothing of it is needed to refuse."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: name == "gradio" or find(name, *rest))


def test_without_gradio_it_says_how_to_get_it(run, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "gradio" else find(name, *rest)
    )
    outcome = run("app")
    assert outcome.code == 1
    assert outcome.err == "error: The app needs gradio, which is not installed. pip install 'filterlens[app]'\n"


def test_a_port_in_use_is_one_line(run, with_gradio):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        outcome = run("app", "--port", port)
    assert outcome.code == 1
    assert outcome.err.startswith(f"error: Port {port} on 127.0.0.1 is in use.")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "70000"], "Port 70000 is not legal"),
        (["--pair", "srresnet-x9"], "Unknown pretrained pair 'srresnet-x9'"),
        (["--pair", "srresnet-x2", "--run", "runs/demo"], "Give one of --pair, --run"),
        (["--baseline", "before.pth"], "--target is missing"),
        (["--degradation", "blur:2"], "--degradation goes with --baseline"),
        (["--precision", "fp8"], "Unknown precision 'fp8'"),
    ],
)
def test_wrong_use_is_told(run, with_gradio, arguments, words):
    outcome = run("app", "--no-browser", *arguments)
    assert outcome.code == 2
    assert words in outcome.err
