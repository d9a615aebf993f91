# SPDX-License-Identifier: Apache-2.0
"""The look of all figures: light and dark themes, colours that colour-blind readers can tell apart, and encoding."""

import base64
import io
import re
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from filterlens.files import whole_file
from filterlens.record import Record


@dataclass(frozen=True)
class Theme:
    """Colours of a figure; ``cycle`` is the palette of Okabe and Ito, shifted for the background."""

    background: str
    text: str
    grid: str
    cycle: tuple[str, ...]


LIGHT = Theme(
    "#ffffff",
    "#1d2430",
    "#d9dee6",
    ("#0072b2", "#d55e00", "#009e73", "#8c7a00", "#cc79a7", "#56b4e9", "#6b7280", "#1d2430"),
)
DARK = Theme(
    "#1a1f27",
    "#e6e9ee",
    "#3a424f",
    ("#4cb0ea", "#ff8a3d", "#2cc79a", "#e0c04a", "#e59ac4", "#9fd6f5", "#9aa3b2", "#e6e9ee"),
)
FIGURES = "figures"
MARKERS = "osD^vPXh"
SIZE = (4.9, 3.9)
"""Width and height of a panel in inches: two stand side by side on a desk, one fills a telephone."""


@dataclass(frozen=True)
class Panel:
    """A figure that can be drawn in any theme: the stem of its file's name, what it shows in words, and how."""

    stem: str
    title: str
    alt: str
    draw: Callable[[Axes, Theme], None]
    size: tuple[float, float] = SIZE
    legend: bool = False


@dataclass(frozen=True)
class Drawn:
    """A panel as data addresses for light and dark pages, with its size in CSS pixels."""

    title: str
    alt: str
    light: str
    dark: str
    width: int
    height: int


def safe_name(text: str) -> str:
    """Turn any text into a part of a file name: ``blur:2`` becomes ``blur-2``."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-")


def save(record: Record, panels: list[Panel]) -> list[Drawn]:
    """Write each panel as ``figures/STEM.png`` in the run folder and return it ready for the page.

    Raises:
        FilterlensError: The figures cannot be written, or a file of others is in their place.
    """
    return [_save(record, panel) for panel in panels]


def _save(record: Record, panel: Panel) -> Drawn:
    light, dark = (png(panel, theme) for theme in (LIGHT, DARK))
    file = f"{FIGURES}/{panel.stem}.png"
    with record.writing(file), whole_file(record.folder / file) as path:
        path.write_bytes(light)
    width, height = (round(96 * inches) for inches in panel.size)
    return Drawn(panel.title, panel.alt, data_address(light, "png"), data_address(dark, "png"), width, height)


def data_address(content: bytes, kind: str) -> str:
    """Return the picture itself as an address, so the page needs no other file."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def png(panel: Panel, theme: Theme) -> bytes:
    """Draw a panel and return it as a PNG file."""
    figure = Figure(figsize=panel.size, dpi=160, layout="constrained", facecolor=theme.background)
    axes = figure.add_subplot()
    panel.draw(axes, theme)
    _dress(axes, theme)
    axes.set_title(textwrap.fill(panel.title, 48), color=theme.text, fontsize=11, loc="left")
    if panel.legend:
        figure.legend(
            loc="outside lower left", ncols=2, fontsize=9, frameon=False, labelcolor=theme.text, handlelength=2.6
        )
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box stands for it
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _dress(axes: Axes, theme: Theme) -> None:
    axes.set_facecolor(theme.background)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.text, labelsize=9, length=0, pad=6)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(theme.text)
        label.set_fontsize(10)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.grid)
