# SPDX-License-Identifier: Apache-2.0
"""Provenance of the run and exactness of its attribution: names and values for the last sections of the page."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from filterlens.report.labels import count, listed, method_label, significant, whole_percent
from filterlens.run.facts import is_of_pairs
from filterlens.run.reading import RunData

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Gap:
    """The completeness gap of one attribution as text, the largest of a run marked."""

    method: str
    image: str
    degradation: str
    gap: str
    nodes: str
    attributed: str
    expected: str
    largest: bool


@dataclass(frozen=True)
class GapSummary:
    """The gaps of a run: largest, mean and nodes used by the first method as text, and the table of all."""

    largest: str
    mean: str
    nodes: str
    gaps: tuple[Gap, ...]


def completeness(run: RunData) -> GapSummary | None:
    """Summarise the completeness gaps of the first method and list those of all; None where none was recorded.

    Other methods are listed only: a method of one point, such as Taylor, is no integral and need not add up.
    """
    rows = [row for row in run.about.get("completeness", []) if row.get("gap") is not None]
    sizes = [abs(float(row["gap"])) for row in rows if row.get("method", run.method) == run.method]
    if not sizes:
        return None
    largest = max(sizes)
    gaps = tuple(_gap(row, row.get("method", run.method) == run.method and abs(row["gap"]) == largest) for row in rows)
    used = [row["nodes"] for row in rows if row.get("method", run.method) == run.method and row.get("nodes")]
    return GapSummary(_percent(largest), _percent(sum(sizes) / len(sizes)), _span(used), gaps)


def _span(used: list[int]) -> str:
    if not used:
        return "an unrecorded number of"
    return str(min(used)) if min(used) == max(used) else f"{min(used)} to {max(used)}"


def _gap(row: Mapping[str, Any], largest: bool) -> Gap:
    target, baseline = row.get("loss_target"), row.get("loss_baseline")
    expected = None if target is None or baseline is None else float(target) - float(baseline)
    words = [str(row.get(key) or "–") for key in ("method", "image", "degradation")]
    return Gap(
        method_label(words[0]),
        words[1],
        words[2],
        _percent(float(row["gap"])),
        str(row.get("nodes") or "–"),
        significant(row.get("attributed"), 4),
        significant(expected, 4),
        largest,
    )


def _percent(part: float) -> str:
    return f"{significant(100 * part, 2)} %" if abs(part) < 0.99 else whole_percent(part)


def settings(run: RunData) -> Facts:
    """List the settings of the attribution as they were given; see :func:`degradations` for those not written."""
    return _facts({name: value for name, value in run.about.get("settings", {}).items() if name != "inputs"})


def degradations(run: RunData) -> Facts:
    """Say what the names stand for that are no written degradations: pairs and where they lay, or a function."""
    said = run.about["settings"].get("inputs", {})
    return tuple((name, _origin(said[name])) for name in run.degradations if name in said)


def _origin(said: Any) -> str:
    if is_of_pairs(said):
        return _origin_of_pairs(said["pairs"])
    if isinstance(said, Mapping) and "function" in said:
        code = said.get("source_sha256")
        return f"function {said['function']} of {said.get('module', '–')}, {f'SHA-256 {code}' if code else 'no source'}"
    return _text(said)


def _origin_of_pairs(said: Any) -> str:
    if not isinstance(said, Mapping):
        return f"pairs ({_text(said)})"
    folders = said.get("folders")
    places = [
        f"{side.upper()} of {listed([str(each) for each in folders[side]])}"
        for side in ("lq", "gt")
        if isinstance(folders, Mapping) and isinstance(folders.get(side), list) and folders[side]
    ]
    where = ", ".join(places) or "given in memory"
    number = said.get("count", "–")
    return f"{number} {'pair' if number == 1 else 'pairs'}: {where}"


def versions(run: RunData) -> Facts:
    """List the versions of filterlens and of the packages that it computed with."""
    plugins = {each["package"]: each["version"] for each in run.about.get("plugins", [])}
    return (("filterlens", str(run.about.get("filterlens", "–"))), *_facts(run.about.get("versions", {}) | plugins))


def network(run: RunData) -> Facts:
    """List what the pair of networks is."""
    pair = run.about["pair"]
    facts = {
        "pair": pair.get("name") or "–",
        "architecture": pair.get("architecture", "–"),
        "options": pair.get("options") or "–",
        "scale": f"×{run.scale}",
        "parameters": count(pair["parameters"]) if "parameters" in pair else "–",
        "filters": f"{count(run.filters)} in {len(run.layers)} layers",
    }
    return _facts(facts)


def checkpoints(run: RunData) -> tuple[tuple[str, str, str, Facts], ...]:
    """List baseline and target: role, path, SHA-256 and card."""
    pair = run.about["pair"]
    found = ((role, pair.get(role) or {}) for role in ("baseline", "target"))
    return tuple(
        (role, str(each.get("path", "–")), str(each.get("sha256", "–")), _facts(each.get("card") or {}))
        for role, each in found
    )


def images(run: RunData) -> tuple[tuple[str, str, str, str], ...]:
    """List every image of the run: its name, its job, its size in pixels and its SHA-256; of pairs both images."""
    judged = run.judgement.about.get("images", []) if run.judgement else []
    jobs = (("to find the filters", run.about.get("images", [])), ("to judge them", judged))
    return tuple(
        (f"{each.get('name', '–')}{side}", f"{job}{_whose(each)}", _size(shown), str(shown.get("sha256", "–")))
        for job, found in jobs
        for each in found
        for side, shown in _sides(each)
    )


def _sides(image: Mapping[str, Any]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Return an image, or GT and LQ of a pair, or LQ where it is alone."""
    lowered = image.get("lq")
    if not isinstance(lowered, Mapping):
        return (("", image),)
    return ((" (LQ)", lowered),) if image.get("truth") is False else ((" (GT)", image), (" (LQ)", lowered))


def _whose(image: Mapping[str, Any]) -> str:
    return f", {image['degradation']}" if image.get("degradation") else ""


def _size(image: Mapping[str, Any]) -> str:
    return f"{image.get('width', '–')} × {image.get('height', '–')}"


def metrics(run: RunData) -> Facts:
    """List how every number of the judgement was measured."""
    written = run.judgement.about.get("metrics") if run.judgement else None
    if not written:
        return ()
    return _facts(written if isinstance(written, dict) else {"metrics": written})


def commands(run: RunData) -> Facts:
    """List the commands of the run, each with the seconds that it took; steps that recorded no command are left out."""
    steps = [run.about] + ([run.judgement.about] if run.judgement else [])
    return tuple((_command(about), _seconds(about)) for about in steps if about.get("command"))


def _command(about: Mapping[str, Any]) -> str:
    command = about["command"]
    return command if isinstance(command, str) else shlex.join(str(word) for word in command)


def _seconds(about: Mapping[str, Any]) -> str:
    seconds = about.get("seconds")
    return "" if seconds is None else f"{significant(float(seconds))} s"


def _facts(values: Mapping[str, Any]) -> Facts:
    return tuple((str(key).replace("_", " "), _text(value)) for key, value in values.items())


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return listed(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
