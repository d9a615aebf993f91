# SPDX-License-Identifier: Apache-2.0
"""Extract the images of an untrusted archive: nothing is written outside the folder, and bombs are refused."""

import contextlib
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from filterlens.data.listing import SUFFIXES
from filterlens.errors import FilterlensError

EXPANSION = 20  # images hardly shrink in an archive; BMP may, by a factor of a few
ALLOWANCE = 64 * 2**20
CHUNK = 2**20
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError
)  # fmt: skip


@dataclass(frozen=True)
class _Member:
    name: str
    is_file: bool
    is_link: bool


def is_archive(path: Path) -> bool:
    """Say whether a file is a zip or tar archive (plain, gzip, bzip2, xz), from its content."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def is_image_name(name: str) -> bool:
    """Say whether a path inside an archive or folder names an image; hidden files (``._x.png``) do not."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def extract_images(archive: Path, folder: Path) -> list[str]:
    """Write every image of an archive below ``folder``, under its own path.

    Args:
        archive: Zip or tar.
        folder: An empty folder.

    Returns:
        Paths inside the archive, in its order.

    Raises:
        FilterlensError: The file is not an archive or is damaged; a member has an absolute name, leaves the
            folder or is a link in place of an image; or the images are more than 20 times as large as the archive.
        OSError: The folder cannot be written.
    """
    most = EXPANSION * archive.stat().st_size + ALLOWANCE
    written: list[str] = []
    try:
        with _opened(archive) as reader:
            for member, stream in reader:
                _check_name(archive, member)
                if stream is None or not is_image_name(member.name):
                    continue
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                most -= _copy(stream, target, most, archive)
                written.append(member.name)
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk, not the archive
            raise
        reason = str(error) or type(error).__name__
        raise FilterlensError(
            f"Archive '{archive.name}' is damaged or incomplete ({reason}). Fetch it again."
        ) from error
    return written


def _check_name(archive: Path, member: _Member) -> None:
    path = PureWindowsPath(member.name)  # knows both kinds of slashes, and drives
    if path.drive or path.root or ".." in path.parts:
        raise FilterlensError(
            f"Archive '{archive.name}' holds '{member.name}', which leads out of its folder. Refused."
        )
    if member.is_link and is_image_name(member.name):
        raise FilterlensError(
            f"Archive '{archive.name}' holds a link '{member.name}' where an image should be. Refused."
        )


def _copy(stream: IO[bytes], target: Path, most: int, archive: Path) -> int:
    """Copy a member and return its size; the sizes in the archive's header are not trusted."""
    size = 0
    with target.open("xb") as file:
        while chunk := stream.read(CHUNK):
            size += len(chunk)
            if size > most:
                raise FilterlensError(
                    f"Archive '{archive.name}' unpacks to more than {EXPANSION} times its size: no image set. Refused."
                )
            file.write(chunk)
    return size


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[Iterator[tuple[_Member, IO[bytes] | None]]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield _zip_members(packed)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as unpacked:
            yield _tar_members(unpacked)
    else:
        raise FilterlensError(f"'{archive.name}' is neither a zip nor a tar archive.")


def _zip_members(archive: zipfile.ZipFile) -> Iterator[tuple[_Member, IO[bytes] | None]]:
    for entry in archive.infolist():
        is_link = stat.S_ISLNK(entry.external_attr >> 16)
        member = _Member(entry.filename, not (entry.is_dir() or is_link), is_link)
        if not (member.is_file and is_image_name(member.name)):
            yield member, None
            continue
        with archive.open(entry) as stream:  # a wrong CRC is noticed at the end of the stream
            yield member, stream


def _tar_members(archive: tarfile.TarFile) -> Iterator[tuple[_Member, IO[bytes] | None]]:
    for entry in archive:
        member = _Member(entry.name, entry.isfile(), entry.issym() or entry.islnk())
        yield member, archive.extractfile(entry) if member.is_file else None
