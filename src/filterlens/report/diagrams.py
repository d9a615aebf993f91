# SPDX-License-Identifier: Apache-2.0
"""The diagrams: damage against the share of replaced filters, and the places of the selected filters in the network."""

from collections.abc import Callable

from matplotlib.axes import Axes

from filterlens.diagnosis import distribution
from filterlens.report.figures import MARKERS, Panel, Theme, safe_name
from filterlens.report.labels import method_label, percent_text, shortened
from filterlens.run.reading import Judgement, RunData
from filterlens.run.tables import Edit, LayerShare

Line = tuple[str, list[float], list[float]]
MANY = 60
"""Layers from which on a dashed line would be a tangle, and strips would touch."""


def curves(run: RunData) -> list[Panel]:
    """Draw, per degraded input, own damage next to cross damage for every judged method.

    Both panels judge the same input, since distances on different inputs have different scales. Cross damage is the
    mean over the filters of the other degradations; a run with one degradation has none.
    """
    judged = run.judgement
    if judged is None:
        return []
    panels = []
    for number, name in enumerate(run.degradations, 1):
        both = {"own": _lines(run, judged, name, _own), "cross": _lines(run, judged, name, _cross)}
        top = max((value for lines in both.values() for _, _, values in lines for value in values), default=1.0)
        others = [other for other in run.degradations if other != name]
        titles = {"own": "own filters replaced", "cross": _whose(others)}
        panels += [
            _curves(f"{number}-{safe_name(name)}-{kind}", f"{name} input, {titles[kind]}", kind, lines, top)
            for kind, lines in both.items()
            if lines
        ]
    return panels


def _whose(others: list[str]) -> str:
    return f"{others[0]} filters replaced" if len(others) == 1 else "other filters replaced (mean)"


def _own(judged: Judgement, edit: Edit) -> float | None:
    row = judged.own(edit)
    return row.distance if row else None


def _cross(judged: Judgement, edit: Edit) -> float | None:
    rows = judged.cross_on(edit)
    return sum(row.distance for row in rows) / len(rows) if rows else None


def _lines(run: RunData, judged: Judgement, name: str, value: Callable[[Judgement, Edit], float | None]) -> list[Line]:
    lines = []
    for method in run.judged_methods:
        points = [(p, v) for p in judged.percents if (v := value(judged, Edit(method, p, name))) is not None]
        if points:
            lines.append((method, [p for p, _ in points], [v for _, v in points]))
    return lines


def _curves(stem: str, title: str, kind: str, lines: list[Line], top: float) -> Panel:
    percents = sorted({percent for _, x, _ in lines for percent in x})

    def draw(axes: Axes, theme: Theme) -> None:
        for index, (method, x, y) in enumerate(lines):
            chance = method.startswith("random")
            axes.plot(
                x,
                y,
                label=method_label(method),
                color=theme.cycle[index % len(theme.cycle)],
                marker=MARKERS[index % len(MARKERS)],
                markersize=5,
                linewidth=2.6 if index == 0 else 1.4,
                linestyle=":" if chance else "-",
                zorder=3 if index == 0 else 2,
                clip_on=False,
            )
        axes.grid(axis="y", color=theme.grid, linewidth=0.8)
        axes.set_ylim(0, 1.05 * top or 1.0)
        axes.set_xlim(0, 1.03 * max(percents))
        axes.set_xticks(percents, [f"{percent:g}" for percent in percents])
        axes.set_xlabel("replaced filters, %")
        axes.set_ylabel("distance × 10³")

    last = ", ".join(f"{method_label(method)} {y[-1]:.3g}" for method, _, y in lines)
    alt = f"Curves of {kind} damage against the proportion of replaced filters: {title}. At the largest: {last}."
    return Panel(f"damage-{stem}", title, alt, draw, legend=True)


def mean_depth(run: RunData) -> dict[str, float]:
    """Return, per degradation, the mean relative depth of the first method's filters: 0 the first layer, 1 the last."""
    return {name: distribution.depth_of(rows) for name, rows in _shares(run).items()}


def chance_depth(run: RunData) -> float:
    """Return the mean relative depth of all filters: what a choice by chance would have."""
    return distribution.chance_depth(next(iter(_shares(run).values()), []))


