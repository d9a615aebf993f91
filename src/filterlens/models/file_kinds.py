# SPDX-License-Identifier: Apache-2.0
"""The type of a file, by its first bytes and not its name; files that are no checkpoints are refused with a remedy."""

import os
import stat
import zipfile
from pathlib import Path

from filterlens.errors import FilterlensError

SAFETENSORS, ZIPPED, PICKLED = "safetensors", "zip", "pickle"
LIMIT, DEFAULT_LIMIT = "FILTERLENS_MAX_CHECKPOINT_GB", 16.0
GB = 10**9
LARGEST_PICKLE = 2**26  # bytes: a pickle holds names and sizes; the numbers are stored outside

_HEAD = 512  # bytes that are looked at
_WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
_AGAIN = "Copy it again"
_EXPORT = "Take the PyTorch weights that it was made from"
_UNPACK = "Unpack it and give the file inside"
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "Fetch the file: git lfs pull"),
    (b"\x1f\x8b", "compressed by gzip", _UNPACK),
    (b"\xfd7zXZ\x00", "compressed by xz", _UNPACK),
    (b"BZh", "compressed by bzip2", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x89PNG", "an image", "Give a checkpoint"),
    (b"\xff\xd8\xff", "an image", "Give a checkpoint"),
    (b"GIF8", "an image", "Give a checkpoint"),
    (b"%PDF", "a PDF", "Give a checkpoint"),
    (b"\x89HDF", "an HDF5 file, as Keras writes it", _EXPORT),
    (b"\x93NUMPY", "an array of NumPy", "Save the network's state_dict"),
    (b"GGUF", "a quantised GGUF file", _EXPORT),
    (b"PK\x05\x06", "an empty zip archive", _AGAIN),
)


def kind_of(path: Path) -> str:
    """Return whether a file is ``safetensors``, a ``zip`` of PyTorch, or a ``pickle``, as PyTorch wrote it before 1.6.

    Raises:
        FilterlensError: It is missing, no file, cannot be read, is larger than the limit, or is something else.
    """
    size = _size(path)
    head = _head(path)
    if not size:
        raise _refused(path, "empty", _AGAIN)
    if size > limit() * GB:
        raise FilterlensError(f"'{path}' has {size / GB:.1f} GB, more than {limit():g}. {raise_limit(size)}")
    if _is_safetensors(head):
        return SAFETENSORS
    if head.startswith(b"PK\x03\x04"):
        return ZIPPED
    _refuse_others(path, head)
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return PICKLED
    if size < 64:
        raise _refused(path, f"no checkpoint, or only the first {size} bytes of one", _AGAIN)
    what = "text, not a checkpoint" if _is_text(head) else "no checkpoint: neither safetensors nor written by PyTorch"
    raise _refused(path, what, "Give a .safetensors, or what torch.save wrote")


def limit() -> float:
    """Return how many GB a checkpoint may have, unpacked; the user can set another number."""
    try:
        wanted = float(os.environ.get(LIMIT, DEFAULT_LIMIT))
    except ValueError:
        wanted = -1.0
    if not 0 < wanted < float("inf"):
        raise FilterlensError(f"{LIMIT}={os.environ[LIMIT]} is no number of GB. Legal: above 0, for example 32.")
    return wanted


def raise_limit(wanted: float) -> str:
    """Say how to raise the limit for a file of that many bytes."""
    return f"If you trust it and have the memory: {LIMIT}={int(wanted / GB) + 1} filterlens …"


def _size(path: Path) -> int:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise FilterlensError(f"Checkpoint '{path}' does not exist.") from None
    except (OSError, ValueError) as error:
        raise FilterlensError(f"Cannot read checkpoint '{path}': {getattr(error, 'strerror', error)}.") from error
    if stat.S_ISDIR(status.st_mode):
        raise _refused(path, "a folder, not a checkpoint", _file_in(path))
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, "a device, pipe or socket, not a file", "Give a checkpoint")
    return status.st_size


