# SPDX-License-Identifier: Apache-2.0
"""The socket that the app listens on."""

import errno
import socket

from filterlens.errors import FilterlensError


def bound(host: str, port: int) -> socket.socket | None:
    """Return a socket that listens there, or None where the port is taken.

    Raises:
        FilterlensError: The host is not an address of this machine, or the port is not allowed.
    """
    listener: socket.socket | None = None
    try:
        ((family, kind, protocol, _, address), *_) = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            return None
        reason = getattr(error, "strerror", None) or error
        raise FilterlensError(f"Cannot listen on {host}, port {port}: {reason}. Change --host or --port.") from error
    return listener
