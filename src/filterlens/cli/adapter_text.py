# SPDX-License-Identifier: Apache-2.0
"""What an adapter holds, in lines for people. A card is a stranger's text: it is quoted plainly and cut short."""

from collections.abc import Iterator, Mapping
from typing import Any

MOST, DEEPEST = 240, 4


def adapter_text(described: Mapping[str, Any], *, whole: bool = False) -> str:
    """Write what :func:`filterlens.jobs.adapter.describe_adapter` returns; ``whole`` with card and weights."""
    card = described["card"]
    pair = _table(card.get("pair"))
    head = f"{described['file']}: {described['filters']:,} filters"
    if isinstance(pair.get("filters"), int) and pair["filters"] > 0:
        head += f", {100 * described['filters'] / pair['filters']:.3g} % of {pair['filters']:,}"
    lines = [f"{head}; {described['bytes']:,} bytes"]
    if whole:
        lines += [*_card_lines(card, pair), *_weight_lines(described["weights"])]
    return "\n".join(lines)


def _card_lines(card: Mapping[str, Any], pair: Mapping[str, Any]) -> Iterator[str]:
    names = card.get("degradations")
    yield f"holds: {plain(card.get('holds', 'unknown'))}"
    yield f"degradations: {plain(', '.join(map(str, names)) if isinstance(names, list) and names else 'unknown')}"
    if "percent" in card:
        yield f"share: {plain(card['percent'])} % of the filters, for each of them"
    yield f"pair: {plain(pair.get('name') or 'no name')}, {plain(pair.get('architecture', 'unknown architecture'))}"
    for role in ("baseline", "target"):
        yield f"{role}: weights {plain(_table(pair.get(role)).get('weights', 'unknown'))}"
    for key in ("scores", "trained", "training", "filterlens", "created", "versions"):
        if key in card:
            yield f"{key}: {plain(card[key])}"


def _weight_lines(weights: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    yield "filters per weight:"
    for name, counts in weights.items():
        yield f"  {plain(name)}: {counts['here']} of {counts['of']}"


def plain(value: object) -> str:
    """Quote a stranger's value in one short line without control characters."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in _words(value)).split())
    return text if len(text) <= MOST else f"{text[: MOST - 1]}…"


def _words(value: object, depth: int = 0) -> str:
    if depth > DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(each, depth + 1)}" for key, each in value.items())
    if isinstance(value, list):
        return " ".join(_words(each, depth + 1) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
