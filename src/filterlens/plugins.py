# SPDX-License-Identifier: Apache-2.0
"""Methods and degradations of other packages, which declare them as entry points.

What is declared is read from the metadata of the installed packages; a package is imported when one of its names is
used.
"""

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, distributions
from typing import Any

from filterlens.errors import FilterlensError, UsageError, first_line
from filterlens.version import __version__

METHODS = "filterlens.methods"
DEGRADATIONS = "filterlens.degradations"
_WHAT = {METHODS: "method", DEGRADATIONS: "degradation"}


@dataclass(frozen=True)
class Plugin:
    """A name that an installed package declares.

    Attributes:
        group: :data:`METHODS` or :data:`DEGRADATIONS`.
        name: The method's or the effect's name.
        package: Name of the package.
        version: Version of the package.
        entry: Where its value is.
    """

    group: str
    name: str
    package: str
    version: str
    entry: EntryPoint = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.package} {self.version}"

    @property
    def record(self) -> dict[str, str]:
        """What a run folder says of it."""
        return {"group": self.group, "name": self.name, "package": self.package, "version": self.version}

    def load(self) -> Any:
        """Import the package and return what the name stands for.

        Raises:
            FilterlensError: The import fails, whatever the reason.
        """
        try:
            return self.entry.load()
        except Exception as error:
            raise self.broken(f"'{self.entry.value}' cannot be imported: {_said(error)}") from error

    def broken(self, reason: str) -> FilterlensError:
        """Return the error for a name whose value is not what it must be."""
        return FilterlensError(
            f"The {_WHAT[self.group]} '{self.name}' of the package {self} is of no use: {reason}. Update it, or remove "
            f"it: pip uninstall {self.package}."
        )

    def failed(self, error: Exception) -> FilterlensError:
        """Return the error for code of the package that fails while it is used."""
        return FilterlensError(
            f"The {_WHAT[self.group]} '{self.name}' of the package {self} fails: {_said(error)}. Tell its authors; "
            "--debug shows where."
        )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}".rstrip(". ").removesuffix(":")


def declared(group: str) -> Mapping[str, Plugin]:
    """Return what the installed packages declare in a group, by name; nothing is imported.

    Of a name that two packages declare, the one that Python finds first is here; :func:`refuse_clash` tells.
    """
    return {name: plugins[0] for name, plugins in _declared(group).items()}


def refuse_clash(group: str, name: str, built_in: Collection[str]) -> None:
    """Refuse a name that means two things.

    Args:
        group: :data:`METHODS` or :data:`DEGRADATIONS`.
        name: The name that a user gave.
        built_in: The names that filterlens has itself.

    Raises:
        UsageError: Two packages declare the name, or one does that filterlens has itself; the error names both.
    """
    plugins = _declared(group).get(name, ())
    owners = [f"filterlens {__version__}"] if name in built_in else []
    owners += [str(plugin) for plugin in plugins]
    if len(owners) > 1:
        raise UsageError(
            f"The {_WHAT[group]} '{name}' means two things: the packages {' and '.join(owners[:2])} both have it. "
            f"Remove one: pip uninstall {plugins[-1].package}."
        )


def package_of(group: str, name: str, value: type | Any) -> Plugin | None:
    """Return the plug-in that a class or function is, known by its name and by the package that it is written in.

    Args:
        group: :data:`METHODS` or :data:`DEGRADATIONS`.
        name: The method's or the effect's name.
        value: The class or function.
    """
    plugin = declared(group).get(name)
    module = str(getattr(value, "__module__", ""))
    return plugin if plugin and module.partition(".")[0] == plugin.entry.module.partition(".")[0] else None


def _declared(group: str) -> Mapping[str, tuple[Plugin, ...]]:
    """Return all declarations of a group by name."""
    return _all_declared(tuple(sys.path)).get(group, {})


def named_in(group: str, names: Iterable[str]) -> list[Plugin]:
    """Return the plug-ins among some names of a group; nothing is imported."""
    return [declared(group)[name] for name in names if name in declared(group)]


def recorded(plugins: Sequence[Plugin]) -> dict[str, list[dict[str, str]]]:
    """Return what a job's record says of the plug-ins that it used; nothing where there are none."""
    return {"plugins": [plugin.record for plugin in plugins]} if plugins else {}


@cache
def _all_declared(path: tuple[str, ...]) -> Mapping[str, Mapping[str, tuple[Plugin, ...]]]:
    """Return all declarations by group and name, for one ``sys.path``: it is searched once."""
    found: dict[tuple[str, str], dict[str, Plugin]] = {}
    for each in distributions(path=list(path)):
        if "filterlens." not in (each.read_text("entry_points.txt") or ""):
            continue
        package = each.metadata["Name"] or "an unknown package"
        for entry in each.entry_points:
            if entry.group in _WHAT:  # a package that is found twice is one package
                plugin = Plugin(entry.group, entry.name, package, each.version, entry)
                found.setdefault((entry.group, entry.name), {}).setdefault(package, plugin)
    names = sorted(found)
    return {group: {name: tuple(found[group, name].values()) for of, name in names if of == group} for group in _WHAT}
