# SPDX-License-Identifier: Apache-2.0
"""Where image sets lie on this machine."""

import os
from collections.abc import Iterator
from pathlib import Path

from filterlens.data.catalogue import CATALOGUE, ImageSet, named
from filterlens.data.listing import SUFFIXES
from filterlens.errors import FilterlensError, UsageError

VARIABLE = "FILTERLENS_DATA"


def data_root(root: Path | str | None = None) -> Path:
    """Return the folder of all image sets: what is given, else ``FILTERLENS_DATA``, else the user's cache.

    The cache is ``$XDG_CACHE_HOME/filterlens/data``, by default ``~/.cache/filterlens/data``.
    """
    if root is not None:
        return Path(root).expanduser()
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "filterlens" / "data"


def find_set(name: str, root: Path | str | None = None) -> Path:
    """Return the folder of an image set: ``ROOT/NAME`` or one level deeper (``ROOT/eval/NAME``), in any case.

    Args:
        name: Of a set in the catalogue, or of any folder below the root that holds images (``train/mine``).
        root: As in :func:`data_root`.

    Raises:
        UsageError: The catalogue has no such set, and there is no such folder.
        FilterlensError: A set of the catalogue is not on this machine; the message says how to get it.
    """
    place = data_root(root)
    found = locate(name, place)
    if found is not None:
        return found
    try:
        entry = named(name)
    except UsageError as error:
        raise UsageError(f"{error} Nor does '{place}' hold a folder of that name with images.") from None
    raise FilterlensError(missing_message(entry, place))


def locate(name: str, root: Path) -> Path | None:
    """Return the folder of a set below ``root``, or None where it is not there; see :func:`find_set`."""
    entry = CATALOGUE.get(name.lower())
    folders = (entry.name, *entry.folders) if entry else (name,)
    for folder in folders:
        for path in _below(root, folder):
            if _holds_images(path):
                return path
    return None


def missing_message(entry: ImageSet, root: Path) -> str:
    """Say in one line which folder was looked for and how to get the set."""
    looked = ", ".join((entry.name, *entry.folders))
    way = f"`filterlens data get {entry.name}` fetches it" if entry.sources else "It cannot be fetched by a command"
    return (
        f"Image set '{entry.name}' ({entry.title}, {entry.images} images) is not in '{root}' (looked for {looked}, "
        f"there and one level deeper). {way}; its official place is {entry.page}. Or copy your own to "
        f"'{root / entry.name}', or name another folder with --data or {VARIABLE}."
    )


def _below(root: Path, folder: str) -> Iterator[Path]:
    """Yield the folders that ``folder`` (perhaps with slashes) may mean, nearest first, whatever their case."""
    parts = folder.lower().split("/")
    for start in (root, *_folders(root)):
        places = [start]
        for part in parts:
            places = [path for place in places for path in _folders(place) if path.name.lower() == part]
        yield from places


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))
    except OSError:
        return []


def _holds_images(path: Path) -> bool:
    try:
        return any(each.suffix.lower() in SUFFIXES for each in path.iterdir())
    except OSError:
        return False
