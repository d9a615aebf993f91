# SPDX-License-Identifier: Apache-2.0
"""Functions that users pass: what they are called, and a hash of all that decides what they return."""

import builtins
import dis
import enum
import functools
import hashlib
import pathlib
import re
import sys
import types
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

_THIS_PROCESS = uuid.uuid4().hex
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, slice, re.Pattern, torch.dtype)
_WRITTEN = (pathlib.PurePath, torch.device, torch.Size, np.dtype)
_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState)  # another one after every draw
_OF_EVERY_CLASS = {
    "__module__", "__qualname__", "__dict__", "__weakref__", "__doc__", "__annotations__", "__annotate__",
    "__annotate_func__", "__annotations_cache__", "__firstlineno__", "__static_attributes__", "__abstractmethods__",
    "_abc_impl", "__parameters__", "__orig_bases__", "__type_params__",
}  # fmt: skip
_NO_CODE = (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)


@dataclass(frozen=True)
class CallableFacts:
    """What is known of a function that a user passed.

    Attributes:
        module: Module that it is written in, for example ``my_project.rain``.
        qualified_name: Its name there, for example ``Rain.__call__`` or ``make.<locals>.<lambda>``.
        source_hash: SHA-256 of its compiled code and of the values that this uses.
        stable: Whether equal hashes mean equal functions, also in another process.
    """

    module: str
    qualified_name: str
    source_hash: str
    stable: bool

    @property
    def identity(self) -> list[str]:
        """The JSON value by which results are known; of a function that is not stable, good in this process alone."""
        return [self.module, self.qualified_name, self.source_hash, *([] if self.stable else [_THIS_PROCESS])]

    @property
    def record(self) -> dict[str, Any]:
        """What a run folder says of it."""
        return {
            "module": self.module,
            "qualified_name": self.qualified_name,
            "source_hash": self.source_hash,
            "stable": self.stable,
            **({} if self.stable else {"process": _THIS_PROCESS}),
        }


def fingerprint_of(function: Callable[..., Any]) -> CallableFacts:
    """Return the names of a function, and a hash of all that decides what it returns.

    Hashed are bytecode and constants, defaults, the variables that it closes over, the parts of a ``partial``, the
    state of the object that it belongs to (tensors, arrays and modules by their bytes), and the functions, classes and
    values that its code names, with theirs. What belongs to an installed package counts by name and version. Comments,
    docstrings' places and line numbers do not count. Another version of Python compiles to another hash.

    What a function reads only while it runs (files, the clock, global random numbers) is not seen.

    Args:
        function: Any callable: function, lambda, method, ``partial``, ``nn.Module``, or an object with ``__call__``.

    Returns:
        The facts; ``stable`` is False where something cannot be hashed, for example an open file or a generator of
        random numbers.
    """
    named = _named(function)
    walk = _Walk()
    try:
        found = walk.digest(function)
    except RecursionError:
        found, walk.stable = b"", False
    module, name = _text(named, "__module__", ""), _text(named, "__qualname__", type(function).__qualname__)
    return CallableFacts(module, name, hashlib.sha256(found).hexdigest(), walk.stable)


def _named(function: Any) -> Any:
    """Return what carries the names: the function of a partial or method, the class of an object."""
    while isinstance(function, functools.partial | functools.partialmethod):
        function = function.func
    if isinstance(function, types.MethodType):
        return function.__func__
    return function if hasattr(function, "__qualname__") else type(function)


def _text(thing: Any, name: str, otherwise: str) -> str:
    found = getattr(thing, name, None)
    return found if isinstance(found, str) else otherwise


