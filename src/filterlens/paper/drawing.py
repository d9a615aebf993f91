# SPDX-License-Identifier: Apache-2.0
"""The kinds of figures that several pages share: bars, lines with bands, scatter, matrices, rows of pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from filterlens.evaluation.statistics import Estimate
from filterlens.report.figures import MARKERS, Panel, Theme


@dataclass(frozen=True)
class Line:
    """One curve: its points, and where known a band around them."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    dashed: bool = False

    @classmethod
    def of(cls, label: str, x: Sequence[float], estimates: Sequence[Estimate]) -> "Line":
        """Return the curve of estimates, with their intervals as its band."""
        low, high = zip(*(each.ends for each in estimates), strict=True)
        return cls(label, x, [each.mean for each in estimates], low, high)


def bars(
    stem: str, title: str, values: Mapping[str, Estimate], ylabel: str, *, log: bool = False, width: float = 5.4
) -> Panel:
    """Draw one bar per name with its interval."""

    def draw(axes: Axes, theme: Theme) -> None:
        places = range(len(values))
        colors = [theme.cycle[place % len(theme.cycle)] for place in places]
        _bars(axes, theme, places, list(values.values()), width=0.7, color=colors)
        axes.set_xticks(list(places), list(values), rotation=40, ha="right", rotation_mode="anchor")
        axes.grid(axis="y", color=theme.grid, linewidth=0.8)
        axes.set_ylabel(ylabel)
        if log:
            axes.set_yscale("log")

    alt = f"Bars, {ylabel}: " + ", ".join(f"{name} {each.mean:.3g}" for name, each in values.items()) + "."
    return Panel(stem, title, alt, draw, size=(width, 4.2))


def grouped_bars(
    stem: str, title: str, groups: Mapping[str, Mapping[str, Estimate]], ylabel: str, *, width: float = 7.2
) -> Panel:
    """Draw the same few bars, one colour each, side by side in every group: group → name → number with its interval."""
    names = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    thick = 0.8 / len(names)

    def draw(axes: Axes, theme: Theme) -> None:
        for index, name in enumerate(names):
            there = [(place, bars[name]) for place, bars in enumerate(groups.values()) if name in bars]
            places = [place + (index - (len(names) - 1) / 2) * thick for place, _ in there]
            estimates, color = [each for _, each in there], theme.cycle[index % len(theme.cycle)]
            _bars(axes, theme, places, estimates, width=0.92 * thick, color=color, label=name)
        axes.set_xticks(range(len(groups)), list(groups))
        axes.grid(axis="y", color=theme.grid, linewidth=0.8)
        axes.set_ylabel(ylabel)

    said = "; ".join(
        f"{group}: " + ", ".join(f"{name} {each.mean:.3g}" for name, each in bars.items())
        for group, bars in groups.items()
    )
    return Panel(stem, title, f"Groups of bars, {ylabel}. {said}.", draw, size=(width, 4.2), legend=True)


def _bars(axes: Axes, theme: Theme, places: Sequence[float], estimates: Sequence[Estimate], **style: Any) -> None:
    """Draw bars with their intervals."""
    means = [each.mean for each in estimates]
    below = [max(0.0, each.mean - each.ends[0]) for each in estimates]
    above = [max(0.0, each.ends[1] - each.mean) for each in estimates]
    axes.bar(places, means, **style)
    axes.errorbar(places, means, [below, above], fmt="none", ecolor=theme.text, elinewidth=1.2, capsize=3)


def lines(
    stem: str,
    title: str,
    curves: Sequence[Line],
    xlabel: str,
    ylabel: str,
    *,
    log_x: bool = False,
    limits: tuple[float, float] | None = None,
    marks: Mapping[str, float] | None = None,
    size: tuple[float, float] = (5.4, 4.4),
) -> Panel:
    """Draw curves over one axis.

    Args:
        stem: Stem of the file's name.
        title: Title above the figure.
        curves: The curves.
        xlabel: Label of the horizontal axis.
        ylabel: Label of the vertical axis.
        log_x: Whether the horizontal axis is logarithmic.
        limits: Limits of the vertical axis.
        marks: Label → x of vertical dashed lines.
        size: Width and height in inches.
    """

    def draw(axes: Axes, theme: Theme) -> None:
        for index, line in enumerate(curves):
            color = theme.cycle[index % len(theme.cycle)]
            if line.low is not None and line.high is not None:
                axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, linewidth=0)
            axes.plot(
                line.x,
                line.y,
                label=line.label,
                color=color,
                marker=MARKERS[index % len(MARKERS)] if len(line.x) < 40 else None,
                markersize=4.5,
                linewidth=1.8,
                linestyle=":" if line.dashed else "-",
            )
        for label, place in (marks or {}).items():
            axes.axvline(place, color=theme.text, linewidth=1, linestyle="--")
            axes.annotate(label, (place, 1), xycoords=("data", "axes fraction"), color=theme.text, fontsize=8)
        axes.grid(color=theme.grid, linewidth=0.8)
        if log_x:
            axes.set_xscale("log")
        if limits is not None:
            axes.set_ylim(*limits)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)

    ends = ", ".join(f"{line.label} from {line.y[0]:.3g} to {line.y[-1]:.3g}" for line in curves if len(line.y))
    return Panel(stem, title, f"Curves of {ylabel} over {xlabel}: {ends}.", draw, size=size, legend=True)


