# SPDX-License-Identifier: Apache-2.0
"""Curves of own and of cross damage against the proportion of replaced filters, on one scale per degradation."""

from collections.abc import Callable

from matplotlib.axes import Axes

from filterlens.report.figures import MARKERS, Panel, Theme, safe_name
from filterlens.report.labels import function_of, method_label
from filterlens.report.records import Judgement, RunData

Line = tuple[str, list[float], list[float]]


def curves(run: RunData) -> list[Panel]:
    """Draw, per degradation, own damage beside cross damage for every judged method.

    Cross damage is the mean over the other degradations; a run with one degradation has none.
    """
    judged = run.judgement
    if judged is None:
        return []
    panels = []
    for number, masked in enumerate(run.degradations, 1):
        both = {"own": _lines(run, judged, masked, _own), "cross": _lines(run, judged, masked, _cross)}
        top = max((value for lines in both.values() for _, _, values in lines for value in values), default=1.0)
        panels += [_panel(kind, number, masked, lines, top, judged.percents) for kind, lines in both.items() if lines]
    return panels


def _own(judged: Judgement, method: str, percent: float, masked: str) -> float | None:
    row = judged.own(method, percent, masked)
    return row.distance if row else None


def _cross(judged: Judgement, method: str, percent: float, masked: str) -> float | None:
    rows = judged.cross(method, percent, masked)
    return sum(row.distance for row in rows) / len(rows) if rows else None


def _lines(
    run: RunData, judged: Judgement, masked: str, value: Callable[[Judgement, str, float, str], float | None]
) -> list[Line]:
    lines = []
    for method in run.methods:
        points = [(p, v) for p in judged.percents if (v := value(judged, method, p, masked)) is not None]
        if points:
            lines.append((method, [p for p, _ in points], [v for _, v in points]))
    return lines


def _panel(kind: str, number: int, masked: str, lines: list[Line], top: float, percents: tuple[float, ...]) -> Panel:
    judged_on = masked if kind == "own" else "the other degradations (mean)"
    title = f"{kind.capitalize()} damage: {masked} filters replaced"

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
        axes.set_xticks(list(percents), [f"{percent:g}" for percent in percents])
        axes.set_xlabel("replaced filters, %")
        axes.set_ylabel("distance × 10³")

    last = ", ".join(f"{method_label(method)} {y[-1]:.3g}" for method, _, y in lines)
    alt = (
        f"Curves of {kind} damage, judged on {judged_on}, after replacing the filters of {function_of(masked)}. "
        f"At the largest proportion: {last}."
    )
    return Panel(f"damage-{number}-{safe_name(masked)}-{kind}", title, alt, draw, legend=True)
