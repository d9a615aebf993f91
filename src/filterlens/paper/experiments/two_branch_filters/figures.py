# SPDX-License-Identifier: Apache-2.0
"""Figures: the found filters by branch and by layer, and the output without each branch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes

from filterlens.evaluation.statistics import Array
from filterlens.models.branches import CONDITIONING, DEGRADATION, RESTORATION
from filterlens.paper.experiments.two_branch_filters import edits
from filterlens.paper.experiments.two_branch_filters.measure import Found, Study
from filterlens.report.figures import Panel, Theme
from filterlens.report.labels import function_of

COLOR = {DEGRADATION: 1, CONDITIONING: 2, RESTORATION: 0}  # of the theme's cycle
MANY = 60  # layers beyond which dashed lines would be a tangle
BROKEN, MOST = -0.5, 1.15  # beyond them a bar is cut; below 0 the network is broken


def panels(study: Study) -> Iterator[Panel]:
    """Draw which branch holds what, the found filters layer by layer, and what is left without them."""
    yield _composition(study)
    for found in study.networks:
        yield layers(found, study.percent, study.kinds)
    if study.learnt:
        yield _remains(study)


def _composition(study: Study) -> Panel:
    """Draw bars, cut into branches: all filters, the found ones, and the contributions of all parameters."""
    two, names = study.two, study.two.branches.names
    rows = {"all filters": [two.chance(name) for name in names]}
    for kind in study.kinds:
        row = f"{function_of(kind)} filters, top {study.percent:g} %"
        rows[row] = [two.share((study.percent, kind), name).mean for name in names]
    for kind in study.kinds:
        row = f"{function_of(kind)}, all parameters: magnitudes"
        rows[row] = [study.contributions.share(kind, name).mean for name in names]

    def draw(axes: Axes, theme: Theme) -> None:
        left = np.zeros(len(rows))
        for name, widths in zip(names, np.array(list(rows.values())).T, strict=True):
            axes.barh(range(len(rows)), widths, 0.66, left, color=theme.cycle[COLOR[name]], label=edits.called(name))
            for place, (start, width) in enumerate(zip(left, widths, strict=True)):
                if width >= 0.055:
                    axes.text(start + width / 2, place, f"{100 * width:.0f} %", ha="center", va="center",
                              color="#ffffff", fontsize=9)  # fmt: skip
            left += widths
        _rows_of_bars(axes, list(rows))
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")

    title = f"{study.label}: which branch holds it"
    alt = f"Bars cut into branches. {_said(rows, names, lambda part: f'{100 * part:.1f} %')}."
    return Panel(f"composition-{two.network.stem}", title, alt, draw, (7.4, 3.2), True)


def _rows_of_bars(axes: Axes, rows: Sequence[str]) -> None:
    """Name horizontal bars, the first one above."""
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)


def _said(rows: Mapping[str, Sequence[float]], names: Sequence[str], write: Callable[[float], str]) -> str:
    """Say in words what the bars show."""
    return "; ".join(
        f"{row}: " + ", ".join(f"{name} {write(value)}" for name, value in zip(names, values, strict=True))
        for row, values in rows.items()
    )


def layers(found: Found, percent: float, kinds: Sequence[str]) -> Panel:
    """Draw the share of the found filters per layer, coloured by branch: one function up, the next one down."""
    branches = found.branches
    up, down = (found.mean_shares((percent, kind)) for kind in (kinds[0], kinds[-1]))
    order = sorted(range(len(branches.groups)), key=lambda group: (found.restorer[group], group))  # degradation first
    branch_of = [branches.names[branches.groups[group][1]] for group in order]
    same_layer = groupby(order, key=lambda group: branches.groups[group][0])
    places = [place for place, (_, groups) in enumerate(same_layer) for _ in groups]  # a layer has one place
    chance = np.asarray(np.bincount(places, weights=found.everything[order]), dtype=np.float64)

    def draw(axes: Axes, theme: Theme) -> None:
        top = 1.25 * max(float(up.max()), float(down.max()), 1e-9)
        bases = np.zeros((2, max(places) + 1))
        for place, group, name in zip(places, order, branch_of, strict=True):
            for row, (values, sign) in enumerate(((up, 1), (down, -1))):
                height = sign * float(values[group])
                axes.bar(place, height, 0.86, bases[row, place], color=theme.cycle[COLOR[name]])
                bases[row, place] += height
        _chance(axes, theme, chance)
        _bands(axes, theme, branch_of, places, top)
        axes.axhline(0, color=theme.text, linewidth=0.8)
        axes.set_ylim(-top, top)
        axes.set_xlim(-0.6, max(places) + 0.6)
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * abs(share):g} %")
        axes.set_xticks([])
        first = "the first of each branch" if DEGRADATION in branch_of else "the first one"
        axes.set_xlabel(f"layers, {first} on the left; {'grey' if max(places) > MANY else 'dashed'}: by chance")
        axes.set_ylabel(f"{function_of(kinds[-1])} ↓    ↑ {function_of(kinds[0])}")

    alt = f"Bars per layer, up for {function_of(kinds[0])}, down for {function_of(kinds[-1])}."
    for kind in kinds:
        shares = found.mean_shares((percent, kind))
        most = np.argsort(-shares, kind="stable")[:4]
        names = [branches.space.layers[branches.groups[group][0]].name for group in most]
        tops = ", ".join(f"{name} {100 * shares[group]:.1f} %" for name, group in zip(names, most, strict=True))
        alt += f" Most of {function_of(kind)}: {tops}."
    title = f"{found.network.label}: where the found {percent:g} % lie"
    return Panel(f"layers-{found.network.stem}", title, alt, draw, size=(9.6, 4.2))


def _chance(axes: Axes, theme: Theme, expected: Array) -> None:
    edges = np.arange(len(expected) + 1) - 0.5
    for sign in (1, -1):
        if len(expected) > MANY:
            axes.stairs(sign * expected, edges, fill=True, color=theme.grid, zorder=0.6)
        else:
            axes.stairs(sign * expected, edges, color=theme.text, linewidth=0.9, linestyle=(0, (2, 2)), zorder=3)


def _bands(axes: Axes, theme: Theme, branch_of: Sequence[str], places: Sequence[int], top: float) -> None:
    """Shade the part of the degradation branch, and name the parts above; what conditions lies among the layers."""

    def name(x: float, text: str, branch: str, side: str) -> None:
        axes.text(x, 0.97 * top, text, color=theme.cycle[COLOR[branch]], va="top", ha=side, fontsize=9)

    inside = [place for place, branch in zip(places, branch_of, strict=True) if branch == DEGRADATION]
    border = max(inside) + 0.5 if inside else -0.6
    if inside:
        axes.axvspan(-0.6, border, color=theme.cycle[COLOR[DEGRADATION]], alpha=0.10, linewidth=0)
        name(-0.5, edits.called(DEGRADATION), DEGRADATION, "left")
    restoration = edits.called(RESTORATION) if inside else "one branch"
    name((border + max(places) + 0.6) / 2, restoration, RESTORATION, "center")
    if CONDITIONING in branch_of:
        name(max(places) + 0.5, "what reads the degradation", CONDITIONING, "right")


def _remains(study: Study) -> Panel:
    """Draw what is left of each function's gain where a branch, or a few filters, are the baseline's."""
    kinds, count = study.learnt, len(study.learnt)
    left = {
        row: [study.effects.gain_left(edit, kind).mean for edit, kind in zip(names, kinds, strict=True)]
        for row, names in _edits_shown(study).items()
    }

    def draw(axes: Axes, theme: Theme) -> None:
        height = 0.78 / count
        for number, (kind, values) in enumerate(zip(kinds, np.array(list(left.values())).T, strict=True)):
            places = np.arange(len(left)) + (number - (count - 1) / 2) * height
            label = f"{function_of(kind)} (fine-tuning gained {study.effects.gain(kind).mean:.1f} dB)"
            color = theme.cycle[3 + number]
            axes.barh(places, values.clip(BROKEN, MOST), height * 0.92, color=color, label=label)
            for place, value in zip(places, values, strict=True):
                axes.text(max(0.0, min(value, MOST)) + 0.012, place, _percent(value), va="center", color=theme.text,
                          fontsize=8)  # fmt: skip
        _rows_of_bars(axes, list(left))
        axes.set_xlim(BROKEN if any(value < -0.01 for row in left.values() for value in row) else 0, MOST + 0.15)
        axes.axvline(1, color=theme.text, linewidth=1, linestyle="--", zorder=0)
        axes.axvline(0, color=theme.text, linewidth=1, zorder=0)
        axes.xaxis.set_major_formatter(lambda share, _: _percent(share))
        axes.set_xlabel("of the gain in dB on the function's own input")

    title = f"{study.label}: what is left of the gain when …"
    alt = f"Bars. {_said(left, [function_of(kind) for kind in kinds], _percent)}."
    return Panel(f"remains-{study.two.network.stem}", title, alt, draw, (8.2, 5.0), legend=True)


def _edits_shown(study: Study) -> dict[str, list[str]]:
    """Return row of the figure → what is put back, for each of the functions."""
    kinds, percent = study.learnt, study.percent
    branches = {
        "the degradation branch is the baseline's": edits.whole(DEGRADATION),
        "all but the degradation branch is the baseline's": edits.ALONE,
        "the degradation branch answers the same for all images": edits.CONSTANT,
        "the conditioning is the baseline's": edits.whole(CONDITIONING),
    }
    places = {"anywhere": None} | {f"in the {name} branch": name for name in (DEGRADATION, RESTORATION)}
    filters = {
        f"the function's {percent:g} %, {place}": [edits.found_in(percent, kind, branch) for kind in kinds]
        for place, branch in places.items()
    }
    random = {f"{percent:g} % at random": [edits.at_random(percent, kind) for kind in kinds]}
    return {row: [edit] * len(kinds) for row, edit in branches.items()} | filters | random


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %".replace("-", "−")
