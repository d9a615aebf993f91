# SPDX-License-Identifier: Apache-2.0
"""Controllable restoration: the found filters dialled from the baseline (λ = 0) beyond the target (λ up to 1.5).

Three knobs are set against each other: at equal removal of one function, how much of the others is kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from filterlens.attribution.result import Attribution
from filterlens.data.images import center_crop
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.editing.dial import modulated
from filterlens.evaluation.modulation import (
    AllWeights,
    FilterKnob,
    Knob,
    OutputBlend,
    best_strength,
    measure_knobs,
    preservation_at,
)
from filterlens.evaluation.statistics import Array, Estimate, bootstrap_mean, draw_counts
from filterlens.metrics import specification
from filterlens.paper import drawing
from filterlens.paper.experiment import (
    Cell,
    Claim,
    Experiment,
    Outcome,
    Part,
    Row,
    Table,
    Verdict,
    common_rows,
    is_above,
)
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.published import MODULATION
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import fixed, function_of, listed
from filterlens.settings import Percent, Positive, Settings
from filterlens.work.store import digest

ALL_WEIGHTS, BLEND = "all weights (DNI)", "output blending"
QUANTITIES = ("psnr", "to_baseline", "to_target", "scale")  # of a knob on an image
DEFAULT_INPUTS = {
    "blur:2": ("clean", "blur:1", "blur:1.5", "blur:2", "blur:2.5", "blur:3"),
    "noise:0.1": ("clean", "noise:0.05", "noise:0.1", "noise:0.15", "noise:0.2"),
}


class ModulationSettings(Settings):
    """Settings of controllable restoration.

    Attributes:
        pairs: At most so many of the common pairs.
        percents: Shares of the filters that are dialled.
        strengths: λ.
        inputs: Degradation → inputs of varying strength on which its filters are dialled, weakest first.
        levels: Removals at which knobs are compared.
        images: At most so many of the images to judge on, spread evenly.
        picture: Side of the square that is shown, in HR pixels.
    """

    pairs: Positive | None = None
    percents: tuple[Percent, ...] = (1.0, 5.0)
    strengths: tuple[float, ...] = (0, 0.2, 0.4, 0.6, 0.8, 0.9, 1, 1.1, 1.2, 1.35, 1.5)
    inputs: dict[str, tuple[str, ...]] = DEFAULT_INPUTS
    levels: tuple[float, ...] = (0.5, 0.75, 0.9)
    images: Positive | None = None
    picture: Positive = 160


def inputs_of(laboratory: Laboratory, settings: ModulationSettings) -> dict[str, tuple[str, ...]]:
    """Return the inputs on which the filters of each degradation are dialled, in their canonical names."""
    given = {str(Degradation.parse(kind)): inputs for kind, inputs in settings.inputs.items()}
    chosen = {kind: given.get(kind, ("clean", kind)) for kind in laboratory.common.degradations}
    return {kind: tuple(str(Degradation.parse(each)) for each in inputs) for kind, inputs in chosen.items()}


def knob_name(degradation: str, percent: float) -> str:
    """Name the knob on the filters found for a degradation."""
    return f"{percent:g} %, found for {degradation}"


@dataclass(frozen=True, eq=False)
class Dials:
    """All knobs on all images.

    Attributes:
        name: Name of the pair.
        inputs: Degradation → inputs on which its filters were dialled, weakest first.
        percents: Shares of the filters that were dialled.
        strengths: λ, ascending; 1 is among them.
        images: Names of the images.
        rows: (knob, input) → (quantity, strengths, images) with the quantities of :data:`QUANTITIES`.
        resamples: Draws of a bootstrap over images.
    """

    name: str
    inputs: Mapping[str, Sequence[str]]
    percents: tuple[float, ...]
    strengths: tuple[float, ...]
    images: tuple[str, ...]
    rows: Mapping[tuple[str, str], Array]
    resamples: int = 2000

    @property
    def percent(self) -> float:
        """The smallest share of the filters; claims and figures show it."""
        return min(self.percents)

    def knob(self, kind: str) -> str:
        """Return the knob on the smallest share of the filters found for a degradation."""
        return knob_name(kind, self.percent)

    def knobs(self, kind: str) -> list[str]:
        """Return the knobs on all shares of the filters found for a degradation."""
        return [knob_name(kind, percent) for percent in self.percents]

    def psnr(self, knob: str, kind: str) -> Array:
        """Return the PSNR in dB, ``(strengths, images)``."""
        return np.asarray(self.rows[knob, kind][0])

    def best(self, knob: str, kind: str) -> Estimate:
        """Return the λ with the highest mean PSNR, with its interval over images."""
        values = self.psnr(knob, kind)
        draws = values @ draw_counts(len(self.images), self.resamples, 0).T / len(self.images)
        interval = self._interval([best_strength(self.strengths, draw) for draw in draws.T])
        return Estimate(best_strength(self.strengths, values.mean(1)), *interval, n=len(self.images))

    def gain_beyond(self, knob: str, kind: str) -> Estimate:
        """Return the gain in dB over λ = 1 of the best λ ≥ 1, which is chosen for each image on all other images."""
        values, one = self.psnr(knob, kind), self.strengths.index(1)
        beyond, images = values[one:], len(self.images)
        others = [beyond[:, [i for i in range(images) if i != image] or [image]].mean(1) for image in range(images)]
        gains = [beyond[other.argmax(), image] - beyond[0, image] for image, other in enumerate(others)]
        return bootstrap_mean(gains, resamples=self.resamples)

    def curve(self, knob: str, own: str, other: str, counts: Array | None = None) -> tuple[list[float], list[float]]:
        """Return removal on one input and preservation on another, pooled over images, from λ = 1 down to 0."""
        down = [index for index, strength in enumerate(self.strengths) if 0 <= strength <= 1][::-1]
        weights = np.ones(len(self.images)) if counts is None else counts
        removed, kept = self.rows[knob, own], self.rows[knob, other]
        return (
            (1 - (removed[1] @ weights)[down] / (removed[3] @ weights)[down]).tolist(),
            (1 - (kept[2] @ weights)[down] / (kept[3] @ weights)[down]).tolist(),
        )

    def kept(self, knob: str, own: str, other: str, level: float) -> Estimate | None:
        """Return the preservation of another input where a knob removes ``level``; None where it never does."""
        value = preservation_at(*self.curve(knob, own, other), level)
        if value is None:
            return None
        counts = draw_counts(len(self.images), self.resamples, 0)
        drawn = [preservation_at(*self.curve(knob, own, other, each), level) for each in counts]
        interval = self._interval([each for each in drawn if each is not None])
        return Estimate(value, *interval, n=len(self.images))

    def _interval(self, draws: Sequence[float]) -> tuple[float | None, float | None]:
        if len(self.images) < 2 or not draws:
            return None, None
        low, high = np.quantile(draws, [0.025, 0.975])
        return float(low), float(high)


def dial(
    laboratory: Laboratory,
    settings: ModulationSettings,
    model: TargetModel,
    found: Attribution,
    samples: Sequence[Sample],
) -> Dials:
    """Dial the found filters, all weights and the blend of outputs.

    The filters of a degradation are dialled on the inputs of the settings, and all knobs on the common ones and clean.

    Args:
        laboratory: Shares and keeps the results.
        settings: Shares of the filters, strengths (0 and 1 are added where they are missing) and inputs.
        model: Baseline and target.
        found: The ranking.
        samples: HR images.
    """
    grid = tuple(sorted({0.0, 1.0, *settings.strengths}))
    everywhere, inputs = tuple(laboratory.inputs), inputs_of(laboratory, settings)
    knobs: dict[str, tuple[Knob, tuple[str, ...]]] = {}
    chosen: dict[str, str] = {}
    for kind, own in inputs.items():
        for percent in settings.percents:
            name, selection = knob_name(kind, percent), found.select(kind, percent)
            knobs[name] = FilterKnob(selection), tuple(dict.fromkeys((*everywhere, *own)))
            chosen[name] = selection.fingerprint()
    knobs |= {ALL_WEIGHTS: (AllWeights(), everywhere), BLEND: (OutputBlend(), everywhere)}
    kinds = {kind: Degradation.parse(kind) for _, where in knobs.values() for kind in where}
    precision, seed = laboratory.judge_precision, laboratory.common.seed
    wanted = {name: [digest(chosen.get(name)), list(where)] for name, (_, where) in knobs.items()}

    def measure(model: TargetModel, sample: Sample) -> dict[str, Any]:
        dialled = measure_knobs(model.pair, knobs, sample, kinds, grid, seed=seed, precision=precision)
        return {"dialled": [[getattr(each, quantity) for quantity in QUANTITIES] for each in dialled]}

    def identity(model: TargetModel) -> Any:
        return [model.identity, wanted, grid, precision]

    measured = laboratory.measured("modulation", [model], samples, identity, measure, title=lambda model: model.title)
    rows = [
        (name, kind) for kind in kinds for name, (_, where) in knobs.items() if kind in where
    ]  # as they are measured
    table = measured["dialled"].reshape(len(samples), len(rows), len(grid), len(QUANTITIES))
    by_row = dict(zip(rows, table.transpose(1, 3, 2, 0), strict=True))
    images = tuple(sample.name for sample in samples)
    return Dials(model.name, inputs, settings.percents, grid, images, by_row, laboratory.common.resamples)


ABOUT = 0.05  # "about 1.1 to 1.2" in the paper: our optimum may lie so far outside
RIVALS = (ALL_WEIGHTS, BLEND)
CLEAN = "clean"


def run(laboratory: Laboratory, settings: ModulationSettings) -> Outcome:
    """Dial the filters of the shipped target of every pair, and set them against other knobs."""
    claims: list[Claim] = []
    tables: list[Table] = []
    panels: list[Panel] = []
    for name in laboratory.common.pairs[: settings.pairs]:
        model, samples = laboratory.target(name), laboratory.judging(name, settings.images)
        found = laboratory.attribute(model, ["faig"], laboratory.finding)["faig"]
        dials = dial(laboratory, settings, model, found, samples)
        claims += [*best_claims(dials), *knob_claims(dials, settings.levels)]
        tables += [*_best_tables(dials), *knob_tables(dials, settings.levels)]
        panels += [*_best_panels(dials), *_knob_panels(dials)]
        panels += _pictures(laboratory, settings.picture, model, found, samples[0], dials)
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _TEXT, _specification(laboratory, settings))


def best_claims(dials: Dials) -> Iterator[Claim]:
    """Judge the paper's best strengths, whether extrapolation helps, and whether stronger inputs want more."""
    for kind, given in dials.inputs.items():
        if kind in MODULATION and kind in given:
            yield _published_strength(dials, kind)
    for kind in dials.inputs:
        if MODULATION.get(kind, (0, 0))[1] > 1:
            yield _extrapolation(dials, kind)
    yield _more_for_stronger(dials)


