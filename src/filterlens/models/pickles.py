# SPDX-License-Identifier: Apache-2.0
"""Pickled checkpoints: judged by their opcodes, read without running code, and refused in one line."""

import contextlib
import io
import pickle
import pickletools
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

from filterlens.errors import FilterlensError, first_line
from filterlens.models.file_kinds import ZIPPED, check_zip, kind_of

_STRINGS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING")
_PUTS, _GETS = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")
_OURS = (
    "torch.", "collections.OrderedDict", "collections.Counter", "_codecs.encode",
    "builtins.set", "builtins.complex", "__builtin__.set", "__builtin__.complex",
)  # fmt: skip
_HEADS = 5  # pickles before the numbers in PyTorch's old format
_SAFE = {  # what holds values alone: how Python calls it
    "argparse.Namespace": "argparse.Namespace",
    "pathlib.PosixPath": "pathlib.PosixPath",
    "types.SimpleNamespace": "types.SimpleNamespace",
    "datetime.datetime": "datetime.datetime",
    "numpy.dtype": "numpy.dtype, *map(type, map(numpy.dtype, 'dfl?'))",
    "numpy.ndarray": "numpy.ndarray",
}
_SAFE |= {
    f"numpy.{core}.multiarray.{name}": f"(numpy.{value}.__reduce__()[0], 'numpy.{core}.multiarray.{name}')"
    for core in ("core", "_core")
    for name, value in (("scalar", "float64()"), ("_reconstruct", "zeros(0)"))
}
_KEYS = ("params_ema", "state_dict", "model_state_dict", "params", "model", "net_g", "generator")


def read_pickled(path: Path) -> Any:
    """Return the content of a pickled checkpoint: containers and tensors, and no other objects.

    Raises:
        FilterlensError: It is damaged, holds other objects, or says that it holds more numbers than it has bytes.
    """
    payload = path.stat().st_size
    if kind_of(path) == ZIPPED:
        pickled, payload = check_zip(path)
        found = _Words(io.BytesIO(pickled))
    else:
        with path.open("rb") as stream:
            found = _Words(stream)
    foreign = [name for name in found.classes if not name.startswith(_OURS)]
    if foreign:
        raise _code(path, foreign, found.strings)
    if found.largest > payload:
        raise _damaged(path, f"it says that a tensor has {found.largest:.3g} numbers, more than the file has bytes")
    content = _loaded(path, found)
    _check_size(path, content, payload)
    return content


