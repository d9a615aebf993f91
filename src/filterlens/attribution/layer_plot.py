# SPDX-License-Identifier: Apache-2.0
"""Where in the network the found filters lie, as a plot for people and as a strip of bars for a table."""

import sys
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from filterlens.filters import FilterSpace, Selection

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY = 60
"""Layers from which on bars side by side would be hair lines: steps are drawn instead."""
_LABELS = 24
_SIZE = (7.5, 4.0)  # inches
_WIDTH, _HEIGHT = 320, 36  # CSS pixels


def shares_of(selection: Selection) -> list[float]:
    """Return each layer's share of the selection, 0 to 1, in the order of the network."""
    counts = selection.space.layer_counts(selection.indices).tolist()
    return [count / max(1, len(selection)) for count in counts]


def draw_layers(selections: Mapping[str, Selection], space: FilterSpace, axes: "Axes | None" = None) -> "Axes":
    """Draw the share of each selection per layer, and a line for that of all filters, which chance would have.

    Args:
        selections: Name → filters of one network, one set of bars each, in the colours of the axes.
        space: All filters of the network.
        axes: Axes to draw into; None makes new ones. The figure belongs to ``matplotlib.pyplot`` where that is in use
            (so ``show`` and notebooks know it), and to no window elsewhere.
    """
    if axes is None:
        axes = _new_axes()
    places = range(len(space.layers))
    for number, (name, selection) in enumerate(selections.items()):
        shares = [100 * share for share in shares_of(selection)]
        label = f"{name} ({len(selection):,})"
        if len(space.layers) > MANY:
            axes.step(places, shares, where="mid", label=label, linewidth=1.2)
            continue
        width = 0.8 / len(selections)
        axes.bar([place - 0.4 + width * (number + 0.5) for place in places], shares, width, label=label)
    chance = [100 * layer.count / len(space) for layer in space.layers]
    axes.step(places, chance, where="mid", label="all filters", color="0.5", linewidth=1, linestyle="--")
    every = max(1, -(-len(space.layers) // _LABELS))
    axes.set_xticks(places[::every], [_short(layer.name or "weight") for layer in space.layers[::every]], rotation=90)
    axes.set_xlabel("layer, first to last")
    axes.set_ylabel("share of the found filters, %")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return axes


def bars_html(shares: Sequence[float], names: Sequence[str]) -> str:
    """Return a strip of bars as inline SVG, the highest share as high as the strip; names and shares are tooltips."""
    width, top = _WIDTH / max(1, len(shares)), max(shares, default=0) or 1
    bars = "".join(
        f'<rect x="{place * width:.1f}" y="{_HEIGHT * (1 - share / top):.1f}" width="{max(0.8, 0.85 * width):.1f}" '
        f'height="{_HEIGHT * share / top:.1f}"><title>{escape(name)}: {share:.1%}</title></rect>'
        for place, (share, name) in enumerate(zip(shares, names, strict=True))
        if share
    )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" fill="#0072b2" role="img">'
        f'{bars}<line x1="0" x2="{_WIDTH}" y1="{_HEIGHT}" y2="{_HEIGHT}" stroke="#8a8f98"/></svg>'
    )


def _new_axes() -> "Axes":
    """Return new axes: pyplot's where the user or the notebook works with pyplot, else those of a figure alone."""
    if "matplotlib.pyplot" in sys.modules or "ipykernel" in sys.modules:
        from matplotlib import pyplot

        axes: Axes = pyplot.subplots(figsize=_SIZE, layout="constrained")[1]
        return axes
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    return figure.add_subplot()


def _short(layer: str, most: int = 24) -> str:
    return layer if len(layer) <= most else f"{layer[: most // 2 - 1]}…{layer[-most // 2 :]}"