def _published_strength(dials: Dials, kind: str) -> Claim:
    low, high = MODULATION[kind]
    best = dials.best(dials.knob(kind), kind)
    return Claim(
        f"{dials.name}: {function_of(kind)} is best at λ of about {low:g} to {high:g}",
        "paper, controllable restoration",
        Verdict.of([low - ABOUT <= best.mean <= high + ABOUT]),
        f"best λ {best} on {kind} ({dials.percent:g} % of the filters, parabola through the best λ and its neighbours, "
        "95 % interval over images)",
    )


def _extrapolation(dials: Dials, kind: str) -> Claim:
    """Judge, where the paper's best λ lies beyond 1, the strength of training; tell the strongest input too."""
    inputs = dict.fromkeys((kind, dials.inputs[kind][-1]))
    gains = {each: dials.gain_beyond(dials.knob(kind), each) for each in inputs}
    return Claim(
        f"{dials.name}: dialling {function_of(kind)} beyond the target (λ > 1) improves the picture on {kind}",
        "paper, controllable restoration",
        Verdict.of([None if gains[kind].low is None else is_above(gains[kind])]),
        f"{'; '.join(f'{each}: {gain} dB over λ = 1' for each, gain in gains.items())} (for each image, the best "
        f"λ ≥ 1 of all other images; {dials.percent:g} % of the filters; it holds where the interval lies above 0)",
    )


