# SPDX-License-Identifier: Apache-2.0
"""Fetch an image set of the catalogue, or import it from the user's file; completely or not at all."""

import hashlib
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from fnmatch import fnmatchcase
from http.client import HTTPException
from pathlib import Path

from filterlens.data.archives import extract_images, is_archive, is_image_name
from filterlens.data.catalogue import ImageSet, Source
from filterlens.data.images import read_image
from filterlens.data.verification import Verification, pixel_digest, verify
from filterlens.errors import FilterlensError
from filterlens.files import write_json
from filterlens.progress import SILENT, Progress

RECORD = ".filterlens.json"
TIMEOUT = 60.0
CHUNK = 2**20


def get_set(
    image_set: ImageSet,
    root: Path,
    *,
    source: Path | None = None,
    force: bool = False,
    progress: Progress = SILENT,
) -> Verification:
    """Bring a set to ``root/NAME`` and verify it. A copy that is there and passes is left as it is.

    Args:
        image_set: The set.
        root: Folder of all image sets.
        source: An archive or folder that the user has; by default the set's own addresses are tried in order.
        force: Replace a folder that is there and does not pass.
        progress: Shows bars and notes.

    Returns:
        The verification; ``.filterlens.json`` in the folder records addresses and checksums.

    Raises:
        FilterlensError: Nothing can be fetched, a checksum, the number of images or their pixels differ, an archive is
            unsafe, or another folder of that name is in the way. The folder is then as it was.
    """
    folder = root / image_set.name
    if folder.exists():
        there = _verified_or_none(image_set, folder, progress)
        if there is not None and there.passed:
            return there
        if not force:
            raise FilterlensError(
                f"'{folder}' exists and is not the whole set ({there or 'it holds no readable images'}). "
                "Move it away, or use --force."
            )
    if source is None and not image_set.sources:
        raise FilterlensError(
            f"No command may fetch '{image_set.name}': {image_set.licence}. See {image_set.page}, then run "
            f"`filterlens data get {image_set.name} --from FILE`."
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{image_set.name}.", dir=root) as name:
            return _into_place(image_set, folder, Path(name), source, progress)
    except OSError as error:
        raise FilterlensError(
            f"Cannot write '{root}': {error.strerror or error}. Free the disk or use --data."
        ) from error


def _verified_or_none(image_set: ImageSet, folder: Path, progress: Progress) -> Verification | None:
    try:
        return verify(image_set, folder, progress=progress)
    except FilterlensError:
        return None


def _into_place(image_set: ImageSet, folder: Path, work: Path, source: Path | None, progress: Progress) -> Verification:
    chosen, record = _from_user(image_set, source, work) if source else _from_addresses(image_set, work, progress)
    fresh = work / "set"
    _gather(image_set, chosen, fresh)
    found = verify(image_set, fresh, progress=progress)
    if not found.passed:
        raise FilterlensError(f"This is not {image_set.title}: {str(found).rsplit(' (', 1)[0]}. Nothing was kept.")
    write_json(fresh / RECORD, {"set": image_set.name, "pixels": found.digest, **record})
    if folder.exists():
        folder.rename(work / "old")
    fresh.rename(folder)
    return verify(image_set, folder)


def _from_addresses(image_set: ImageSet, work: Path, progress: Progress) -> tuple[list[Path], dict[str, object]]:
    """Try the sources in order; where all fail, give the reason of each."""
    failures = []
    for number, source in enumerate(image_set.sources):
        place = work / f"source-{number}"
        place.mkdir()
        try:
            return _fetch(source, place, progress)
        except FilterlensError as error:
            failures.append(str(error))
            if number + 1 < len(image_set.sources):
                progress.note(f"{error} Trying the next address.")
    raise FilterlensError(
        f"{' '.join(failures)} Official page: {image_set.page}. Fetch it by hand and run "
        f"`filterlens data get {image_set.name} --from FILE`, or copy the images to the folder yourself."
    )


def _fetch(source: Source, place: Path, progress: Progress) -> tuple[list[Path], dict[str, object]]:
    sums = {}
    unpacked = place / "images"
    unpacked.mkdir()
    for address in source.addresses:
        file = place / Path(urllib.parse.urlparse(address).path).name
        sums[address] = download(address, file, checksum=source.checksum, progress=progress)
        if is_image_name(file.name):
            file.rename(unpacked / file.name)
        else:
            extract_images(file, unpacked)
    return _matching(unpacked, [source.pattern]), {"sha256": sums, "checksum": source.checksum}


def _from_user(image_set: ImageSet, source: Path, work: Path) -> tuple[list[Path], dict[str, object]]:
    if not source.exists():
        raise FilterlensError(f"'{source}' does not exist. --from takes an archive or a folder.")
    folder = source
    if source.is_file():
        if not is_archive(source):
            raise FilterlensError(f"'{source}' is neither a zip nor a tar archive, nor a folder.")
        folder = work / "unpacked"
        folder.mkdir()
        extract_images(source, folder)
    return _matching(folder, [each.pattern for each in image_set.sources]), {"from": str(source.resolve())}


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Return the images below a folder whose path matches a pattern; all of them where none does."""
    images = sorted(path for path in folder.rglob("*") if path.is_file() and is_image_name(path.name))
    for pattern in patterns:
        found = [path for path in images if fnmatchcase(f"/{path.relative_to(folder).as_posix()}", pattern)]
        if found:
            return found
    return images


def _gather(image_set: ImageSet, paths: Sequence[Path], folder: Path) -> None:
    """Copy the set's images into one flat folder; where the pixels are known, those alone, by their standard names."""
    folder.mkdir()
    names = {digest: name for name, digest in image_set.pixels.items()}
    for path in paths:
        stem = path.stem
        if names:
            digest = pixel_digest(read_image(path))
            stem = names.get(digest, "")
        target = folder / f"{stem}{path.suffix.lower()}"
        if not stem or stem in image_set.left_out or (names and any(folder.glob(f"{stem}.*"))):
            continue
        if target.exists():
            raise FilterlensError(f"Two images are called '{target.name}'. Give --from the folder with the HR images.")
        shutil.copyfile(path, target)
    if not any(folder.iterdir()):
        raise FilterlensError(f"None of the {len(paths)} images there belongs to {image_set.title}. Nothing was kept.")


def download(address: str, file: Path, *, checksum: str | None = None, progress: Progress = SILENT) -> str:
    """Fetch one file, whole or not at all, and return its SHA-256.

    Args:
        address: ``https://…`` or ``http://…``.
        file: The new file.
        checksum: Expected checksum, ``sha256:…`` or ``md5:…``; None accepts any content.
        progress: Shows a bar in MiB.

    Raises:
        FilterlensError: The address cannot be reached, the file comes short, or its checksum differs.
    """
    algorithm, _, expected = (checksum or "sha256:").partition(":")
    sums = {each: hashlib.new(each, usedforsecurity=False) for each in {"sha256", algorithm}}
    size = 0
    request = urllib.request.Request(address, headers={"User-Agent": "filterlens"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, file.open("wb") as stream:
            announced = int(answer.headers.get("Content-Length") or 0)
            with progress.bar(f"fetch {file.name} (MiB)", max(1, announced // CHUNK)) as bar:
                while chunk := answer.read(CHUNK):
                    stream.write(chunk)
                    size += len(chunk)
                    for each in sums.values():
                        each.update(chunk)
                    bar.advance()
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        file.unlink(missing_ok=True)
        reason = getattr(error, "reason", None) or error
        raise FilterlensError(f"Cannot fetch {address}: {reason}.") from error
    found = sums[algorithm].hexdigest()
    if size < announced or (expected and found != expected):
        file.unlink()
        what = (
            f"{size} of {announced} bytes came" if size < announced else f"its {algorithm} is {found}, not {expected}"
        )
        raise FilterlensError(f"{address} is not what it should be: {what}. Nothing was kept.")
    return sums["sha256"].hexdigest()
