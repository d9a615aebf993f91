# SPDX-License-Identifier: Apache-2.0
"""The images of a folder, and everything else in it, so that nothing is skipped silently."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import features

from filterlens.errors import FilterlensError, UsageError, printable, quoted

_ALWAYS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga", ".qoi"),
)
_WITH_A_CODEC = {"avif": (".avif", ".avifs"), "jpg_2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c")}
SHOWN = 5  # names in one line
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # of one letter it is a drive of Windows; a Path has one slash
_MOST_ENTRIES = 10_000  # that are looked at to tell whether a subfolder holds images


def _suffixes() -> Iterator[str]:
    """Yield the suffixes that the installed Pillow reads."""
    yield from _ALWAYS
    for codec, suffixes in _WITH_A_CODEC.items():
        if codec in {**features.modules, **features.codecs} and features.check(codec):
            yield from suffixes


SUFFIXES = frozenset(_suffixes())


@dataclass(frozen=True)
class Listing:
    """The content of a folder.

    Attributes:
        root: The folder; for one image the folder that holds it.
        images: Images in the order of their names, folder by folder.
        others: Files without the suffix of an image.
        broken: Links that lead nowhere.
        folders: Subfolders with images that were not looked into.
    """

    root: Path
    images: tuple[Path, ...]
    others: tuple[Path, ...] = ()
    broken: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()

    @property
    def notes(self) -> list[str]:
        """One line for each group of files that are left alone."""
        kinds = (
            ("no images, left alone", self.others),
            ("broken links, left alone", self.broken),
            ("subfolders with images, left alone without --recursive", self.folders),
        )
        return [f"{kind}: {self._names(paths)}" for kind, paths in kinds if paths]

    def _names(self, paths: Sequence[Path]) -> str:
        names = ", ".join(shown(path.relative_to(self.root)) for path in paths[:SHOWN])
        return f"{names}, … ({len(paths)} in all)" if len(paths) > SHOWN else names


def find_images(source: Path | str, *, recursive: bool = False, leave_out: Path | None = None) -> Listing:
    """List the images of a folder, or of one file.

    Hidden files and folders (``.name``) do not count. Links to folders are followed, but no folder is entered twice.

    Args:
        source: The folder; a path to one file counts as a folder with that file.
        recursive: Include the images of all subfolders.
        leave_out: A folder that is not entered, such as an output inside the input.

    Raises:
        UsageError: The source is an address.
        FilterlensError: The source is missing or holds no image, or two images in one folder share a stem.
    """
    require_local(source)
    source = Path(source)
    if source.is_file():
        return Listing(source.parent, (source,))
    _check_is_folder(source)
    listing = _merged(source, _walk(source, recursive, _identities(leave_out)))
    if not listing.images:
        raise FilterlensError(_nothing_in(source, listing, recursive))
    return listing


def require_local(source: Path | str) -> None:
    """Refuse an address: images are never downloaded.

    Raises:
        UsageError: The path is a URL, such as ``https://…`` or ``s3://…``.
    """
    if _ADDRESS.match(str(source)) and not Path(source).exists():
        raise UsageError(f"'{quoted(source)}' is an address, and images are read from files only. Download it first.")


def shown(name: Path | str) -> str:
    r"""Write a file's name in one line: unprintable characters are escaped, such as a line break or ``\x1b``."""
    return printable(str(name)).replace("\n", "\\n").replace("\t", "\\t")


def _check_is_folder(source: Path) -> None:
    if source.is_dir():
        return
    if source.is_symlink():
        raise FilterlensError(f"'{source}' is a broken link to '{source.readlink()}'. Mend it, or give another path.")
    if source.exists():
        raise FilterlensError(f"'{source}' is neither a file nor a folder. Give a folder of images, or one image.")
    what = "Image" if source.suffix.lower() in SUFFIXES else "Image folder"
    raise FilterlensError(f"{what} '{source}' does not exist.")


def _identities(folder: Path | None) -> set[tuple[int, int]]:
    return {_identity(folder)} if folder is not None and folder.is_dir() else set()


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _walk(folder: Path, recursive: bool, known: set[tuple[int, int]]) -> Iterator[Listing]:
    """Yield one listing for every folder, those of subfolders after it."""
    known.add(_identity(folder))
    entries = _entries(folder)
    files = [path for path in entries if not path.is_dir() and path.exists()]
    images = [path for path in files if path.is_file() and path.suffix.lower() in SUFFIXES]
    _check_stems(folder, images)
    below = [path for path in entries if path.is_dir() and _identity(path) not in known]
    yield Listing(
        folder,
        tuple(images),
        tuple(path for path in files if path not in set(images)),
        tuple(path for path in entries if not path.exists()),
        () if recursive else tuple(path for path in below if _holds_images(path)),
    )
    for path in below if recursive else ():
        if _identity(path) not in known:  # else two links to one folder
            yield from _walk(path, recursive, known)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise FilterlensError(f"Cannot list folder '{folder}': {error.strerror or error}.") from error


def _check_stems(folder: Path, images: Sequence[Path]) -> None:
    stems: set[str] = set()
    for path in images:
        if path.stem in stems:
            raise FilterlensError(
                f"Folder '{folder}' holds two images named '{path.stem}' with different suffixes. Rename one."
            )
        stems.add(path.stem)


def _holds_images(folder: Path) -> bool:
    """Whether a subfolder holds an image, judged by the first entries."""
    looked = 0
    for _place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if any(Path(name).suffix.lower() in SUFFIXES and not name.startswith(".") for name in files):
            return True
        looked += len(files) + len(folders)
        if looked > _MOST_ENTRIES:
            break
    return False


def _merged(root: Path, listings: Iterable[Listing]) -> Listing:
    every = list(listings)
    kinds = (
        tuple(path for each in every for path in getattr(each, kind))
        for kind in ("images", "others", "broken", "folders")
    )
    return Listing(root, *kinds)


def _nothing_in(source: Path, listing: Listing, recursive: bool) -> str:
    """Say why a folder cannot be worked on, with what to do about it."""
    if listing.folders:
        first = shown(listing.folders[0])
        return (
            f"Folder '{source}' holds no image, but its subfolder '{first}' does. Give that one; restore, degrade and "
            "classify enter subfolders with --recursive."
        )
    where = "neither in itself nor in its subfolders" if recursive else f"Known suffixes: {' '.join(sorted(SUFFIXES))}"
    if listing.broken:
        return f"Folder '{source}' holds no image, only links that lead nowhere ('{shown(listing.broken[0].name)}')."
    return f"Folder '{source}' holds no image{', ' if recursive else '. '}{where}."