def _more_for_stronger(dials: Dials) -> Claim:
    def judged(kind: str) -> Part:
        best = {each: dials.best(dials.knob(kind), each).mean for each in dials.inputs[kind] if each != CLEAN}
        strengths = ", ".join(f"{each} {fixed(value)}" for each, value in best.items())
        checks = [later >= earlier for earlier, later in pairwise(best.values())]
        return checks, f"{function_of(kind)}: best λ on {strengths}"

    return Claim.of(
        f"{dials.name}: the stronger the degradation of the input, the larger the best λ",
        "filterlens",
        map(judged, dials.inputs),
        end=f" ({dials.percent:g} % of the filters)",
    )


def knob_claims(dials: Dials, levels: Sequence[float]) -> Iterator[Claim]:
    """Say for the other degradations and for clean inputs whether the found filters keep more than both rivals.

    Args:
        dials: What was measured.
        levels: Levels of removal.
    """
    kinds = list(dials.inputs)
    for inputs, text in ((kinds, "of the other function"), ([CLEAN], "on clean inputs")):
        parts = [_compared(dials, kind, other, levels) for kind in kinds for other in inputs if other != kind]
        checks = [check for each, _ in parts for check in each]
        yield Claim.of(
            f"{dials.name}: at equal removal, dialling {dials.percent:g} % of the filters keeps more {text} than DNI "
            "and than blending outputs",
            "filterlens",
            parts,
            end=f" (more than both in {sum(checks)} of {len(checks)} comparisons, "
            f"at removals of {', '.join(map(_level, levels))})",
        )


