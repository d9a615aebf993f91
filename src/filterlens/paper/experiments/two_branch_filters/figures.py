# SPDX-License-Identifier: Apache-2.0
"""Figures: which branch holds what, layer by layer, and what is left without each of them."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes

from filterlens.evaluation.statistics import Array
from filterlens.models.branches import CONDITIONING, DEGRADATION, RESTORATION
from filterlens.paper.experiments.two_branch_filters.edits import ALONE, CONSTANT, at_random, found_in, whole
from filterlens.paper.experiments.two_branch_filters.networks import Network
from filterlens.paper.experiments.two_branch_filters.shares import Shares
from filterlens.paper.experiments.two_branch_filters.study import Study
from filterlens.report.figures import Panel, Theme
from filterlens.report.labels import function_of

COLOR = {DEGRADATION: 1, CONDITIONING: 2, RESTORATION: 0}  # of the theme's cycle
MANY = 60  # layers beyond which dashed lines would be a tangle
BROKEN, MOST = -0.5, 1.15  # beyond them a bar is cut; below 0 the network is broken


def panels(study: Study) -> Iterator[Panel]:
    """Draw everything of one peer."""
    yield composition(study)
    for network, shares, _ in study.networks:
        yield layers(network, shares, study.percent, study.kinds)
    if study.learnt:
        yield remains(study)


def composition(study: Study) -> Panel:
    """Draw bars, cut into branches: all filters, the found ones, and the contributions of all parameters."""
    names = study.branches.names
    rows = {"all filters": [float(study.shares.everything @ study.shares.inside(name)) for name in names]}
    for kind in study.kinds:
        row = f"{function_of(kind)} filters, top {study.percent:g} %"
        rows[row] = [study.shares.share((study.percent, kind), name).mean for name in names]
    for kind in study.kinds:
        row = f"{function_of(kind)}, all parameters: magnitudes"
        rows[row] = [study.contributions.share(kind, name).mean for name in names]

    def draw(axes: Axes, theme: Theme) -> None:
        left = np.zeros(len(rows))
        for number, name in enumerate(names):
            widths = np.array([row[number] for row in rows.values()])
            axes.barh(range(len(rows)), widths, 0.66, left, color=theme.cycle[COLOR[name]], label=_called(name))
            for place, (start, width) in enumerate(zip(left, widths, strict=True)):
                if width >= 0.055:
                    axes.text(start + width / 2, place, f"{100 * width:.0f} %", ha="center", va="center",
                              color="#ffffff", fontsize=9)  # fmt: skip
            left += widths
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")

    said = "; ".join(
        f"{row}: " + ", ".join(f"{name} {100 * part:.1f} %" for name, part in zip(names, parts, strict=True))
        for row, parts in rows.items()
    )
    title = f"{study.label}: which branch holds it"
    return Panel(
        f"composition-{study.peer.two.stem}", title, f"Bars cut into branches. {said}.", draw, (7.4, 3.2), True
    )


def layers(network: Network, shares: Shares, percent: float, kinds: Sequence[str]) -> Panel:
    """Draw the share of the found filters per layer, coloured by branch: one function up, the next one down."""
    up, down = (shares.found[percent, kind].mean(0) for kind in (kinds[0], kinds[-1]))
    order = _in_order(shares)
    branch_of = [shares.branches.names[shares.branches.groups[group][1]] for group in order]
    places = _places([shares.branches.groups[group][0] for group in order])

    def draw(axes: Axes, theme: Theme) -> None:
        top = 1.25 * max(float(up.max()), float(down.max()), 1e-9)
        bases = np.zeros((2, max(places) + 1))
        for place, group, name in zip(places, order, branch_of, strict=True):
            for row, (values, sign) in enumerate(((up, 1), (down, -1))):
                height = sign * float(values[group])
                axes.bar(place, height, 0.86, bases[row, place], color=theme.cycle[COLOR[name]])
                bases[row, place] += height
        _chance(axes, theme, _per_place(shares.everything, order, places))
        _bands(axes, theme, branch_of, places, top)
        axes.axhline(0, color=theme.text, linewidth=0.8)
        axes.set_ylim(-top, top)
        axes.set_xlim(-0.6, max(places) + 0.6)
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * abs(share):g} %")
        axes.set_xticks([])
        first = "the first of each branch" if DEGRADATION in branch_of else "the first one"
        axes.set_xlabel(f"layers, {first} on the left; {'grey' if max(places) > MANY else 'dashed'}: by chance")
        axes.set_ylabel(f"{function_of(kinds[-1])} ↓    ↑ {function_of(kinds[0])}")

    title = f"{network.label}: where the found {percent:g} % lie"
    alt = f"Bars per layer, up for {function_of(kinds[0])}, down for {function_of(kinds[-1])}. " + _said(
        shares, percent, kinds
    )
    return Panel(f"layers-{network.stem}", title, alt, draw, size=(9.6, 4.2))


def remains(study: Study) -> Panel:
    """Draw what is left of each function's gain where a branch, or a few filters, are the baseline's."""
    left = {
        row: [study.swapped.gain_left(edit, kind).mean for edit, kind in zip(edits, study.learnt, strict=True)]
        for row, edits in _edits(study).items()
    }

    def draw(axes: Axes, theme: Theme) -> None:
        height = 0.78 / max(1, len(study.learnt))
        for number, kind in enumerate(study.learnt):
            values = np.array([row[number] for row in left.values()])
            places = np.arange(len(left)) + (number - (len(study.learnt) - 1) / 2) * height
            axes.barh(places, values.clip(BROKEN, MOST), height * 0.92, color=theme.cycle[3 + number],
                      label=_learnt(study, kind))  # fmt: skip
            for place, value in zip(places, values, strict=True):
                axes.text(max(0.0, min(value, MOST)) + 0.012, place, _percent(value), va="center", color=theme.text,
                          fontsize=8)  # fmt: skip
        axes.set_yticks(range(len(left)), list(left))
        axes.set_ylim(len(left) - 0.5, -0.5)
        axes.set_xlim(BROKEN if any(value < -0.01 for row in left.values() for value in row) else 0, MOST + 0.15)
        axes.axvline(1, color=theme.text, linewidth=1, linestyle="--", zorder=0)
        axes.axvline(0, color=theme.text, linewidth=1, zorder=0)
        axes.xaxis.set_major_formatter(lambda share, _: _percent(share))
        axes.set_xlabel("of the gain in dB on the function's own input")

    said = "; ".join(
        f"{row}: "
        + ", ".join(f"{function_of(kind)} {_percent(value)}" for kind, value in zip(study.learnt, values, strict=True))
        for row, values in left.items()
    )
    title = f"{study.label}: what is left of the gain when …"
    return Panel(f"remains-{study.peer.two.stem}", title, f"Bars. {said}.", draw, (8.2, 5.0), legend=True)


def _edits(study: Study) -> dict[str, list[str]]:
    """Return row of the figure → what is put back, for each of the functions."""
    kinds, percent = study.learnt, study.percent
    rows = {
        "the degradation branch is the baseline's": whole(DEGRADATION),
        "all but the degradation branch is the baseline's": ALONE,
        "the degradation branch answers the same for all images": CONSTANT,
        "the conditioning is the baseline's": whole(CONDITIONING),
    }
    edits = {row: [edit for _ in kinds] for row, edit in rows.items()}
    places = {"anywhere": None} | {f"in the {name} branch": name for name in (DEGRADATION, RESTORATION)}
    for place, branch in places.items():
        edits[f"the function's {percent:g} %, {place}"] = [found_in(percent, kind, branch) for kind in kinds]
    return edits | {f"{percent:g} % at random": [at_random(percent, kind) for kind in kinds]}


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %".replace("-", "−")


def _learnt(study: Study, kind: str) -> str:
    return f"{function_of(kind)} (fine-tuning gained {study.swapped.gain(kind).mean:.1f} dB)"


def _called(branch: str) -> str:
    return branch if branch == CONDITIONING else f"{branch} branch"


def _in_order(shares: Shares) -> list[int]:
    """Return the groups with the degradation branch first, each part in the order of its layers."""
    is_restorer = shares.restorer
    return sorted(range(len(shares.branches.groups)), key=lambda group: (is_restorer[group], group))


def _places(layers: Sequence[int]) -> list[int]:
    """Number the layers in the order in which they come; groups of one layer stand at one place."""
    return [number for number, (_, same) in enumerate(groupby(layers)) for _ in same]


def _per_place(values: Array, order: Sequence[int], places: Sequence[int]) -> Array:
    return np.asarray(np.bincount(places, weights=values[list(order)]), dtype=np.float64)


def _chance(axes: Axes, theme: Theme, expected: Array) -> None:
    edges = np.arange(len(expected) + 1) - 0.5
    for sign in (1, -1):
        if len(expected) > MANY:
            axes.stairs(sign * expected, edges, fill=True, color=theme.grid, zorder=0.6)
        else:
            axes.stairs(sign * expected, edges, color=theme.text, linewidth=0.9, linestyle=(0, (2, 2)), zorder=3)


def _bands(axes: Axes, theme: Theme, branch_of: Sequence[str], places: Sequence[int], top: float) -> None:
    """Shade the part of the degradation branch, and name the parts above; what conditions lies among the layers."""
    inside = [place for place, name in zip(places, branch_of, strict=True) if name == DEGRADATION]
    border = max(inside) + 0.5 if inside else -0.6
    if inside:
        axes.axvspan(-0.6, border, color=theme.cycle[COLOR[DEGRADATION]], alpha=0.10, linewidth=0)
        axes.text(
            -0.5, 0.97 * top, f"{DEGRADATION} branch", color=theme.cycle[COLOR[DEGRADATION]], va="top", fontsize=9
        )
    text = f"{RESTORATION} branch" if inside else "one branch"
    middle = (border + max(places) + 0.6) / 2
    axes.text(middle, 0.97 * top, text, color=theme.cycle[COLOR[RESTORATION]], va="top", ha="center", fontsize=9)
    if CONDITIONING in branch_of:
        axes.text(max(places) + 0.5, 0.97 * top, "what reads the degradation",
                  color=theme.cycle[COLOR[CONDITIONING]], va="top", ha="right", fontsize=9)  # fmt: skip


def _said(shares: Shares, percent: float, kinds: Sequence[str]) -> str:
    names = [layer.name for layer in shares.branches.space.layers]
    sentences = []
    for kind in kinds:
        found = shares.found[percent, kind].mean(0)
        most = sorted(range(len(found)), key=lambda group: -found[group])[:4]
        tops = ", ".join(f"{names[shares.branches.groups[group][0]]} {100 * found[group]:.1f} %" for group in most)
        sentences.append(f"Most of {function_of(kind)}: {tops}.")
    return " ".join(sentences)
