# SPDX-License-Identifier: Apache-2.0
"""Pairs as the record of a run names them, so that a later command reads the same files, or says which are gone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filterlens.data.matching import listed
from filterlens.data.pairs import as_pairs
from filterlens.data.samples import PairedSample
from filterlens.errors import FilterlensError, quoted
from filterlens.files import sha256_of

_TEXTS = ("path", "sha256", "absolute", "relative")
Places = Callable[[Mapping[str, Any]], Iterable[Path]]


def as_named(entry: Mapping[str, Any]) -> list[Path]:
    """Return the place of a recorded file: its path."""
    return [Path(entry["path"])] if entry.get("path") else []


@dataclass(frozen=True)
class RecordedPairs:
    """Names, files and hashes of the pairs of one degradation.

    Attributes:
        name: Name of the degradation.
        entries: What :meth:`filterlens.data.samples.PairedSample.provenance` says of each pair.
    """

    name: str
    entries: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, name: str, pairs: Sequence[PairedSample]) -> "RecordedPairs":
        """Describe pairs; every file is read once.

        Raises:
            FilterlensError: A file cannot be read.
        """
        return cls(name, tuple(pair.provenance() for pair in pairs))

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "RecordedPairs":
        """Return what :meth:`facts` wrote.

        Raises:
            FilterlensError: It has another form.
        """
        name, entries = facts.get("name"), facts.get("pairs")
        if not isinstance(name, str) or not isinstance(entries, list) or not all(map(_is_entry, entries)):
            raise FilterlensError(f"The record of pairs '{quoted(name)}' is damaged. Rank again.")
        return cls(name, tuple(entries))

    def facts(self, place: Callable[[str], Mapping[str, str]] = lambda path: {}) -> dict[str, Any]:
        """Return the pairs for ``run.json``: folders, and name, path, hash and size of each image.

        Args:
            place: Function that gives further places of a file, such as its path from the run.
        """
        folders = {
            side: sorted({str(Path(entry["path"]).parent) for entry in found if entry.get("path")})
            for side, found in (("lq", [entry["lq"] for entry in self.entries]), ("gt", self.entries))
        }
        pairs = [_placed(entry, place) | {"lq": _placed(entry["lq"], place)} for entry in self.entries]
        return {"name": self.name, "folders": folders, "pairs": pairs}

    def read(
        self, places: Places = as_named, *, channels_in: int = 3, channels_out: int = 3, y: bool = False
    ) -> list[PairedSample]:
        """Return the pairs, if all their files still are what they were.

        Args:
            places: Function that gives the possible paths of a recorded file.
            channels_in: Number of channels that the network takes.
            channels_out: Number of channels that it gives.
            y: Take the luma of the images where the network has one channel.

        Raises:
            FilterlensError: Files are missing or changed (each is listed), or the pairs never were files.
        """
        found: list[tuple[Path, Path | None]] = []
        gone: list[str] = []
        for entry in self.entries:
            sides = [entry["lq"]] if entry.get("truth") is False else [entry["lq"], entry]
            if not all(side.get("path") for side in sides):
                raise FilterlensError(
                    f"Pair '{quoted(entry['name'])}' for '{self.name}' was given in memory, not as files. Give the "
                    "pairs again."
                )
            paths = [_unchanged(side, places) for side in sides]
            gone += [side["path"] for side, path in zip(sides, paths, strict=True) if path is None]
            if paths[0] is not None:
                found.append((paths[0], paths[1] if len(paths) > 1 else None))
        if gone:
            raise FilterlensError(
                f"Images of the pairs for '{self.name}' are missing or have changed: {listed(gone)}. Put them back, or "
                "give the pairs again."
            )
        pairs = as_pairs(self.name, found, channels_in=channels_in, channels_out=channels_out, y=y)
        return [replace(pair, name=entry["name"]) for pair, entry in zip(pairs, self.entries, strict=True)]


def _placed(side: Mapping[str, Any], place: Callable[[str], Mapping[str, str]]) -> dict[str, Any]:
    return {**side, **(place(side["path"]) if side.get("path") else {})}


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not isinstance(entry.get("lq"), dict):
        return False
    sides = [entry, entry["lq"]]
    return all(isinstance(side.get(key), str | None) for side in sides for key in _TEXTS)


def _unchanged(side: Mapping[str, Any], places: Places) -> Path | None:
    """Return the first place of a file that holds what was recorded."""
    files = (path for path in places(side) if path.is_file())
    return next((path for path in files if sha256_of(path) == side.get("sha256")), None)
