# SPDX-License-Identifier: Apache-2.0
"""Networks of the user's own code, named ``package.module:factory``; nothing is imported that the user did not name.

A module that is not installed is searched for in the working folder. Installed modules always come first, and from the
folder only the named module is imported, and the modules there that its own files import.
"""

import contextlib
import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from filterlens.errors import FilterlensError, UsageError, first_line, unknown

_NAME = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<factory>[A-Za-z_][\w.]*)(?P<options>(,[A-Za-z_]\w*=[^,]+)*)")
_CALL = " --call "  # as it is typed, so that what is recorded can be given again
_EXAMPLE = "my_package.networks:build or my_package.networks:build,features=32"


@dataclass(frozen=True)
class Factory:
    """A class or function of a module that builds a network, with keyword options.

    Attributes:
        module: Dotted name of the module.
        factory: A name in it; dots go on inside.
        options: Keyword arguments; numbers, true, false and null as in JSON, anything else is text.
        call: Function (network, images) → image through which the network is called, named in the same way; None
            where it takes images alone.
    """

    module: str
    factory: str
    options: dict[str, Any]
    call: "Factory | None" = None

    @classmethod
    def parse(cls, text: str) -> "Factory":
        """Read ``package.module:factory,option=value``, and what :func:`with_call` adds.

        Raises:
            UsageError: It is written otherwise.
        """
        text, _, call = text.partition(_CALL)
        match = _NAME.fullmatch(text)
        if match is None:
            raise UsageError(f"'{text}' names no factory; it looks like {_EXAMPLE}.")
        options = [each.split("=", 1) for each in match["options"].split(",") if each]
        said = {name: _value(value) for name, value in options}
        return cls(match["module"], match["factory"], said, cls.parse(call) if call else None)

    def function(self) -> Callable[..., Any]:
        """Import the function, with its options; does not call it.

        Raises:
            UsageError: There is no such module or no such name in it.
        """
        found = self._function()
        return partial(found, **self.options) if self.options else found

    def build(self) -> nn.Module:
        """Import and call it: runs the user's code.

        Raises:
            UsageError: There is no such module or no such name in it.
            FilterlensError: It failed, or returned no network.
        """
        called = self._function()
        try:
            with _working_folder(self.module):
                network = called(**self.options)
        except Exception as error:  # of the user's code
            raise FilterlensError(f"'{self}' failed: {type(error).__name__}: {first_line(error)}") from error
        if not isinstance(network, nn.Module):
            raise FilterlensError(f"'{self}' returned {type(network).__name__}, not a torch.nn.Module.")
        return network

    def __str__(self) -> str:
        return f"{self.module}:{self.factory}"

    def _hidden(self) -> str:
        """Say so where the working folder has such a module, but an installed one has its name."""
        top = self.module.split(".")[0]
        is_hidden = top in sys.modules and PathFinder.find_spec(top, [str(Path.cwd())]) is not None
        return f" The '{top}' here is hidden by an installed one; rename it." if is_hidden else ""

    def _function(self) -> Callable[..., Any]:
        try:
            with _working_folder(self.module):
                found: Any = importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{self.module}.".startswith(f"{error.name}."):
                raise FilterlensError(f"'{self.module}' cannot be imported: {first_line(error)}.") from error
            raise UsageError(
                f"There is no module '{error.name}' for '{self}', neither installed nor in '{Path.cwd()}'. Go to its "
                f"folder, or say where it lies: PYTHONPATH=FOLDER filterlens …{self._hidden()}"
            ) from error
        except Exception as error:  # of the user's code
            raise FilterlensError(f"'{self.module}' cannot be imported: {first_line(error)}") from error
        for part in self.factory.split("."):
            if not hasattr(found, part):
                raise unknown(f"name in '{self.module}'", part, [each for each in vars(found) if each[0] != "_"])
            found = getattr(found, part)
        if not callable(found):
            raise UsageError(f"'{self}' is {type(found).__name__}, not a class or function.")
        return found  # type: ignore[no-any-return]


@contextlib.contextmanager
def _working_folder(module: str) -> Iterator[None]:
    """While the block runs, find a module in the working folder where nothing installed has its name."""
    finder = _Here(Path.cwd(), module.split(".")[0])
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Here(MetaPathFinder):
    """Finds the named module in a folder, and for the files of that folder what they import from it."""

    def __init__(self, folder: Path, named: str) -> None:
        self._folder, self._named = str(folder), named

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the location of a module of the folder; called by Python after all other finders."""
        if path is not None or not (fullname == self._named or self._asked_from_here()):
            return None
        return PathFinder.find_spec(fullname, [self._folder], target)

    def _asked_from_here(self) -> bool:
        """Whether the code that imports is a file of the folder."""
        frame = sys._getframe(2)
        while frame.f_back is not None and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        return Path(frame.f_code.co_filename).is_relative_to(self._folder)


def is_factory(architecture: str | None) -> bool:
    """Whether the name of an architecture is a user's factory."""
    return architecture is not None and ":" in architecture and not architecture.startswith("spandrel:")


def with_call(architecture: str | None, call: str | None) -> str | None:
    """Join what ``--architecture`` and ``--call`` name; both stay readable, and are recorded together.

    Args:
        architecture: A factory, ``package.module:factory``.
        call: Function (network, images) → image, ``package.module:function`` or with ``,option=value``.

    Raises:
        UsageError: There is no factory to call, or the function is written otherwise.
    """
    if call is None:
        return architecture
    if not is_factory(architecture):
        raise UsageError(
            f"--call {call} says how a network of your own code is called: give --architecture package.module:factory."
        )
    if _NAME.fullmatch(call) is None:
        raise UsageError(f"'{call}' names no function; it looks like my_package.networks:at_level or …,sigma=0.1.")
    return f"{architecture}{_CALL}{call}"


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def not_named(architecture: str, also: str = "") -> str:
    """Say why the code that a file names is not run, and which options run it: ``also`` and ``--architecture``."""
    return (
        f"filterlens imports nothing that you did not name: if you trust it, give {also}--architecture {architecture}."
    )
