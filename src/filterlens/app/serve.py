# SPDX-License-Identifier: Apache-2.0
"""Serve the page on this machine only, unless the user names another address."""

import contextlib
import errno
import importlib.util
import ipaddress
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from filterlens.app.asgi import Application
from filterlens.app.only_local import Addresses
from filterlens.app.studio import Studio
from filterlens.errors import FilterlensError, UsageError
from filterlens.progress import Note

LOCALHOST = "127.0.0.1"
FIRST_PORT, PORTS = 7860, 20


def check_gradio() -> None:
    """Say what is missing before anything slow begins.

    Raises:
        FilterlensError: gradio is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise FilterlensError("The app needs gradio, which is not installed. pip install 'filterlens[app]'")


def free_port(host: str, port: int | None) -> int:
    """Return the wanted port if it can be listened on, or the first free one from 7860 on.

    Raises:
        FilterlensError: It is taken, or the host is not an address of this machine.
        UsageError: The port is not legal.
    """
    with listening(host, port) as listener:
        return int(listener.getsockname()[1])


def listening(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens on the wanted port, or on the first free one; raises as :func:`free_port`."""
    if port is not None and not 1 <= port <= 65535:
        raise UsageError(f"Port {port} is not legal: 1 to 65535.")
    for candidate in [port] if port is not None else range(FIRST_PORT, FIRST_PORT + PORTS):
        listener = _bound(_bare(host), candidate)
        if listener is not None:
            return listener
    if port is None:
        raise FilterlensError(f"Ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} on {host} are all in use. Use --port.")
    raise FilterlensError(f"Port {port} on {host} is in use. Choose another with --port, or leave --port out.")


def _bound(host: str, port: int) -> socket.socket | None:
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


class Server:
    """A web server in a thread, on a socket that is bound already, so that no other program takes the port in between.

    Args:
        app: The application to serve.
        listener: The listening socket; it is closed with the server.

    Raises:
        FilterlensError: The application does not start.
    """

    def __init__(self, app: Application, listener: socket.socket) -> None:
        import uvicorn

        config = uvicorn.Config(
            app, http="h11", ws="none", lifespan="on", log_level="error", access_log=False, server_header=False,
            proxy_headers=False, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise FilterlensError("The app's server does not start. Reinstall it: pip install 'filterlens[app]'")
            time.sleep(0.01)

    def close(self) -> None:
        """End the answers that are on their way, and free the port."""
        self._server.should_exit = True
        self._thread.join()


@contextlib.contextmanager
def served(studio: Studio, scratch: Path, listener: socket.socket, *, host: str = LOCALHOST) -> Iterator[str]:
    """Serve the page while the block runs, and yield its address.

    Args:
        studio: The studio that computes.
        scratch: Folder for uploads and results.
        listener: The listening socket; it is closed in the end.
        host: The host as the user named it.

    Raises:
        FilterlensError: The server does not start, or the network makes no picture.
    """
    from filterlens.app.assembled import assembled

    name, port = listener.getsockname()[:2]
    with listener, assembled(studio, scratch, Addresses.of(_bare(host), name, port)) as app:
        server = Server(app, listener)
        try:
            yield f"http://{_written(_bare(host))}:{port}"
        finally:
            app.close()
            server.close()


def serve(studio: Studio, scratch: Path, *, host: str, port: int | None, browser: bool, note: Note) -> None:
    """Serve the page until the user stops it (Ctrl+C, or a polite kill)."""
    listener = listening(host, port)
    with served(studio, scratch, listener, host=host) as address, _stoppable() as stopped:
        note(f"The app is at {address} (Ctrl+C ends it).")
        if not ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback:
            note(f"Listening on {host}: whoever reaches this machine can use it. There is no password.")
        if browser:
            import webbrowser

            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):
            stopped.wait()


@contextlib.contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Yield an event that a polite kill or a closed terminal sets, so that temporary files go then too."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    kinds = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {kind: signal.signal(kind, lambda *_: event.set()) for kind in kinds}
    try:
        yield event
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _bare(host: str) -> str:
    """Return a host without the brackets of an IPv6 address."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _written(host: str) -> str:
    """Write a host as a browser wants it."""
    if host in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host else host