def _file_in(folder: Path) -> str:
    try:
        inside = sorted(each.name for each in folder.iterdir() if each.suffix.lower() in _WEIGHTS)
    except OSError:
        inside = []
    return f"Give a file, for example '{folder / inside[0]}'" if inside else "Give a file"


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD)
    except OSError as error:
        raise FilterlensError(f"Cannot read checkpoint '{path}': {error.strerror or error}.") from error


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes with the length of the header, and the header, which is a JSON object."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40


def _refuse_others(path: Path, head: bytes) -> None:
    for signature, what, remedy in _SIGNATURES:
        if head.startswith(signature):
            raise _refused(path, what, remedy)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        raise _refused(path, "a web page: its download failed", "Download the file itself, in a browser if need be")
    if start[:1] in (b"{", b"[") and _is_text(head):
        raise _refused(path, "JSON text, not a checkpoint", "Give the file with the weights")
    if _is_onnx(path, head):
        raise _refused(path, "an ONNX file", _EXPORT)
    if head[4:8] == b"TFL3":
        raise _refused(path, "a file of TensorFlow Lite", _EXPORT)
    if head[257:262] == b"ustar":
        what = "a tar archive, or written by PyTorch before 0.2"
        raise _refused(path, what, f"{_UNPACK}, or save the weights again with a newer PyTorch")


def _is_onnx(path: Path, head: bytes) -> bool:
    """A message of Protocol Buffers: the version of the format, then who wrote it, or the suffix says so."""
    return (head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x3a", b"\x42")) or path.suffix.lower() == ".onnx"


def _is_text(head: bytes) -> bool:
    try:
        head[:-4].decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 8 and b"\x00" not in head
    return b"\x00" not in head


def _refused(path: Path, what: str, remedy: str) -> FilterlensError:
    return FilterlensError(f"'{path}' is {what}. {remedy}.")


def check_zip(path: Path) -> tuple[bytes, int]:
    """Judge a zip by its directory, before anything is unpacked; return the pickle in it, and the bytes unpacked.

    Raises:
        FilterlensError: It is cut short, damaged, a program of TorchScript, no checkpoint, or unpacks to far more than
            its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            unpacked = sum(each.file_size for each in entries)
            _check_unpacked(path, path.stat().st_size, unpacked)
            _check_entries(path, [each.filename for each in entries])
            pickled = next(each for each in entries if each.filename.split("/")[-1] == "data.pkl")
            if pickled.file_size > LARGEST_PICKLE:
                raise FilterlensError(
                    f"'{path}' holds {pickled.file_size / 1e6:.0f} MB of objects that are no weights."
                )
            return archive.read(pickled), unpacked
    except FilterlensError:
        raise
    except Exception as error:  # a damaged archive fails in many ways
        raise FilterlensError(
            f"'{path}' is cut short or damaged: it begins like a checkpoint of PyTorch, but is no whole zip. {_AGAIN}."
        ) from error


def _check_unpacked(path: Path, size: int, unpacked: int) -> None:
    if unpacked > 10 * size and unpacked > GB / 10:
        raise FilterlensError(
            f"'{path}' has {size / GB:.3f} GB and would unpack to {unpacked / GB:.1f} GB, as no weights do. "
            "filterlens refuses it."
        )
    if unpacked > limit() * GB:
        raise FilterlensError(
            f"'{path}' would unpack to {unpacked / GB:.1f} GB, more than {limit():g}. {raise_limit(unpacked)}"
        )


def _check_entries(path: Path, names: list[str]) -> None:
    last = {name.split("/")[-1] for name in names}
    if "constants.pkl" in last or any("/code/" in name for name in names):
        raise FilterlensError(
            f"'{path}' is a program of TorchScript, which filterlens does not run. If you trust it, take its weights: "
            f"torch.save(torch.jit.load('{path.name}').state_dict(), 'weights.pth')."
        )
    if "data.pkl" not in last:
        inside = next((name for name in names if Path(name).suffix.lower() in _WEIGHTS), None)
        some = ", ".join(name[:60] for name in names[:3])
        remedy = f"Unpack it and give '{inside[:100]}'" if inside else "Give a checkpoint"
        raise _refused(path, f"a zip archive without weights of PyTorch (it holds {some})", remedy)
