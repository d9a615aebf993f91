# SPDX-License-Identifier: Apache-2.0
"""The app's own addresses: what a request may name as its host, and which pages may ask.

A page of another site can let its name point to this machine (DNS rebinding); then the browser takes the app for a
part of that site. The name still stands in the request, and there it is refused.
"""

import ipaddress
import re
import socket
from dataclasses import dataclass

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_NAME = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
_PLACE = re.compile(rf"(?:\[(?P<six>[0-9a-f:.]{{2,45}})\]|(?P<name>{_NAME}))(?::(?P<port>[0-9]{{1,5}}))?")
_HTTP = "http://"
_HTTP_PORT = 80

Place = tuple[str, int]


@dataclass(frozen=True)
class Addresses:
    """Where an app is reached.

    Attributes:
        names: Host names and IP addresses, lower case, IPv6 without brackets.
        port: The port.
        by_number: Whether every IP address counts: nobody can let a number point elsewhere.
    """

    names: frozenset[str]
    port: int
    by_number: bool = False

    @classmethod
    def of(cls, host: str, bound: str, port: int) -> "Addresses":
        """Return the addresses of an app.

        Args:
            host: What it was told to listen on.
            bound: The IP address that this is.
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
