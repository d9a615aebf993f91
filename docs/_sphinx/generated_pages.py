# SPDX-License-Identifier: Apache-2.0
"""Pages that are made from the package itself: the command line, the settings files, and the public names."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx


def make(app: Sphinx) -> None:
    """Write all pages beside the written ones; an unchanged page is left alone, so that nothing is built twice."""
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(exist_ok=True)
    for name, text in {
        "command-line.md": command_line(),
        "settings-train.md": "\n".join(settings("train")),
        "settings-paper.md": "\n".join(settings("paper")),
        "public-names.rst": public_names(),
    }.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def command_line() -> str:
    """Return what typer writes of every command, with whole sentences where it cuts them."""
    call = [sys.executable, "-m", "typer", "filterlens.cli.main", "utils", "docs", "--name", "filterlens"]
    text = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    text = re.sub(r"\A# `filterlens`\n", "", text)
    text = re.sub(r"^## `(.+)`$", r"## \1", text, flags=re.MULTILINE)
    text = re.sub(r"^### `(.+)`$", r"### \1", text, flags=re.MULTILINE)
    firsts = dict(re.findall(r"^#+ filterlens (.+)\n\n(.+)$", text, re.MULTILINE))
    return re.sub(r"^\* `([\w-]+)`: .+\.\.\.$", lambda cut: _listed(cut[1], firsts), text, flags=re.MULTILINE)


def _listed(name: str, firsts: Mapping[str, str]) -> str:
    whole = next((each for each in firsts if each.split()[-1] == name), name)
    return f"* [`{whole}`](#filterlens-{whole.replace(' ', '-')}): {firsts.get(whole, '')}"


def settings(name: str) -> Iterator[str]:
    """Yield the lines of the tables of one settings file, from its JSON schema."""
    from filterlens.jobs.schemas import schema_of

    schema = schema_of(name)
    yield from _table(name, "The whole file", schema)
    for title, part in sorted(schema["$defs"].items()):
        yield from _table(name, title, part)


def _table(name: str, title: str, part: Mapping[str, Any]) -> Iterator[str]:
    yield f"({_anchor(name, title)})=\n### {title}\n\n{part.get('description', '')}\n"
    yield "| setting | value | default | meaning |\n|---|---|---|---|"
    required = part.get("required", [])
    for setting, value in part.get("properties", {}).items():
        default = "required" if setting in required else _default(value.get("default"))
        meaning = re.sub(r"``(.+?)``", r"`\1`", value.get("description", "")).replace("|", "\\|")
        yield f"| `{setting}` | {_kind(name, value)} | {default} | {meaning} |"
    yield ""


def _anchor(name: str, title: str) -> str:
    return f"settings-{name}-{title.lower().replace(' ', '-')}"


def _default(value: Any) -> str:
    return "" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kind(name: str, value: Mapping[str, Any]) -> str:
    """Say in words what a value may be."""
    if "$ref" in value:
        part = value["$ref"].rpartition("/")[2]
        return f"[{part}](#{_anchor(name, part)})"
    if "enum" in value:
        return " or ".join(f"`{each}`" for each in value["enum"])
    if "anyOf" in value:
        return " or ".join(_kind(name, each) for each in value["anyOf"] if each.get("type") != "null")
    kind = value.get("type", "")
    if kind == "array":
        items = value.get("prefixItems")
        inner = ", ".join(_kind(name, each) for each in items or [value.get("items", {})])
        inner += "" if items else ", …"
        return f"\\[{inner}\\]"
    if kind == "object" and isinstance(value.get("additionalProperties"), Mapping):
        return f"table of {_kind(name, value['additionalProperties'])}"
    words = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true` or `false`"}
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said = [f"{sign} {value[limit]:g}" for limit, sign in limits.items() if limit in value]
    return " ".join([words.get(kind, kind), ", ".join(said)]).rstrip()


def public_names() -> str:
    """Return a table of what `from filterlens import …` offers, each name with the page of its module."""
    import filterlens

    found = [(name, getattr(filterlens, name)) for name in filterlens.__all__ if name != "__version__"]
    lines = [f"   ~{value.__module__}.{name}" for name, value in found]
    return "\n".join([".. autosummary::", "   :nosignatures:", "", *lines, ""])


def list_results(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the pages of results into the navigation; their index is generated elsewhere and knows no Sphinx."""
    if page == "results/index":
        source[0] += "\n\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the pages before Sphinx looks for files; Sphinx calls this."""
    app.connect("config-inited", lambda app, config: make(app), priority=100)
    app.connect("source-read", list_results)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
