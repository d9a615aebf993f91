# SPDX-License-Identifier: Apache-2.0
"""``filterlens adapter``: export, merge, show."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from filterlens.cli import options
from filterlens.cli.console import Terminal, result
from filterlens.errors import quoted

MOST, DEEPEST = 240, 4  # characters of a quoted value, and levels of it

adapter = typer.Typer(
    help="Adapters, the filters of a function as a small file: export, merge, show.",
    rich_markup_mode=None,
)
Output = Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)]
Values = Annotated[
    str,
    typer.Option("--values", help="exact (the smallest type that holds every number), fp32, or fp16, which rounds."),
]


@adapter.command("export")
def export(
    output: Output,
    degradations: Annotated[
        list[str] | None,
        typer.Option(
            "--degradation",
            help="Degradation as given to `attribute` (blur:2, noise:0.1, …); repeat it for one adapter of several.",
            show_default=False,
        ),
    ] = None,
    percent: Annotated[
        float, typer.Option("--percent", help="Share of the filters in percent, for each degradation.")
    ] = 1.0,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Run folder of `filterlens attribute`: its ranking and pair.", show_default=False),
    ] = None,
    pair: options.PairName = None,
    method: Annotated[
        str | None, typer.Option("--method", help="Method whose ranking to use, with --run.", show_default="the first")
    ] = None,
    retrained: Annotated[
        Path | None,
        typer.Option(
            "--retrained",
            help="Checkpoint from `filterlens retrain`: export the filters that it changed. Name its baseline with "
            "--run, --pair or --baseline.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            help="With --retrained: the network before re-training. With --run: new path of a baseline that was moved.",
            show_default=False,
        ),
    ] = None,
    target: options.RunTarget = None,
    architecture: options.Architecture = None,
    call: options.Call = None,
    values: Values = "exact",
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Export the top filters of a degradation to a file: indices, values in baseline and target, and a card.

    The scores come from a run folder or ship with a pair. Found filters dial the target: strength 0 removes the
    function, strengths above 1 amplify it. To add a function to a baseline, re-train the filters there first
    (`filterlens retrain`) and export them with --retrained.
    """
    from filterlens.errors import UsageError
    from filterlens.jobs.adapter import check_file_name, checked_file, found_adapter, retrained_adapter
    from filterlens.jobs.pairs import RunPair

    check_file_name(output, [".safetensors"])
    if pair is not None and method is not None:
        raise UsageError(f"--method {method} chooses among the rankings of a run: --pair {pair} ships with one alone.")
    if retrained is None:
        if (baseline or target) and run is None:
            raise UsageError("--baseline goes with --retrained or --run, --target with --run.")
        made = found_adapter(
            degradations or [],
            percent,
            run=run,
            pair=pair,
            method=method,
            reopening=RunPair(options.own_code(architecture, call), baseline, target),
        )
    else:
        if degradations or method:
            raise UsageError("--retrained takes what was re-trained: leave --degradation and --method out.")
        made = retrained_adapter(
            retrained, run=run, pair=pair, baseline=baseline, architecture=options.own_code(architecture, call)
        )
    value = checked_file(made, output, values, force=force, note=Terminal().note)
    text = f"{adapter_text(value)}\nNext: {_next(value['card'], output)}"
    result(value, text, json)


@adapter.command("merge")
def merge(
    base: Annotated[str, options.BASE],
    adapters: Annotated[
        list[str],
        typer.Option(
            "--adapter",
            metavar="FILE=STRENGTH",
            help="Adapter file and its strength; repeat it. On a baseline, 0 changes nothing and 1 adds the function; "
            "on a target, 1 changes nothing and 0 removes it. Strengths beyond that extrapolate.",
            show_default=False,
        ),
    ],
    output: Output,
    architecture: options.Architecture = None,
    call: options.Call = None,
    values: Values = "exact",
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file; accept a base with another hash, with a warning.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Merge adapters into an ordinary checkpoint that keeps the base's tensor names, so that any program loads it."""
    from filterlens.jobs.adapter import merge_adapters

    value = merge_adapters(
        base,
        adapters,
        output,
        architecture=options.own_code(architecture, call),
        values=values,
        force=force,
        note=Terminal().note,
    )
    text = f"{value['file']}: {value['bytes']:,} bytes, {len(value['changed'])} weights changed"
    result(value, text, json)


@adapter.command("show")
def show(
    file: Annotated[Path, typer.Argument(help="Adapter file.", show_default=False)], json: options.Json = False
) -> None:
    """Show what an adapter holds: filters per weight, hash of the base, origin of the scores."""
    from filterlens.jobs.adapter import describe_adapter

    value = describe_adapter(file)
    result(value, adapter_text(value, whole=True), json)


def _next(card: dict[str, Any], path: Path) -> str:
    """Return the command that uses the file: found filters dial the target, re-trained ones the baseline."""
    name = card["pair"]["name"]
    found = card["holds"] == "found filters"
    base = (f"{name}/target" if found else name) if name else ("TARGET" if found else "BASELINE")
    return f"filterlens restore IN OUT --base {base} --adapter {path}={0.5 if found else 1}"


def adapter_text(described: Mapping[str, Any], *, whole: bool = False) -> str:
    """Write what :func:`filterlens.jobs.adapter.describe_adapter` returns; ``whole`` with card and weights.

    A card is untrusted text: it is quoted without control characters and cut short.
    """
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
    """Quote an untrusted value in one short line without control characters."""
    return quoted(_words(value), MOST)


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