def bars(run: RunData) -> list[Panel]:
    """Draw the share of the selected filters per layer, one panel per degradation, all on one scale."""
    shares = _shares(run)
    top = max((row.share for rows in shares.values() for row in rows), default=1.0)
    return [_bars(run, number, name, rows, top) for number, (name, rows) in enumerate(shares.items(), 1)]


def maps(run: RunData) -> list[Panel]:
    """Draw every selected filter as a tick on the strip of its layer, one panel per degradation."""
    shares = _shares(run)
    return [
        _map(run, number, name, sum(row.selected for row in rows))
        for number, (name, rows) in enumerate(shares.items(), 1)
    ]


def _shares(run: RunData) -> dict[str, list[LayerShare]]:
    chosen = [row for row in run.distribution if row.method == run.method and row.percent == run.percent]
    found = {name: [row.within for row in chosen if row.degradation == name] for name in run.degradations}
    return {name: sorted(rows, key=lambda row: row.position) for name, rows in found.items() if rows}


def _bars(run: RunData, number: int, name: str, rows: list[LayerShare], top: float) -> Panel:
    total = sum(row.filters for row in rows)
    expected = [row.filters / total for row in rows]
    color = number - 1

    def draw(axes: Axes, theme: Theme) -> None:
        places = range(len(rows))
        if len(rows) < MANY:
            axes.step(places, expected, where="mid", color=theme.text, linewidth=1.2, linestyle="--", label="by chance")
        else:
            axes.bar(places, expected, 1.0, color=theme.grid, label="by chance")
        axes.bar(places, [row.share for row in rows], 0.8, color=theme.cycle[color % len(theme.cycle)], label="found")
        axes.grid(axis="y", color=theme.grid, linewidth=0.8)
        axes.set_ylim(0, 1.05 * max(top, *expected))
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        shown = _spread(len(rows), 10)
        names = [shortened(rows[place].layer) for place in shown]
        axes.set_xticks(shown, names, rotation=55, ha="right", rotation_mode="anchor")
        axes.set_ylabel("share of the filters")

    first = ", ".join(f"{r.layer} {100 * r.share:.1f} %" for r in sorted(rows, key=lambda r: -r.share)[:3])
    alt = f"Bars: share of the top {percent_text(run.percent)} filters for {name} per layer. Largest: {first}."
    return Panel(f"layers-{number}-{safe_name(name)}", f"{name}: share per layer", alt, draw, legend=True)


def _map(run: RunData, number: int, name: str, selected: int) -> Panel:
    row_of = {layer.name: index for index, layer in enumerate(run.layers)}
    size_of = {layer.name: layer for layer in run.layers}
    ticks = [
        (
            row_of[f.layer],
            (f.out_channel * size_of[f.layer].in_channels + (f.in_channel or 0) + 0.5) / size_of[f.layer].filters,
        )
        for f in run.top.get(name, ())
        if f.rank <= selected and f.layer in row_of
    ]
    count = len(run.layers)

    def draw(axes: Axes, theme: Theme) -> None:
        axes.hlines(range(count), 0, 1, color=theme.grid, linewidth=0.6 if count < MANY else 0.2)
        axes.vlines(
            [x for _, x in ticks],
            [y - 0.38 for y, _ in ticks],
            [y + 0.38 for y, _ in ticks],
            color=theme.cycle[(number - 1) % len(theme.cycle)],
            linewidth=0.9,
            alpha=0.85,
        )
        axes.set_ylim(count - 0.4, -0.6)
        axes.set_xlim(-0.005, 1.005)
        shown = _spread(count, 12)
        axes.set_yticks(shown, [shortened(run.layers[place].name) for place in shown])
        axes.set_xticks([0, 1], ["first filter", "last filter"])
        first, last = axes.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")

    what = f"a tick for each of the {len(ticks)} filters for {name}"
    alt = f"Map: one strip per layer from the first (top) to the last, {what}."
    size = (4.9, 4.6 if count < MANY else 6.9)
    return Panel(f"map-{number}-{safe_name(name)}", f"{name}: every selected filter", alt, draw, size=size)


def _spread(count: int, most: int) -> list[int]:
    """Return at most ``most`` places spread evenly from the first to the last of ``count``."""
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]
