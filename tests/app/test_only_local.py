# SPDX-License-Identifier: Apache-2.0
"""Who is answered: the own page at the own address, and nobody else, whatever the route."""

import asyncio

import pytest

from filterlens.app.addresses import Addresses
from filterlens.app.only_local import OnlyLocal
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
