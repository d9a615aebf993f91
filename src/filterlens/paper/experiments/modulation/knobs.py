# SPDX-License-Identifier: Apache-2.0
"""Three knobs against each other: at equal removal of one function, how much of the others is kept."""

from collections.abc import Iterator, Sequence

from filterlens.evaluation.statistics import Estimate
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Claim, Table, Verdict
from filterlens.paper.experiments.modulation.dials import ALL_WEIGHTS, BLEND, Dials, knob_name
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import fixed, function_of

RIVALS = (ALL_WEIGHTS, BLEND)
CLEAN = "clean"


def knob_claims(
    name: str, kinds: Sequence[str], dials: Dials, percent: float, levels: Sequence[float]
) -> Iterator[Claim]:
    """Say for the other degradations and for clean inputs whether the found filters keep more than both rivals.

    Args:
        name: Of the pair.
        kinds: The degradations whose filters are dialled.
        dials: What was measured.
        percent: Share of the filters.
        levels: Of removal.
    """
    for inputs, text in ((kinds, "of the other function"), ((CLEAN,), "on clean inputs")):
        found = [_compared(kind, other, dials, percent, levels) for kind in kinds for other in inputs if other != kind]
        checks = [check for each, _ in found for check in each]
        yield Claim(
            f"{name}: at equal removal, dialling {percent:g} % of the filters keeps more {text} than DNI and than "
            "blending outputs",
            "filterlens",
            Verdict.of(checks),
            f"{'; '.join(words for _, words in found)} (more than both in {sum(checks)} of {len(checks)} comparisons, "
            f"at removals of {', '.join(map(_level, levels))})",
        )


def knob_tables(
    name: str, kinds: Sequence[str], dials: Dials, percents: Sequence[float], levels: Sequence[float]
) -> Iterator[Table]:
    """Tabulate what every knob keeps on every other input, at equal removal."""
    for kind in kinds:
        others = _others(kinds, kind)
        heads = [f"{other}, removal {_level(level)}" for level in levels for other in others]
        rows: list[tuple[Cell, ...]] = []
        for knob in _knobs(percents, kind):
            cells = [dials.kept(knob, kind, other, level) for level in levels for other in others]
            rows.append((knob, max(dials.curve(knob, kind, others[0])[0]), *cells))
        yield Table(
            f"kept-{name}-{safe_name(kind)}",
            f"{name}: preservation of other inputs where {function_of(kind)} is removed",
            ("knob", "largest removal", *heads),
            tuple(rows),
            "1: nothing else has changed; 0: as far from the target as the baseline is; below 0: farther. [95 % "
            "bootstrap interval over images]. A dash: the knob never removes as much between λ = 1 and 0.",
        )


def knob_panels(name: str, kinds: Sequence[str], dials: Dials, percents: Sequence[float]) -> Iterator[Panel]:
    """Draw preservation of every other input over removal."""
    for kind in kinds:
        for other in _others(kinds, kind):
            curves = [drawing.Line(knob, *dials.curve(knob, kind, other)) for knob in _knobs(percents, kind)]
            lowest = min(value for line in curves for value in line.y)
            yield drawing.lines(
                f"kept-{name}-{safe_name(kind)}-{safe_name(other)}",
                f"{name}: {function_of(kind)} dialled down, what is kept on {other}",
                curves,
                f"removal on {kind}",
                f"preservation on {other}",
                limits=(max(-1.0, min(-0.05, lowest - 0.05)), 1.05),
            )


def _compared(kind: str, other: str, dials: Dials, percent: float, levels: Sequence[float]) -> tuple[list[bool], str]:
    """Compare the knobs on one other input at every level; the sentence tells the highest level."""
    knob = knob_name(kind, percent)
    kept = [[dials.kept(each, kind, other, level) for each in (knob, *RIVALS)] for level in levels]
    checks = [ours is not None and all(r is None or ours.mean > r.mean for r in rivals) for ours, *rivals in kept]
    said = ", ".join(
        f"{label} {_kept_text(each)}" for label, each in zip(("the filters", *RIVALS), kept[-1], strict=True)
    )
    words = f"{function_of(kind)} removed by {_level(levels[-1])}, kept on {other}: {said}"
    if kept[-1][0] is None:
        words += f", for they remove {_level(max(dials.curve(knob, kind, other)[0]))} at most"
    return checks, f"{words} ({_price(dials, knob, other)})"


def _price(dials: Dials, knob: str, other: str) -> str:
    """Say what turning the knob off altogether costs on another input, and what turning everything off does."""
    off, on = dials.strengths.index(0), dials.strengths.index(1)
    costs = [dials.psnr(each, other)[off].mean() - dials.psnr(each, other)[on].mean() for each in (knob, BLEND)]
    return "PSNR there at λ = 0: {} dB with the filters, {} dB with the baseline".format(*map(_signed, costs))


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{fixed(value)}"


def _kept_text(kept: Estimate | None) -> str:
    return "–" if kept is None else fixed(kept.mean)


def _knobs(percents: Sequence[float], kind: str) -> list[str]:
    return [*(knob_name(kind, percent) for percent in percents), *RIVALS]


def _others(kinds: Sequence[str], kind: str) -> list[str]:
    return [other for other in (*kinds, CLEAN) if other != kind]


def _level(level: float) -> str:
    return f"{100 * level:.3g} %"
