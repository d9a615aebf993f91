# SPDX-License-Identifier: Apache-2.0
"""Serving the page on this machine, and on nothing else unless told so."""

import contextlib
import errno
import importlib.util
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filterlens.errors import FilterlensError, UsageError
from filterlens.workflow.studio.studio import Studio

LOCALHOST = "127.0.0.1"
FIRST_PORT, PORTS = 7860, 20
MOST_BYTES = 64 * 2**20  # of an upload


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
    if port is not None and not 1 <= port <= 65535:
        raise UsageError(f"Port {port} is not legal: 1 to 65535.")
    tried = [port] if port is not None else range(FIRST_PORT, FIRST_PORT + PORTS)
    for candidate in tried:
        if _is_free(host, candidate):
            return candidate
    if port is None:
        raise FilterlensError(f"Ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} on {host} are all in use. Use --port.")
    raise FilterlensError(f"Port {port} on {host} is in use. Choose another with --port, or leave --port out.")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        reason = error.strerror or error
        raise FilterlensError(f"Cannot listen on {host}, port {port}: {reason}. Change --host or --port.") from error
    return True


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield the only folder that the app writes to; it goes when the block ends."""
    with tempfile.TemporaryDirectory(prefix="filterlens-app-", ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


@contextlib.contextmanager
def served(studio: Studio, scratch: Path, *, host: str = LOCALHOST, port: int) -> Iterator[str]:
    """Serve the page while the block runs, and yield its address.

    Args:
        studio: Computes.
        scratch: Folder for uploads and results.
        host: Address to listen on.
        port: A free port.

    Raises:
        FilterlensError: The server does not start.
    """
    uploads, pictures = scratch / "gradio", scratch / "pictures"
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    from filterlens.app.assets import asset_path
    from filterlens.app.colours import colours
    from filterlens.app.handlers import Handlers
    from filterlens.app.only_local import OnlyLocal
    from filterlens.app.page import build_page
    from filterlens.app.shelf import Shelf
    from filterlens.app.theme import style, theme

    pictures.mkdir(exist_ok=True)
    page = build_page(Handlers(studio, Shelf(pictures, uploads)))
    settings: dict[str, Any] = {
        "server_name": host, "server_port": port, "theme": theme(), "css": style(colours(studio.degradations).values()),
        "favicon_path": asset_path("favicon.svg"), "allowed_paths": [str(pictures)], "max_file_size": MOST_BYTES,
        "app_kwargs": {"middleware": [(OnlyLocal, (), {})]}, "show_error": True, "footer_links": [], "share": False,
        "ssr_mode": False, "pwa": False, "mcp_server": False, "enable_monitoring": False, "inbrowser": False,
        "quiet": True, "prevent_thread_lock": True,
    }  # fmt: skip
    try:
        page.launch(**settings)
    except OSError as error:
        raise FilterlensError(f"Cannot serve on {host}, port {port}: {error}. Choose another with --port.") from error
    try:
        yield f"http://{_written(host)}:{port}"
    finally:
        page.close(verbose=False)


def serve(
    studio: Studio, scratch: Path, *, host: str, port: int | None, browser: bool, note: Callable[[str], None]
) -> None:
    """Serve the page until the user stops it (Ctrl+C, or a polite kill)."""
    with served(studio, scratch, host=host, port=free_port(host, port)) as address, _stoppable() as stopped:
        note(f"The app is at {address} (Ctrl+C ends it).")
        if host not in (LOCALHOST, "localhost", "::1"):
            note(f"Listening on {host}: whoever reaches this machine can use it. There is no password.")
        if browser:
            import webbrowser

            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):
            stopped.wait()


@contextlib.contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM sets, so that temporary files go then too."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, before)


def _written(host: str) -> str:
    """Write a host as a browser wants it."""
    if host in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host else host
