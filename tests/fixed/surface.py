# SPDX-License-Identifier: Apache-2.0
"""The stable surface in Python, one line a name: ``python -m tests.fixed.surface`` accepts it as it is now.

A line that is new belongs into CHANGELOG.md; a line that goes or changes breaks somebody's script, which the promise
in docs/reference/stable.md allows only after a deprecation.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

import filterlens
from filterlens import plugins

KEPT = Path(__file__).with_name("surface.txt")
PLAIN = (bool, int, float, str, tuple, frozenset, type(None))


def surface() -> str:
    """Return every public name with its parameters and defaults; annotations are mypy's business."""
    return "\n".join([*lines(), *(f"entry points {group}" for group in (plugins.METHODS, plugins.DEGRADATIONS)), ""])


def lines() -> Iterator[str]:
    for name in filterlens.__all__:
        value = getattr(filterlens, name)
        if not inspect.isclass(value):
            yield f"{name}{signature(value)}" if callable(value) else name
            continue
        bases = [base for base in value.__mro__[1:] if is_ours(base) and base.__name__ in filterlens.__all__]
        said = f" is {', '.join(base.__name__ for base in bases)}" if bases else ""
        yield f"class {name}{signature(value)}{said}"
        known = {line for base in bases for line in members(base)}
        yield from (f"  {line}" for line in sorted(members(value) - known))


def members(kind: type) -> set[str]:
    """Return lines of public methods, properties, fields and what ``__init__`` sets, also of our base classes."""
    ours = [base for base in kind.__mro__ if is_ours(base)]
    named = {name for base in ours for name in (*vars(base), *vars(base).get("__annotations__", {}), *set_in(base))}
    found = {name: inspect.getattr_static(kind, name, None) for name in named if not name.startswith("_")}
    inner = {name: getattr(each, "__func__", each) for name, each in found.items()}
    return {f".{name}{signature(each) if inspect.isfunction(each) else ''}" for name, each in inner.items()}


def set_in(kind: type) -> set[str]:
    """Return the names ``x`` of ``self.x = …`` in ``__init__``."""
    if "__init__" not in vars(kind):
        return set()
    try:
        source = inspect.getsource(kind.__init__)  # type: ignore[misc]
    except OSError:  # made by dataclasses
        return set()
    stores = (node for node in ast.walk(ast.parse(textwrap.dedent(source))) if isinstance(node, ast.Attribute))
    return {
        each.attr
        for each in stores
        if isinstance(each.ctx, ast.Store) and isinstance(each.value, ast.Name) and each.value.id == "self"
    }


def is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "filterlens"


def signature(value: object) -> str:
    """Return ``(first, *, second=3)``; a default that is no plain value is an ellipsis."""
    try:
        found = inspect.signature(value)  # type: ignore[arg-type]
    except ValueError:
        return "(…)"
    bare = [
        each.replace(annotation=each.empty, default=each.default if plain(each.default) else ...)
        for each in found.parameters.values()
    ]
    text = str(found.replace(parameters=bare, return_annotation=found.empty))
    return text.replace("=Ellipsis", "=…")


def plain(value: object) -> bool:
    return value is inspect.Parameter.empty or (
        isinstance(value, PLAIN) and (not isinstance(value, tuple | frozenset) or all(map(plain, value)))
    )


if __name__ == "__main__":
    KEPT.write_text(surface(), encoding="utf-8")
