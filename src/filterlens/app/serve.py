# SPDX-License-Identifier: Apache-2.0
"""Serving the page on this machine, and on nothing else unless told so."""

import contextlib
import importlib.util
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from filterlens.app.addresses import Addresses
from filterlens.app.listener import bound
from filterlens.app.scratch import scratch_folder
from filterlens.errors import FilterlensError, UsageError
from filterlens.jobs.studio.studio import Studio

__all__ = ["check_gradio", "free_port", "listening", "scratch_folder", "serve", "served"]

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
        listener = bound(_bare(host), candidate)
        if listener is not None:
            return listener
    if port is None:
        raise FilterlensError(f"Ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} on {host} are all in use. Use --port.")
    raise FilterlensError(f"Port {port} on {host} is in use. Choose another with --port, or leave --port out.")


@contextlib.contextmanager
def served(studio: Studio, scratch: Path, listener: socket.socket, *, host: str = LOCALHOST) -> Iterator[str]:
    """Serve the page while the block runs, and yield its address.

    Args:
        studio: Computes.
        scratch: Folder for uploads and results.
        listener: Listens; it is closed in the end.
        host: What the user called it.

    Raises:
        FilterlensError: The server does not start, or the network makes no picture.
    """
    from filterlens.app.assembled import assembled
    from filterlens.app.server import Server

    name, port = listener.getsockname()[:2]
    with listener, assembled(studio, scratch, Addresses.of(_bare(host), name, port)) as app:
        server = Server(app, listener)
        try:
            yield f"http://{_written(_bare(host))}:{port}"
        finally:
            app.close()
            server.close()


def serve(
    studio: Studio, scratch: Path, *, host: str, port: int | None, browser: bool, note: Callable[[str], None]
) -> None:
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
