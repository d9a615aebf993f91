# SPDX-License-Identifier: Apache-2.0
"""The allowed callers: only the app's own page, at the app's own address. This check precedes all others.

A page of another site can let its name point to this machine (DNS rebinding); then the browser takes the app for a
part of that site. But the request still holds the name, and is refused by it.
"""

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from filterlens.app.asgi import PROTECTION, Application, Message, Receive, Send, answer, values

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_NAME = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
_PLACE = re.compile(rf"(?:\[(?P<six>[0-9a-f:.]{{2,45}})\]|(?P<name>{_NAME}))(?::(?P<port>[0-9]{{1,5}}))?")
_HTTP = "http://"
_HTTP_PORT = 80

Place = tuple[str, int]
_CLAIMS = (b"x-forwarded-", b"x-gradio-", b"x-real-", b"x-original-")  # of a proxy, which there is none
_SHARED = b"access-control-"


@dataclass(frozen=True)
class Addresses:
    """Where an app is reached.

    Attributes:
        names: Host names and IP addresses, lower case, IPv6 without brackets.
        port: The port.
        by_number: Whether every IP address counts: a number, unlike a name, cannot point elsewhere.
    """

    names: frozenset[str]
    port: int
    by_number: bool = False

    @classmethod
    def of(cls, host: str, bound: str, port: int) -> "Addresses":
        """Return the addresses of an app.

        Args:
            host: The host that it was told to listen on.
            bound: The IP address of that host.
            port: The port.
        """
        number = ipaddress.ip_address(bound.partition("%")[0])
        names = {host.lower(), str(number)}
        if number.is_unspecified:
            machine = {socket.gethostname().lower(), socket.getfqdn().lower()}
            return cls(frozenset(names | LOOPBACK | machine), port, by_number=True)
        return cls(frozenset(names | LOOPBACK if number.is_loopback else names), port)

    def are(self, host: str) -> bool:
        """Whether a ``Host`` header names this app."""
        place = _place(host)
        return place is not None and self._has(place)

    def sent(self, origin: str, host: str) -> bool:
        """Whether an ``Origin`` header is that of this app's own page, as the host of the same request says."""
        page, place = _place(origin.removeprefix(_HTTP)), _place(host)
        if not origin.lower().startswith(_HTTP) or page is None or place is None or not self._has(page):
            return False
        return page == place or {page[0], place[0]} <= LOOPBACK

    def _has(self, place: Place) -> bool:
        name, port = place
        return port == self.port and (name in self.names or (self.by_number and _number(name) is not None))


class OnlyLocal:
    """ASGI middleware that answers 403 to requests by other names and from other pages, before anything is stored.

    Args:
        app: The application that answers all others.
        addresses: The app's own addresses.
    """

    def __init__(self, app: Application, addresses: Addresses) -> None:
        self._app, self._addresses = app, addresses

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # the page opens none
        elif trouble := self._trouble(scope):
            await answer(scope, receive, send, 403, trouble)
        else:
            kept = [(name, value) for name, value in scope["headers"] if not _is_claim(name.lower())]
            await self._app({**scope, "headers": kept}, receive, protected(send))

    def _trouble(self, scope: Message) -> str:
        """Say what is wrong with where a request comes from; empty for nothing."""
        hosts, origins = values(scope, b"host"), values(scope, b"origin")
        if len(hosts) != 1 or not self._addresses.are(hosts[0]):
            return (
                "This app answers only at the address that it printed when it started. Through a tunnel, use the same "
                f"port here and there: {self._addresses.port}."
            )
        if any(not self._addresses.sent(origin, hosts[0]) for origin in origins):
            return "This app answers only its own page."
        if not is_visit(scope) and not self._is_own_page(scope, hosts[0]):
            return "This app answers only its own page."
        return ""

    def _is_own_page(self, scope: Message, host: str) -> bool:
        """Whether nothing in the request says that another page asked."""
        sites, referers = values(scope, b"sec-fetch-site"), values(scope, b"referer")
        if any(site not in ("same-origin", "none") for site in sites):
            return False
        return all(self._addresses.sent(_origin(referer), host) for referer in referers)


def is_visit(scope: Message) -> bool:
    """Whether somebody opens the page, by a link from wherever it may be."""
    inside = set(values(scope, b"sec-fetch-dest")) - {"document"}
    return scope["method"] in ("GET", "HEAD") and scope["path"] == "/" and not inside


def protected(send: Send) -> Send:
    """Wrap ``send`` so that answers are for the app's own page: no other may read or frame them."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message.get("headers", []) if not name.lower().startswith(_SHARED)]
            message = {**message, "headers": [*kept, *PROTECTION]}
        await send(message)

    return sent


def _is_claim(name: bytes) -> bool:
    return name == b"forwarded" or name.startswith(_CLAIMS)


def _origin(referer: str) -> str:
    try:
        parts = urlsplit(referer)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}"


def _place(text: str) -> Place | None:
    """Read ``name:port``; None for what is none, such as one with a user name or a dot at its end."""
    found = _PLACE.fullmatch(text.lower())
    if found is None:
        return None
    port = int(found["port"] or _HTTP_PORT)
    if found["name"]:
        return found["name"], port
    six = _number(found["six"])
    return None if six is None else (six, port)


def _number(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