@dataclass
class _Walk:
    """One walk over everything that a function uses; each thing is hashed once, and circles end where they began."""

    stable: bool = True
    _known: dict[int, bytes] = field(default_factory=dict)
    _open: list[int] = field(default_factory=list)
    _alive: list[Any] = field(default_factory=list)  # so that no two things have one id

    def digest(self, thing: Any) -> bytes:
        """Return the hash of a value, function, class or object."""
        if isinstance(thing, _PLAIN):
            return _hash(type(thing).__name__, repr(thing) if not isinstance(thing, float) else float(thing).hex())
        key = id(thing)
        if key in self._known:
            return self._known[key]
        if key in self._open:
            return _hash("circle", str(len(self._open) - self._open.index(key)))
        self._alive.append(thing)
        self._open.append(key)
        try:
            self._known[key] = self._of(thing)
        except RecursionError:
            raise
        except Exception:  # users' objects may raise anything when they are asked for their state
            self._known[key] = self._unknown(thing)
        finally:
            self._open.pop()
        return self._known[key]

    def _unknown(self, thing: Any) -> bytes:
        self.stable = False
        return _hash("unknown", type(thing).__module__, type(thing).__qualname__)

    def _all(self, kind: str, things: Iterable[Any]) -> bytes:
        return _hash(kind, *(self.digest(thing) for thing in things))

    def _of(self, thing: Any) -> bytes:
        if isinstance(thing, Tensor):
            return _of_tensor(thing)
        if isinstance(thing, np.ndarray | np.generic) and not np.asarray(thing).dtype.hasobject:
            array = np.asarray(thing)
            return _hash("array", type(thing).__name__, array.dtype.str, str(array.shape), array.tobytes())
        if isinstance(thing, _WRITTEN):
            return _hash(type(thing).__name__, str(thing))
        if isinstance(thing, types.MappingProxyType):
            return self._all("mapping", [dict(thing)])
        if isinstance(thing, list | tuple | dict | set | frozenset | bytearray):
            return self._of_container(thing)
        if isinstance(thing, _GENERATORS):
            return self._unknown(thing)
        if isinstance(thing, types.CodeType):
            return self._of_code(thing, {})
        if isinstance(thing, types.ModuleType):
            return self._of_module(thing)
        if isinstance(thing, enum.Enum):
            return self._all("enum", [type(thing), thing.name, thing.value])
        if isinstance(thing, types.MethodType):
            return self._all("method", [thing.__func__, thing.__self__])
        if isinstance(thing, functools.partial):
            return self._all("partial", [thing.func, thing.args, thing.keywords])
        return self._of_definition(thing)

    def _of_definition(self, thing: Any) -> bytes:
        """Return the hash of a function, class or what wraps one, or of an object."""
        if (place := _installed_place(thing)) is not None:
            return _hash("installed", *place)
        if isinstance(thing, types.FunctionType):
            return self._of_function(thing)
        if isinstance(thing, type):
            return self._of_class(thing)
        if isinstance(thing, types.BuiltinFunctionType):
            return self._all("built in", [thing.__qualname__, thing.__self__])
        if isinstance(thing, staticmethod | classmethod):
            return self._all(type(thing).__name__, [thing.__func__])
        if isinstance(thing, property):
            return self._all("property", [thing.fget, thing.fset, thing.fdel])
        if isinstance(thing, functools.cached_property):
            return self._all("cached property", [thing.func])
        if isinstance(thing, _NO_CODE):
            return _hash("descriptor", thing.__qualname__)
        if callable(thing) and hasattr(thing, "__wrapped__") and type(thing).__module__ == "functools":
            return self._all("wrapped", [type(thing).__qualname__, thing.__wrapped__])  # lru_cache, without its cache
        return self._of_object(thing)

    def _of_container(self, thing: Any) -> bytes:
        kind = type(thing)
        outside = [] if kind.__module__ in ("builtins", "collections") else [kind]
        if isinstance(thing, dict):
            return self._all(kind.__name__, [*outside, *(part for item in thing.items() for part in item)])
        if isinstance(thing, bytearray):
            return _hash(kind.__name__, bytes(thing))
        if isinstance(thing, list | tuple):
            return self._all(kind.__name__, [*outside, *thing])
        return _hash(kind.__name__, *map(self.digest, outside), *sorted(map(self.digest, thing)))

    def _of_module(self, thing: types.ModuleType) -> bytes:
        if not _is_installed(thing.__name__):
            self.stable = False  # what is used of it cannot be known
        return _hash("module", thing.__name__, _version_of(thing.__name__))

    def _of_object(self, thing: Any) -> bytes:
        """Return the hash of an object by its class and by what pickle would keep of it."""
        reduced = thing.__reduce_ex__(4)
        if isinstance(reduced, str):
            return self._all("object", [type(thing), reduced])
        make, arguments, *state = reduced
        state = [list(each) if isinstance(each, Iterator) else each for each in state]
        return self._all("object", [type(thing), make, arguments, *state])

    def _of_function(self, function: types.FunctionType) -> bytes:
        cells = [_inside(cell) for cell in function.__closure__ or ()]
        own = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
        used = [function.__defaults__, function.__kwdefaults__, cells, own]
        return _hash("function", self._of_code(function.__code__, function.__globals__), *map(self.digest, used))

    def _of_class(self, thing: type) -> bytes:
        own = {name: value for name, value in vars(thing).items() if name not in _OF_EVERY_CLASS}
        return self._all("class", [thing.__qualname__, list(thing.__bases__), own])

    def _of_code(self, code: types.CodeType, names: dict[str, Any]) -> bytes:
        """Return the hash of bytecode, its constants, and what its global names mean."""
        inner = [
            self._of_code(each, names) if isinstance(each, types.CodeType) else self.digest(each)
            for each in code.co_consts
        ]
        words = [code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars]
        shape = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags]
        globally = [self._of_global(name, path, names) for name, path in _globals_in(code)] if names else []
        table = getattr(code, "co_exceptiontable", b"")
        return _hash("code", code.co_code, table, *map(self.digest, words), *map(self.digest, shape), *inner, *globally)

    def _of_global(self, name: str, path: tuple[str, ...], names: dict[str, Any]) -> bytes:
        """Return the hash of what a global name means; of a module that is not installed, what is taken from it."""
        if name.startswith("import "):
            if not _is_installed(name.removeprefix("import ")):
                self.stable = False
            return _hash(name)
        if name not in names:
            self.stable &= hasattr(builtins, name)
            return _hash("built in", name)
        found = names[name]
        for attribute in path:
            if not isinstance(found, types.ModuleType) or _is_installed(found.__name__):
                break
            found = getattr(found, attribute)
        return _hash(name, self.digest(found))


