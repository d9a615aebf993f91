# SPDX-License-Identifier: Apache-2.0
"""The only folder that the app writes to. It goes when the app ends; what killed apps left goes with the next start."""

import contextlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from filterlens.errors import FilterlensError
from filterlens.files import HOLDER, LOCK, folder_lock, read_json

_PREFIX = "filterlens-app-"
_TRIES = 3


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new temporary folder that is this process's own; it goes when the block ends.

    Raises:
        FilterlensError: There is no place for temporary files.
    """
    _sweep()
    with contextlib.ExitStack() as stack:
        yield _held(stack)


def _held(stack: contextlib.ExitStack) -> Path:
    """Make a folder, and hold it until the stack closes."""
    for tries_left in reversed(range(_TRIES)):
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
        except OSError as error:
            reason = error.strerror or error
            raise FilterlensError(f"Cannot make a temporary folder: {reason}. Free the disk or set TMPDIR.") from error
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            stack.enter_context(folder_lock(folder, "app"))
            return folder
        except FilterlensError:  # another app that starts took it for a killed one's
            if not tries_left:
                raise
    raise AssertionError


def _sweep() -> None:
    """Remove the folders of apps that no longer run."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, Timeout, FilterlensError):  # held, or not ours to remove
            if _is_ours(folder):
                with FileLock(folder / LOCK, blocking=False):
                    shutil.rmtree(folder)


def _is_ours(folder: Path) -> bool:
    """Whether an app of this user on this machine made the folder."""
    if folder.is_symlink() or not folder.is_dir() or not (folder / LOCK).is_file() or (folder / LOCK).is_symlink():
        return False
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        return False
    holder = folder / HOLDER
    return not holder.exists() or read_json(holder).get("host") == platform.node()