def _compared(dials: Dials, kind: str, other: str, levels: Sequence[float]) -> tuple[list[bool], str]:
    """Compare the knobs on one other input at every level; the sentence tells the highest level."""
    knobs = dials.knob(kind), *RIVALS
    kept = [[dials.kept(each, kind, other, level) for each in knobs] for level in levels]
    checks = [ours is not None and all(r is None or ours.mean > r.mean for r in rivals) for ours, *rivals in kept]
    said = ", ".join(
        f"{label} {'–' if each is None else fixed(each.mean)}"
        for label, each in zip(("the filters", *RIVALS), kept[-1], strict=True)
    )
    words = f"{function_of(kind)} removed by {_level(levels[-1])}, kept on {other}: {said}"
    if kept[-1][0] is None:
        words += f", for they remove {_level(max(dials.curve(knobs[0], kind, other)[0]))} at most"
    return checks, f"{words} ({_price(dials, knobs[0], other)})"


def _price(dials: Dials, knob: str, other: str) -> str:
    """Say what turning the knob off altogether costs on another input, and what turning everything off does."""
    off, on = dials.strengths.index(0), dials.strengths.index(1)
    filters, everything = (
        f"{'+' if cost > 0 else ''}{fixed(cost)} dB"
        for cost in (dials.psnr(each, other)[off].mean() - dials.psnr(each, other)[on].mean() for each in (knob, BLEND))
    )
    return f"PSNR there at λ = 0: {filters} with the filters, {everything} with the baseline"


def _best_tables(dials: Dials) -> Iterator[Table]:
    heads = [head for percent in dials.percents for head in (f"best λ, {percent:g} %", f"PSNR there, {percent:g} %")]
    for kind, given in dials.inputs.items():
        yield Table(
            f"best-{dials.name}-{safe_name(kind)}",
            f"{dials.name}: the filters of {function_of(kind)} dialled on inputs of varying strength",
            ("input", "PSNR at λ = 0", "PSNR at λ = 1", *heads),
            [tuple(_best_row(dials, kind, each)) for each in given],
            f"PSNR in dB, mean over images; λ = 0 with {dials.percents[0]:g} % of the filters. Best λ with its 95 % "
            f"bootstrap interval over images, within {dials.strengths[0]:g} to {dials.strengths[-1]:g}; PSNR at the "
            "best λ that was measured.",
            digits=4,
        )


def _best_row(dials: Dials, kind: str, given: str) -> Iterator[Cell]:
    knobs = dials.knobs(kind)
    first = dials.psnr(knobs[0], given).mean(1)
    yield from (given, float(first[dials.strengths.index(0)]), float(first[dials.strengths.index(1)]))
    for knob in knobs:
        yield from (dials.best(knob, given), float(dials.psnr(knob, given).mean(1).max()))


def knob_tables(dials: Dials, levels: Sequence[float]) -> Iterator[Table]:
    """Tabulate what every knob keeps on every other input, at equal removal."""
    for kind in dials.inputs:
        others = _others(dials, kind)
        heads = [f"{other}, removal {_level(level)}" for level in levels for other in others]
        rows: list[Row] = []
        for knob in (*dials.knobs(kind), *RIVALS):
            cells = [dials.kept(knob, kind, other, level) for level in levels for other in others]
            rows.append((knob, max(dials.curve(knob, kind, others[0])[0]), *cells))
        yield Table(
            f"kept-{dials.name}-{safe_name(kind)}",
            f"{dials.name}: preservation of other inputs where {function_of(kind)} is removed",
            ("knob", "largest removal", *heads),
            rows,
            "1: nothing else has changed; 0: as far from the target as the baseline is; below 0: farther. [95 % "
            "bootstrap interval over images]. A dash: the knob never removes as much between λ = 1 and 0.",
        )