def _globals_in(code: types.CodeType) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each global name that code reads, with the attributes taken of it, and ``import x`` for its imports."""
    name: str = ""
    path: tuple[str, ...] = ()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD") and name:
            path = (*path, str(step.argval))
            continue
        if step.opname in ("PUSH_NULL", "CACHE", "EXTENDED_ARG"):
            continue
        if name:
            yield name, path
        name, path = "", ()
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            name = str(step.argval)
        elif step.opname == "IMPORT_NAME":
            name = f"import {step.argval}"
    if name:
        yield name, path


def _inside(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "an empty cell"


def _of_tensor(tensor: Tensor) -> bytes:
    flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    return _hash("tensor", str(tensor.dtype), str(tuple(tensor.shape)), flat.view(torch.uint8).numpy().tobytes())


def _installed_place(thing: Any) -> tuple[str, str, str] | None:
    """Return module, name and version of what an installed package gives under its own name; None for all else."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if isinstance(thing, types.BuiltinFunctionType) and module is None:
        module = getattr(thing.__self__, "__name__", None)
    if not (isinstance(module, str) and isinstance(name, str) and _is_installed(module)):
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return (module, name, _version_of(module)) if found is thing else None


@functools.cache
def _is_installed(module: str) -> bool:
    """Whether a module is Python's, filterlens's or an installed package's, and so known by its version."""
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names or root == "filterlens":
        return True
    found = sys.modules.get(root)
    if found is None or root == "__main__":
        return False
    places = [getattr(found, "__file__", None) or "", *map(str, getattr(found, "__path__", ()))]
    return any({"site-packages", "dist-packages"} & set(pathlib.PurePath(place).parts) for place in places)


def _version_of(module: str) -> str:
    version = getattr(sys.modules.get(module.partition(".")[0]), "__version__", "")
    return version.partition("+")[0] if isinstance(version, str) else ""  # not "+cpu": machines share a run


def _hash(*parts: str | bytes) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(content).to_bytes(8, "little") + content)
    return found.digest()
