# SPDX-License-Identifier: Apache-2.0
"""Who is answered: the own page at the own address, and nobody else, whatever the route."""

import asyncio
import socket

import pytest

from filterlens.app.only_local import Addresses, OnlyLocal
from tests.app.asking import HOME, ask


class Inner:
    """Remembers what reached it, and shares its answers as gradio does."""

    def __init__(self):
        self.scopes = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        shared = [
            (b"Access-Control-Allow-Origin", b"http://evil.example"),
            (b"access-control-allow-credentials", b"true"),
        ]
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html"), *shared]}
        )
        await send({"type": "http.response.body", "body": b"page"})


@pytest.fixture
def inner():
    return Inner()


@pytest.fixture
def app(inner):
    return OnlyLocal(inner, Addresses.of("127.0.0.1", "127.0.0.1", 7860))


ROUTES = [
    "/",
    "/config",
    "/assets/index.js",
    "/static/x.js",
    "/gradio_api/upload",
    "/gradio_api/queue/join",
    "/gradio_api/queue/data",
    "/gradio_api/heartbeat/abc",
    "/gradio_api/file=/etc/passwd",
    "/nothing",
]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD", "PUT"])
@pytest.mark.parametrize("path", ROUTES)
def test_another_name_is_refused_before_anything_is_stored(app, inner, path, method):
    for foreign in ({"host": "evil.example"}, {"headers": [("origin", "http://evil.example")]}):
        answer = ask(app, path, method=method, body=[b"x"] * 3, **foreign)
        assert (answer.status, inner.scopes) == (403, [])
        assert answer.header("access-control-allow-origin") == []


def test_the_own_page_is_answered_to_nobody_else(app):
    answer = ask(app, headers=[("origin", f"http://{HOME}")])
    assert (answer.status, answer.text) == (200, "page")
    assert answer.header("access-control-allow-origin") == answer.header("access-control-allow-credentials") == []
    assert answer.header("x-frame-options") == ["DENY"]
    assert answer.header("x-content-type-options") == ["nosniff"]
    assert answer.header("content-type") == ["text/html"]


def test_who_still_sends_is_heard_out_and_told(app):
    """A client that reads nothing before it has sent all would see a broken connection."""
    answer = ask(app, method="POST", host="evil.example", body=[b"x" * 100] * 9)
    assert (answer.status, answer.read) == (403, 9)
    assert ask(app, method="POST", host="evil.example", headers=[("expect", "100-continue")], body=[b""]).read == 0


@pytest.mark.parametrize("host", [None, ""])
def test_a_request_without_a_host_is_refused(app, host):
    assert ask(app, host=host).status == 403


def test_two_hosts_or_two_origins_are_refused(app):
    assert ask(app, headers=[("host", "evil.example")]).status == 403
    assert ask(app, headers=[("Host", HOME)]).status == 403
    own, foreign = ("origin", f"http://{HOME}"), ("Origin", "http://evil.example")
    assert ask(app, headers=[own, foreign]).status == 403


def test_the_error_says_which_port_a_tunnel_needs(app):
    assert "7860" in ask(app, host="localhost:8000").text


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_a_browser_that_says_who_asks_is_believed(app, site):
    told = ("sec-fetch-site", site)
    assert ask(app, "/gradio_api/queue/data", headers=[told]).status == 403
    assert ask(app, "/", headers=[told, ("sec-fetch-dest", "iframe")]).status == 403
    assert ask(app, "/", headers=[told], method="POST").status == 403
    assert ask(app, "/", headers=[told, ("sec-fetch-dest", "document")]).status == 200  # a link to the app


@pytest.mark.parametrize("referer", ["http://evil.example/", "http://localhost:8888/lab", "https://[", "about:blank"])
def test_a_page_of_another_site_gets_nothing_but_the_page(app, referer):
    assert ask(app, "/gradio_api/heartbeat/abc", headers=[("referer", referer)]).status == 403
    assert ask(app, "/", headers=[("referer", referer)]).status == 200


def test_its_own_referer_is_right(app):
    assert (
        ask(app, "/config", headers=[("referer", f"http://{HOME}/?x"), ("sec-fetch-site", "same-origin")]).status == 200
    )


def test_what_a_proxy_would_claim_is_not_handed_on(app, inner):
    claims = ["x-forwarded-host", "X-Forwarded-Proto", "forwarded", "x-gradio-server", "x-original-url", "x-real-ip"]
    ask(app, headers=[(claim, "evil.example") for claim in claims] + [("accept", "*/*")])
    assert [name for name, _ in inner.scopes[0]["headers"]] == [b"host", b"accept"]


def test_no_websocket_is_opened(app, inner):
    sent = []

    async def send(message):
        sent.append(message["type"])

    asyncio.run(app({"type": "websocket", "path": "/", "headers": [(b"host", HOME.encode())]}, None, send))
    assert (sent, inner.scopes) == (["websocket.close"], [])


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