class _Words:
    """The words of a pickle, read without executing it.

    Attributes:
        classes: The names of classes and functions.
        strings: All texts.
        protocol: The highest of the pickles.
        largest: Numbers in the largest tensor.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.classes: list[str] = []
        self.strings: list[str] = []
        self.protocol = 0
        self.largest = 0
        self._number = 0
        self._memo: dict[int, str] = {}
        self._stack = [""]
        with contextlib.suppress(Exception):  # damage; or the numbers, which follow the pickles in the old format
            for _ in range(_HEADS):
                for opcode, argument, _place in pickletools.genops(stream):
                    self._read(opcode.name, argument)

    def _read(self, name: str, argument: Any) -> None:
        if name == "PROTO":
            self.protocol = max(self.protocol, int(argument))
        elif name in _STRINGS:
            self.strings.append(str(argument))
            self._stack = [*self._stack[-1:], str(argument)]
        elif name == "MEMOIZE" or name in _PUTS:
            self._memo[len(self._memo) if argument is None else int(argument)] = self._stack[-1]
        elif name in _GETS:
            self._stack = [*self._stack[-1:], self._memo.get(int(argument), "")]
        elif name in ("GLOBAL", "INST"):
            self._class(str(argument).replace(" ", "."))
        elif name == "STACK_GLOBAL":
            self._class(".".join(self._stack[-2:]))
        elif isinstance(argument, int) and not isinstance(argument, bool):
            self._number = argument
        elif name in ("BINPERSID", "PERSID"):  # numbers in a file of its own, or behind the pickles: last is how many
            self.largest = max(self.largest, self._number)

    def _class(self, name: str) -> None:
        self._stack = [*self._stack[-1:], ""]
        if name not in self.classes:
            self.classes.append(name)


def _loaded(path: Path, found: _Words) -> Any:
    try:
        with warnings.catch_warnings(), path.open("rb") as stream:  # of a path, torch.load would judge the suffix
            warnings.simplefilter("ignore")  # of the pickle protocol; what matters is raised below
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.findall(r"GLOBAL ([\w.]+)", str(error))
        if not named and found.protocol > 2:
            raise FilterlensError(
                f"'{path}' is written in pickle protocol {found.protocol}, which is not read without running code. "
                "Save the weights in PyTorch's own: torch.save(model.state_dict(), 'weights.pth')."
            ) from error
        if named:
            raise _code(path, named, found.strings) from error
        raise _damaged(path, "its pickle is damaged") from error
    except (MemoryError, RecursionError) as error:
        raise _damaged(path, f"{type(error).__name__} when read") from error
    except Exception as error:  # torch.load raises whatever the damage provokes
        raise _damaged(path, _harmless(first_line(error, 150)) or type(error).__name__) from error


def _damaged(path: Path, reason: str) -> FilterlensError:
    return FilterlensError(f"Cannot read checkpoint '{path}' ({reason}). It is cut short or damaged; copy it again.")


def _harmless(reason: str) -> str:
    """Drop PyTorch's hint at a switch that would run the file's code."""
    return "" if "weights_only" in reason else reason


def _code(path: Path, classes: list[str], strings: list[str]) -> FilterlensError:
    some = ", ".join(name[:60] for name in classes[:3]) + (" …" if len(classes) > 3 else "")
    remedy, command = _conversion(path, classes, strings)
    return FilterlensError(
        f"'{path}' holds Python objects that would run code when loaded ({some}); filterlens refuses it. {remedy}",
        command=command,
    )


def _conversion(path: Path, classes: list[str], strings: list[str]) -> tuple[str, str]:
    """Return advice on how to get the weights safely, and a command line where there is one."""
    key = next((each for each in _KEYS if each in strings), None)
    if key is None or any(name not in _SAFE for name in classes) or re.search(r"[^\w./ -]", str(path)):
        return (
            "Where its network can be built, save the weights alone: torch.save(model.state_dict(), 'weights.pth')",
            "",
        )
    modules = ", ".join(sorted({name.split(".")[0] for name in classes} | {"torch"}))
    return "Convert it without running code:", (
        f'python -c "import {modules}; '
        f"torch.serialization.add_safe_globals([{', '.join(_SAFE[name] for name in classes)}]); "
        f"torch.save(torch.load('{path}', 'cpu', weights_only=True)['{key}'], 'weights.pth')\""
    )


def _check_size(path: Path, content: Any, payload: int) -> None:
    """Compare the numbers with the bytes of the file: damaged ones and traps say that they hold more."""
    storages = {id(each): each for each in map(_storage, tensors_in(content)) if each is not None}
    held = sum({each.data_ptr(): each.nbytes() for each in storages.values()}.values())
    numbers = sum(each.numel() for each in tensors_in(content) if each.layout == torch.strided)
    if held > payload + 4096 or numbers > 4 * payload + 2**24:
        raise _damaged(path, f"it says that it holds {numbers:.3g} numbers, more than its bytes can be")


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage | None:
    if tensor.layout != torch.strided or tensor.is_meta:
        return None
    return tensor.untyped_storage()


def tensors_in(content: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested containers, each container once."""
    waiting, seen = [content], {id(content)}
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            yield value
            continue
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        for part in parts:
            if id(part) not in seen:
                seen.add(id(part))
                waiting.append(part)
