# SPDX-License-Identifier: Apache-2.0
"""Figures of the boundary of ability: gain and overlap along a sweep, and one against the other."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from filterlens.evaluation.statistics import Estimate
from filterlens.paper import drawing
from filterlens.paper.experiments.boundary.cases import overlap_with
from filterlens.paper.experiments.boundary.study import CHANGE, HELPS, OVERLAP, Predictor, Study
from filterlens.paper.experiments.boundary.sweeps import Sweep
from filterlens.report.figures import MARKERS, Panel, Theme, safe_name


def sweep_panel(study: Study, sweep: Sweep, name: str, degradations: Sequence[str]) -> Panel:
    """Draw the gain (left axis) and the overlap with every degradation's filters (right axis) over the strength."""
    x = list(sweep.inputs)
    gain = [study.mean(text, lambda case: case.gain) for text in sweep.inputs.values()]
    overlaps = {kind: [study.mean(text, overlap_with(kind)) for text in sweep.inputs.values()]
                for kind in degradations}  # fmt: skip
    trained, top = sweep.trained(degradations), _highest_gain(study)

    def draw(axes: Axes, theme: Theme) -> None:
        right = axes.twinx()
        _curve(axes, x, gain, "gain, dB (left)", theme, 0, "-")
        for index, (kind, values) in enumerate(overlaps.items(), 1):
            _curve(right, x, values, f"overlap, {kind} (right)", theme, index, "--")
        axes.axhline(HELPS, color=theme.cycle[6], linewidth=1, linestyle=":", label=f"helps: {HELPS:g} dB (left)")
        if trained is not None:
            axes.axvline(trained, color=theme.text, linewidth=1, linestyle=":")
            axes.annotate(" trained", (trained, 0.01), xycoords=("data", "axes fraction"), color=theme.text, fontsize=8)
        if sweep.log:
            axes.set_xscale("log")
        axes.set_ylim(*top)
        right.set_ylim(0, 1)
        axes.set_xlabel(sweep.axis)
        axes.set_ylabel("gain over the baseline, dB")
        _dress_right(right, theme)

    said = f"gain from {gain[0].mean:.2f} to {gain[-1].mean:.2f} dB; " + "; ".join(
        f"overlap with the filters for {kind} from {each[0].mean:.2f} to {each[-1].mean:.2f}"
        for kind, each in overlaps.items()
    )
    title = f"{name}, {sweep.name}: what the network gains, and the overlap score"
    return Panel(f"sweep-{name}-{safe_name(sweep.name)}", title, f"Curves over {sweep.axis}: {said}.", draw,
                 size=(5.4, 4.2), legend=True)  # fmt: skip


def scatter_panels(study: Study, name: str) -> list[Panel]:
    """Draw the gain of every judged case over its overlap score, and over the size of the change."""
    return [
        _scatter(study, f"scatter-{name}-overlap", f"{name}: gain over the overlap score", OVERLAP, "overlap score"),
        _scatter(study, f"scatter-{name}-change", f"{name}: gain over the size of the change", CHANGE,
                 "log₁₀ of the mean squared change"),
    ]  # fmt: skip


def _scatter(study: Study, stem: str, title: str, predictor: Predictor, xlabel: str) -> Panel:
    groups = {}
    for sweep in study.sweeps:
        cases = [case for each in study.judged for case in each if case.input in sweep.inputs.values()]
        groups[sweep.name] = ([predictor.columns(case)[0] for case in cases], [case.gain for case in cases])
    return drawing.scatter(stem, title, groups, xlabel, "gain over the baseline, dB")


def _curve(
    axes: Axes, x: Sequence[float], values: Sequence[Estimate], label: str, theme: Theme, index: int, style: str
) -> None:
    color = theme.cycle[index]
    low = [each.mean if each.low is None else each.low for each in values]
    high = [each.mean if each.high is None else each.high for each in values]
    axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    axes.plot(x, [each.mean for each in values], label=label, color=color, marker=MARKERS[index], markersize=4.5,
              linewidth=1.8, linestyle=style)  # fmt: skip


def _highest_gain(study: Study) -> tuple[float, float]:
    """Return limits that hold the gains of all sweeps, so that figures can be compared."""
    means = [study.mean(text, lambda case: case.gain) for sweep in study.sweeps for text in sweep.inputs.values()]
    ends = [end for each in means for end in (each.mean, each.low, each.high) if end is not None]
    margin = 0.05 * (max(ends) - min(ends)) + 0.1
    return min(ends) - margin, max(ends) + margin


def _dress_right(axes: Axes, theme: Theme) -> None:
    axes.set_ylabel("overlap score", color=theme.text, fontsize=10)
    axes.tick_params(colors=theme.text, labelsize=9, length=0, pad=6)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "right")
        spine.set_color(theme.grid)
