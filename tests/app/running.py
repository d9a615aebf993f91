# SPDX-License-Identifier: Apache-2.0
"""The app in a process of its own: gradio's server leaves sockets open in the process where it ran."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Running:
    """An app that runs, or ran.

    Attributes:
        address: Of its page.
        process: Its number.
        calls: File with the addresses that it connected to beyond this machine.
        errors: File with what it said on its standard error.
        code: Exit code, when it ended.
    """

    address: str
    process: int
    calls: Path
    errors: Path
    code: int | None = None

    def called(self) -> list[str]:
        return self.calls.read_text().split()


@contextlib.contextmanager
def running(kind: str, scratch: Path) -> Iterator[Running]:
    """Run the app while the block runs: ``small`` is a random pair, ``shipped`` the default."""
    calls, errors = scratch / "called.txt", scratch / "errors.txt"
    calls.write_text("")
    command = [sys.executable, "-W", "ignore", "-m", "tests.app.running", kind, str(calls)]
    environment = os.environ | {"TMPDIR": str(scratch), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    root = Path(__file__).parents[2]
    with (
        errors.open("w") as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment, cwd=root) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise AssertionError(f"the app ended with {process.wait()}: {errors.read_text()}")
        app = Running(line.split()[4], process.pid, calls, errors)
        try:
            yield app
        finally:
            process.send_signal(signal.SIGTERM)
            app.code = process.wait(60)


def _serve(kind: str, calls: Path) -> None:
    import socket

    connect = socket.socket.connect

    def told(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            with calls.open("a") as file:
                file.write(f"{address[0]}\n")
        connect(self, address)  # type: ignore[arg-type]

    socket.socket.connect = told  # type: ignore[method-assign, assignment]
    import torch

    from filterlens.app import serve
    from filterlens.app.scratch import scratch_folder
    from filterlens.app.studio import open_studio
    from tests.app.conftest import small_studio

    with scratch_folder() as scratch:
        studio = small_studio() if kind == "small" else open_studio(scratch=scratch, device=torch.device("cpu"))
        note = lambda text: print(text, flush=True)  # noqa: E731
        serve.serve(studio, scratch, host="127.0.0.1", port=None, browser=False, note=note)


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]))
