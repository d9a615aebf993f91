# SPDX-License-Identifier: Apache-2.0
"""The catalogue of the field's image sets: official address, terms, and folder on this machine.

The entries are in ``sets.toml``, the digests of pixels in ``pixels.json``.
"""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from filterlens.data.listing import SUFFIXES
from filterlens.errors import FilterlensError, UsageError, unknown

VARIABLE = "FILTERLENS_DATA"
DIGEST_DIGITS = 32


@dataclass(frozen=True)
class Source:
    """One place from which a whole set can be had.

    Attributes:
        addresses: An archive (zip or tar), or every image by itself.
        pattern: Shell pattern over the paths in the archive that selects the set's files.
        checksum: The archive's checksum, ``sha256:…`` or ``md5:…``; None where no public one is known.
    """

    addresses: tuple[str, ...]
    pattern: str = "*"
    checksum: str | None = None


@dataclass(frozen=True)
class ImageSet:
    """One named set.

    Attributes:
        name: Name in commands, and of its folder.
        title: Name in papers.
        images: Number of images.
        licence: The publisher's terms, in short.
        page: The official page, for people.
        sources: Places from which a command can fetch it, the first preferred; empty where its terms ask for a request.
        note: Advice for the user.
        folders: Other folder names under which it is found.
        longest: The longer side of every image in pixels, where all have the same.
        left_out: Stems in the archive that are not taken.
        pixels: Standard name → digest of its pixels, where known.
    """

    name: str
    title: str
    images: int
    licence: str
    page: str
    sources: tuple[Source, ...] = ()
    note: str = ""
    folders: tuple[str, ...] = ()
    longest: int | None = None
    left_out: tuple[str, ...] = ()
    pixels: Mapping[str, str] = field(default_factory=dict)


def _read() -> dict[str, ImageSet]:
    shipped = files("filterlens.data")
    pixels = json.loads(shipped.joinpath("pixels.json").read_text(encoding="utf-8"))
    sets: dict[str, Any] = tomllib.loads(shipped.joinpath("sets.toml").read_text(encoding="utf-8"))
    entries = {name: {"name": name, "pixels": pixels.get(name, {}), **facts} for name, facts in sets.items()}
    return TypeAdapter(dict[str, ImageSet], config=ConfigDict(extra="forbid")).validate_python(entries)


CATALOGUE: dict[str, ImageSet] = _read()


def named(name: str) -> ImageSet:
    """Return a set by its name, in any case.

    Raises:
        UsageError: The catalogue has no such set; the nearest name is quoted.
    """
    if name.lower() not in CATALOGUE:
        raise unknown("image set", name, CATALOGUE)
    return CATALOGUE[name.lower()]


def data_root(root: Path | str | None = None) -> Path:
    """Return the folder of all image sets: ``root``, else ``FILTERLENS_DATA``, else the user's cache.

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
        name: Name of a set in the catalogue, or of any folder below the root that holds images (``train/mine``).
        root: Folder of all image sets, as in :func:`data_root`.

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