def scatter(
    stem: str, title: str, groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], xlabel: str, ylabel: str
) -> Panel:
    """Draw points of several groups: name → (x, y)."""

    def draw(axes: Axes, theme: Theme) -> None:
        for index, (name, (x, y)) in enumerate(groups.items()):
            axes.scatter(x, y, 20, color=theme.cycle[index % len(theme.cycle)],
                         marker=MARKERS[index % len(MARKERS)], label=name, alpha=0.8, linewidths=0)  # fmt: skip
        axes.grid(color=theme.grid, linewidth=0.8)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)

    return Panel(stem, title, f"Points of {ylabel} over {xlabel} for {', '.join(groups)}.", draw, legend=True)


def matrix(
    stem: str, title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], *,
    xlabel: str, ylabel: str, digits: int = 2,
) -> Panel:  # fmt: skip
    """Draw a matrix with its numbers in the cells; darker is larger."""
    numbers = np.array(values, dtype=np.float64)

    def draw(axes: Axes, theme: Theme) -> None:
        largest = float(np.abs(numbers).max()) or 1.0
        axes.imshow(numbers, cmap="Blues", vmin=0, vmax=largest, aspect="auto")
        for row, column in np.ndindex(*numbers.shape):
            value = float(numbers[row, column])
            color = "#ffffff" if value > 0.55 * largest else "#1d2430"
            axes.text(column, row, f"{value:.{digits}f}", ha="center", va="center", color=color, fontsize=9)
        axes.set_xticks(range(len(columns)), columns, rotation=25, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)

    said = "; ".join(
        f"{row}: " + ", ".join(f"{column} {value:.{digits}f}" for column, value in zip(columns, line, strict=True))
        for row, line in zip(rows, numbers.tolist(), strict=True)
    )
    return Panel(stem, title, f"Matrix of {ylabel} against {xlabel}. {said}.", draw)


def strips(
    stem: str, title: str, groups: Mapping[str, Sequence[float]], xlabel: str, marks: Mapping[str, float]
) -> Panel:
    """Draw every value of every group as a point on the group's own line, spread a little, and vertical marks."""

    def draw(axes: Axes, theme: Theme) -> None:
        for place, values in enumerate(groups.values()):
            spread = place + 0.6 * (np.arange(len(values)) * 0.618034 % 1 - 0.5)
            axes.scatter(values, spread, 14, color=theme.cycle[place % len(theme.cycle)], alpha=0.7, linewidths=0)
        for (label, mark), style in zip(marks.items(), ("--", ":", "-."), strict=False):
            axes.axvline(mark, color=theme.text, linewidth=1.2, linestyle=style, label=label)
        axes.set_yticks(range(len(groups)), list(groups))
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.grid(axis="x", color=theme.grid, linewidth=0.8)
        axes.set_xlabel(xlabel)

    means = ", ".join(f"{name} {np.mean(values):.2f}" for name, values in groups.items() if len(values))
    said = ", ".join(f"{label} at {mark:.2f}" for label, mark in marks.items())
    alt = f"Points of {xlabel} per group, means: {means}. Marks: {said}."
    return Panel(stem, title, alt, draw, size=(5.4, 1.8 + 0.45 * len(groups)), legend=True)


def pictures(stem: str, title: str, images: Sequence[tuple[str, Tensor]], *, alt: str, height: float = 2.4) -> Panel:
    """Draw pictures in one row, each with a line of text below.

    Args:
        stem: Stem of the file's name.
        title: Title above the row.
        images: Text and RGB ``(3, H, W)`` or ``(1, 3, H, W)`` in [0, 1], all of one size; clipped here.
        alt: Description of the pictures.
        height: Height of the row in inches.
    """
    from filterlens.data.images import to_uint8

    arrays = [to_uint8(image).permute(1, 2, 0).numpy() for _, image in images]
    tall, wide = arrays[0].shape[:2]
    gap = max(2, wide // 40)

    def draw(axes: Axes, theme: Theme) -> None:
        for index, ((text, _), array) in enumerate(zip(images, arrays, strict=True)):
            left = index * (wide + gap)
            axes.imshow(array, extent=(left, left + wide, tall, 0), interpolation="nearest")
            axes.text(left + wide / 2, tall * 1.03, text, ha="center", va="top", color=theme.text, fontsize=9)
        axes.set_xlim(0, len(arrays) * (wide + gap) - gap)
        axes.set_ylim(tall * 1.16, 0)
        axes.set_axis_off()

    return Panel(stem, title, alt, draw, size=(height * len(arrays) * wide / tall, height + 0.6))