def _best_panels(dials: Dials) -> Iterator[Panel]:
    for kind, given in dials.inputs.items():
        curves = []
        for each in given:
            values = dials.psnr(dials.knob(kind), each).mean(1)
            gains = (values - values[dials.strengths.index(1)]).tolist()
            curves.append(drawing.Line(each, dials.strengths, gains))
        yield drawing.lines(
            f"psnr-{dials.name}-{safe_name(kind)}",
            f"{dials.name}: {dials.percent:g} % of the filters, {function_of(kind)} dialled",
            curves,
            "λ (0: baseline, 1: target)",
            "PSNR, dB above that of λ = 1",
            marks={"target": 1.0},
        )


def _knob_panels(dials: Dials) -> Iterator[Panel]:
    """Draw preservation of every other input over removal."""
    for kind in dials.inputs:
        for other in _others(dials, kind):
            knobs = (*dials.knobs(kind), *RIVALS)
            curves = [drawing.Line(knob, *dials.curve(knob, kind, other)) for knob in knobs]
            lowest = min(value for line in curves for value in line.y)
            yield drawing.lines(
                f"kept-{dials.name}-{safe_name(kind)}-{safe_name(other)}",
                f"{dials.name}: {function_of(kind)} dialled down, what is kept on {other}",
                curves,
                f"removal on {kind}",
                f"preservation on {other}",
                limits=(max(-1.0, min(-0.05, lowest - 0.05)), 1.05),
            )


def _others(dials: Dials, kind: str) -> list[str]:
    return [other for other in (*dials.inputs, CLEAN) if other != kind]


def _level(level: float) -> str:
    return f"{100 * level:.3g} %"


@torch.no_grad()
def _pictures(
    laboratory: Laboratory, side: int, model: TargetModel, found: Attribution, sample: Sample, dials: Dials
) -> Iterator[Panel]:
    """Show the centre of one image with every degradation, its filters at several strengths."""
    pair = model.pair
    truth = center_crop(sample.truth(pair.scale), side - side % pair.scale)
    for kind in dials.inputs:
        best = dials.best(dials.knob(kind), kind).mean
        lowered = laboratory.inputs[kind].apply(truth, pair.scale, seed=laboratory.common.seed)
        shown = [("input", torch.nn.functional.interpolate(lowered, scale_factor=float(pair.scale), mode="nearest"))]
        for text, strength in (("0", 0.0), ("0.5", 0.5), ("1", 1.0), (f"{fixed(best)}, best", best)):
            vector = modulated(pair, found.select(kind, dials.percent), strength)
            shown.append((f"λ = {text}", pair.run(vector, lowered, laboratory.judge_precision).cpu()))
        yield drawing.pictures(
            f"pictures-{model.name}-{safe_name(kind)}",
            f"{model.name}: {function_of(kind)} dialled on '{sample.name}', {kind}",
            [*shown, ("truth", truth)],
            alt=f"The centre of '{sample.name}' with {kind}: input, λ of 0, 0.5, 1 and {fixed(best)}, truth.",
        )


def _specification(laboratory: Laboratory, settings: ModulationSettings) -> dict[str, str]:
    common = laboratory.common
    pairs = common.pairs[: settings.pairs]
    fewer = "" if settings.images is None else f" (of these at most {settings.images}, spread evenly)"
    return common_rows(common, pairs, of_all=fewer) | {
        "target models": f"the shipped one of {listed(list(pairs))}",
        "strengths λ": ", ".join(f"{each:g}" for each in sorted({1.0, *settings.strengths})),
        "PSNR": specification(laboratory.target(pairs[0]).pair.scale),
        "precision of the judged networks": laboratory.judge_precision,
        "seed of the noise": str(common.seed),
    }


_TEXT = (
    "The filters found for a degradation go to θ̄ + λ(θ − θ̄); every other weight stays the target's, biases included. "
    "λ = 0 is masking, λ = 1 the target, above 1 extrapolation.",
    "Three knobs are compared: the found filters, all weights and biases on the same line (DNI, deep network "
    "interpolation), and a mixture of the two networks' outputs, which runs both. A knob for one degradation should "
    "take away its own function and keep the rest. *Removal* is 1 − ‖E − B‖² / ‖T − B‖² on the own input, "
    "*preservation* 1 − ‖E − T‖² / ‖B − T‖² on another one (E the dialled output, B the baseline's, T the target's). "
    "DNI and blending fade all functions together, so what they remove here they lose there.",
)

EXPERIMENT = Experiment(
    "modulation",
    "Controllable restoration: dialling the found filters",
    "best strength λ for inputs of varying strength; against DNI and blending of outputs",
    ModulationSettings,
    run,
)
