# SPDX-License-Identifier: Apache-2.0
"""Where the app listens, and what it says when it cannot."""

import importlib.util
import re
import socket

import pytest

from filterlens.app import serve
from filterlens.app.scratch import scratch_folder
from filterlens.app.serve import check_gradio, free_port, listening
from filterlens.errors import FilterlensError, UsageError


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_one_clear_line(taken):
    message = f"Port {taken} on 127.0.0.1 is in use. Choose another with --port, or leave --port out."
    with pytest.raises(FilterlensError, match=f"^{re.escape(message)}$"):
        free_port("127.0.0.1", taken)


def test_without_a_port_the_next_free_one_is_taken(taken, monkeypatch):
    monkeypatch.setattr(serve, "FIRST_PORT", taken)
    assert taken < free_port("127.0.0.1", None) < taken + serve.PORTS


def test_when_all_are_taken_that_is_said(taken, monkeypatch):
    monkeypatch.setattr(serve, "FIRST_PORT", taken)
    monkeypatch.setattr(serve, "PORTS", 1)
    with pytest.raises(FilterlensError, match="are all in use"):
        free_port("127.0.0.1", None)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_ports_that_are_none_are_refused(port):
    with pytest.raises(UsageError, match="1 to 65535"):
        free_port("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])  # the first is reserved for documentation
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(FilterlensError, match=f"Cannot listen on {host}"):
        free_port(host, None)


@pytest.mark.parametrize("host", ["::1", "[::1]", "localhost", "127.0.0.1"])
def test_all_names_of_this_machine_can_be_listened_on(host):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("there is no IPv6 here")
    with listening(host, None) as listener:
        assert listener.getsockname()[0] in ("::1", "127.0.0.1")
        port = listener.getsockname()[1]
        with pytest.raises(
            FilterlensError, match=f"Port {port} on .* is in use"
        ):  # from now on, not only once it serves
            free_port(host, port)


@pytest.mark.parametrize(
    ("host", "written"), [("::1", "[::1]"), ("::", "localhost"), ("0.0.0.0", "localhost"), ("192.0.2.7", "192.0.2.7")]
)
def test_an_address_is_written_as_a_browser_reads_it(host, written):
    assert serve._written(host) == written


def test_gradio_missing_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FilterlensError, match=r"pip install 'filterlens\[app\]'"):
        check_gradio()


def test_the_scratch_folder_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_folder() as folder:
        (folder / "picture.png").write_bytes(b"x")
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []
