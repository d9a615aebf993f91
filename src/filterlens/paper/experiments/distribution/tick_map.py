# SPDX-License-Identifier: Apache-2.0
"""The paper's figure of the distribution: one row per layer, one tick per found filter."""

import numpy as np
from matplotlib.axes import Axes

from filterlens.filters import Selection
from filterlens.report.figures import Panel, Theme


def tick_map(stem: str, title: str, selection: Selection, color: int = 0) -> Panel:
    """Draw the found filters: layers from the first (top) to the last, in each the filters in the order of their index.

    Args:
        stem: Of the file's name.
        title: Above the figure.
        selection: The found filters.
        color: Which colour of the theme's cycle.
    """
    rows = ticks(selection)
    names = [layer.name for layer in selection.space.layers]

    def draw(axes: Axes, theme: Theme) -> None:
        axes.eventplot(rows, lineoffsets=range(len(rows)), linelengths=0.82, linewidths=0.5,
                       colors=theme.cycle[color % len(theme.cycle)])  # fmt: skip
        axes.set_xlim(0, 1)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        step = max(1, len(rows) // 18)
        axes.set_yticks(range(0, len(rows), step), names[::step], fontsize=7)
        axes.set_xlabel("filters of the layer, in the order of their index (share of the layer)")

    counts = ", ".join(f"{name} {len(row)}" for name, row in zip(names, rows, strict=True) if len(row))
    return Panel(stem, title, f"Ticks of the found filters per layer: {counts}.", draw, size=(6.2, 5.4))


def ticks(selection: Selection) -> list[list[float]]:
    """Return per layer where its found filters lie, from 0 (its first filter) to 1 (behind its last)."""
    space = selection.space
    layers, indices = space.layer_index[selection.indices].numpy(), selection.indices.numpy()
    return [
        np.sort((indices[layers == number] - layer.offset + 0.5) / layer.count).tolist()
        for number, layer in enumerate(space.layers)
    ]
