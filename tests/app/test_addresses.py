# SPDX-License-Identifier: Apache-2.0
"""Which names are the app's own, and which pages are."""

import socket

import pytest

from filterlens.app.addresses import Addresses

LOCAL = Addresses.of("127.0.0.1", "127.0.0.1", 7860)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "LOCALHOST:7860", "[0:0:0:0:0:0:0:1]:7860"]
)
def test_names_of_this_machine_are_the_same_app(host):
    assert LOCAL.are(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "127.0.0.1",
        "localhost",
        "localhost:80",
        "localhost:7861",
        "localhost.:7860",
        "127.0.0.1.evil.example:7860",
        "localhost.evil.example:7860",
        "user@localhost:7860",
        "localhost:7860@evil.example",
        "127.0.0.1:7860.evil.example",
        "2130706433:7860",
        "0x7f000001:7860",
        "127.1:7860",
        "127.0.0.2:7860",
        "0.0.0.0:7860",
        "[::]:7860",
        "[::ffff:127.0.0.1]:7860",
        "::1:7860",
        "[::1%25lo]:7860",
        "localhost:7860, evil.example",
        "",
        " localhost:7860",
        "localhost:7860 ",
        "localhost:07860000",
        "localhost:-1",
        "localhost:",
        "xn--lcalhost-x1a:7860",
        "a" * 5000,
    ],
)
def test_other_names_are_not(host):
    assert not LOCAL.are(host)


def test_without_a_port_it_is_the_usual_one():
    assert Addresses.of("127.0.0.1", "127.0.0.1", 80).are("localhost")


def test_a_named_address_is_the_only_one():
    named = Addresses.of("Studio.example", "192.0.2.7", 7860)
    assert named.are("studio.example:7860")
    assert named.are("192.0.2.7:7860")
    assert not any(named.are(f"{other}:7860") for other in ("localhost", "127.0.0.1", "192.0.2.8", "example"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_everywhere_takes_numbers_and_the_machines_own_name(host):
    """Nobody can let a number point to another machine, so rebinding needs a name."""
    everywhere = Addresses.of(host, host, 7860)
    own = socket.gethostname()
    assert all(everywhere.are(f"{each}:7860") for each in ("192.0.2.7", "[2001:db8::7]", "localhost", own))
    assert not everywhere.are("evil.example:7860")
    assert everywhere.sent("http://192.0.2.7:7860", "192.0.2.7:7860")
    assert not everywhere.sent("http://192.0.2.8:7860", "192.0.2.7:7860")  # the page of another machine


@pytest.mark.parametrize("origin", ["http://127.0.0.1:7860", "http://localhost:7860", "http://[::1]:7860"])
def test_the_own_page_may_ask_by_any_of_the_names(origin):
    assert LOCAL.sent(origin, "localhost:7860")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://evil.example:7860",
        "https://127.0.0.1:7860",
        "http://127.0.0.1",
        "http://127.0.0.1:8888",
        "http://localhost:7860.evil.example",
        "http://user@localhost:7860",
        "http://localhost:7860/",
        "file://",
        "chrome-extension://abc",
        "localhost:7860",
        "http://localhost:7860 http://evil.example",
    ],
)
def test_other_pages_may_not(origin):
    assert not LOCAL.sent(origin, "127.0.0.1:7860")
