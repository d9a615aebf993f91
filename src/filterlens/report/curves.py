# SPDX-License-Identifier: Apache-2.0
"""Curves of own and of cross damage against the proportion of replaced filters, on one scale per degradation."""

from collections.abc import Callable

from matplotlib.axes import Axes

from filterlens.report.figures import MARKERS, Panel, Theme, safe_name
from filterlens.report.labels import method_label
from filterlens.run.reading import Judgement, RunData
from filterlens.run.tables import Edit

Line = tuple[str, list[float], list[float]]


def curves(run: RunData) -> list[Panel]:
    """Draw, per degraded input, own damage beside cross damage for every judged method.

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
            _panel(f"{number}-{safe_name(name)}-{kind}", f"{name} input, {titles[kind]}", kind, lines, top)
            for kind, lines in both.items()
            if lines
        ]
    return panels


def _whose(others: list[str]) -> str:
    return f"{others[0]} filters replaced" if len(others) == 1 else "other filters replaced (mean)"


def _own(judged: Judgement, method: str, percent: float, name: str) -> float | None:
    row = judged.own(Edit(method, percent, name))
    return row.distance if row else None


def _cross(judged: Judgement, method: str, percent: float, name: str) -> float | None:
    rows = judged.cross_on(Edit(method, percent, name))
    return sum(row.distance for row in rows) / len(rows) if rows else None


def _lines(
    run: RunData, judged: Judgement, name: str, value: Callable[[Judgement, str, float, str], float | None]
) -> list[Line]:
    lines = []
    for method in run.judged_methods:
        points = [(p, v) for p in judged.percents if (v := value(judged, method, p, name)) is not None]
        if points:
            lines.append((method, [p for p, _ in points], [v for _, v in points]))
    return lines


def _panel(stem: str, title: str, kind: str, lines: list[Line], top: float) -> Panel:
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
