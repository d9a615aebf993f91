# SPDX-License-Identifier: Apache-2.0
"""Controllable restoration: the found filters dialled from the baseline (λ = 0) beyond the target (λ up to 1.5)."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from filterlens.data.images import center_crop
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.editing.dial import modulated
from filterlens.filters import Selection
from filterlens.metrics import specification
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Claim, Experiment, Outcome, Table, Verdict, images_text
from filterlens.paper.experiments.modulation.dials import Dials, dial, knob_name
from filterlens.paper.experiments.modulation.knobs import knob_claims, knob_panels, knob_tables
from filterlens.paper.images import evenly
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.published import MODULATION
from filterlens.paper.settings import Percent, Positive, Settings
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import fixed, function_of, listed

ABOUT = 0.05  # "about 1.1 to 1.2" in the paper: our optimum may lie so far outside
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
        levels: Of removal, at which knobs are compared.
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


def run(laboratory: Laboratory, settings: ModulationSettings) -> Outcome:
    """Dial the filters of the shipped target of every pair, and set them against other knobs."""
    claims: list[Claim] = []
    tables: list[Table] = []
    panels: list[Panel] = []
    for name in laboratory.common.pairs[: settings.pairs]:
        model, samples = laboratory.target(name), evenly(laboratory.judging(name), settings.images)
        inputs = inputs_of(laboratory, settings)
        found = laboratory.attribute(model, ["faig"], laboratory.finding)["faig"]
        selections = {
            (kind, percent): found.select(kind, percent)
            for kind in laboratory.common.degradations
            for percent in settings.percents
        }
        dials = dial(laboratory, model, selections, samples, settings.strengths, inputs)
        percent, kinds = min(settings.percents), laboratory.common.degradations
        claims += best_claims(name, inputs, dials, percent)
        claims += knob_claims(name, kinds, dials, percent, settings.levels)
        tables += _best_tables(name, inputs, settings.percents, dials)
        tables += knob_tables(name, kinds, dials, settings.percents, settings.levels)
        panels += _best_panels(name, inputs, percent, dials)
        panels += knob_panels(name, kinds, dials, settings.percents)
        panels += _pictures(laboratory, settings, model, selections, samples[0], dials)
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _TEXT, _specification(laboratory, settings))


def inputs_of(laboratory: Laboratory, settings: ModulationSettings) -> dict[str, tuple[str, ...]]:
    """Return the inputs on which the filters of each degradation are dialled, in their canonical names."""
    given = {str(Degradation.parse(kind)): inputs for kind, inputs in settings.inputs.items()}
    chosen = {kind: given.get(kind, ("clean", kind)) for kind in laboratory.common.degradations}
    return {kind: tuple(str(Degradation.parse(each)) for each in inputs) for kind, inputs in chosen.items()}


def best_claims(name: str, inputs: Mapping[str, Sequence[str]], dials: Dials, percent: float) -> Iterator[Claim]:
    """Judge the paper's best strengths, whether extrapolation helps, and whether stronger inputs want more."""
    for kind in inputs:
        if kind in MODULATION and kind in inputs[kind]:
            yield _published_strength(name, kind, dials, percent)
    yield from _extrapolation(name, inputs, dials, percent)
    yield _more_for_stronger(name, inputs, dials, percent)


def _published_strength(name: str, kind: str, dials: Dials, percent: float) -> Claim:
    low, high = MODULATION[kind]
    best = dials.best(knob_name(kind, percent), kind)
    return Claim(
        f"{name}: {function_of(kind)} is best at λ of about {low:g} to {high:g}",
        "paper, controllable restoration",
        Verdict.of([low - ABOUT <= best.mean <= high + ABOUT]),
        f"best λ {best} on {kind} ({percent:g} % of the filters, parabola through the best λ and its neighbours, "
        "95 % interval over images)",
    )


def _extrapolation(name: str, inputs: Mapping[str, Sequence[str]], dials: Dials, percent: float) -> Iterator[Claim]:
    """Judge, where the paper's best λ lies beyond 1, the strength of training; tell the strongest input too."""
    for kind, given in inputs.items():
        if MODULATION.get(kind, (0, 0))[1] <= 1:
            continue
        gains = {each: dials.gain_beyond(knob_name(kind, percent), each) for each in dict.fromkeys((kind, given[-1]))}
        yield Claim(
            f"{name}: dialling {function_of(kind)} beyond the target (λ > 1) improves the picture on {kind}",
            "paper, controllable restoration",
            Verdict.of([low > 0 for low in (gains[kind].low,) if low is not None]),
            f"{'; '.join(f'{each}: {gain} dB over λ = 1' for each, gain in gains.items())} (for each image, the best "
            f"λ ≥ 1 of all other images; {percent:g} % of the filters; it holds where the interval lies above 0)",
        )


def _more_for_stronger(name: str, inputs: Mapping[str, Sequence[str]], dials: Dials, percent: float) -> Claim:
    checks, words = [], []
    for kind, given in inputs.items():
        degraded = [each for each in given if each != "clean"]
        best = [dials.best(knob_name(kind, percent), each).mean for each in degraded]
        checks += [later >= earlier for earlier, later in pairwise(best)]
        listed_up = ", ".join(f"{each} {fixed(value)}" for each, value in zip(degraded, best, strict=True))
        words.append(f"{function_of(kind)}: best λ on {listed_up}")
    return Claim(
        f"{name}: the stronger the degradation of the input, the larger the best λ",
        "filterlens",
        Verdict.of(checks),
        f"{'; '.join(words)} ({percent:g} % of the filters)",
    )


def _best_tables(
    name: str, inputs: Mapping[str, Sequence[str]], percents: Sequence[float], dials: Dials
) -> Iterator[Table]:
    heads = ["input", "PSNR at λ = 0", "PSNR at λ = 1"]
    for percent in percents:
        heads += [f"best λ, {percent:g} %", f"PSNR there, {percent:g} %"]
    for kind, given in inputs.items():
        rows = [tuple(_best_row(kind, each, percents, dials)) for each in given]
        yield Table(
            f"best-{name}-{safe_name(kind)}",
            f"{name}: the filters of {function_of(kind)} dialled on inputs of varying strength",
            tuple(heads),
            tuple(rows),
            f"PSNR in dB, mean over images; λ = 0 with {percents[0]:g} % of the filters. Best λ with its 95 % "
            f"bootstrap interval over images, within {dials.strengths[0]:g} to {dials.strengths[-1]:g}; PSNR at the "
            "best λ that was measured.",
            digits=4,
        )


def _best_row(kind: str, given: str, percents: Sequence[float], dials: Dials) -> Iterator[Cell]:
    first = dials.psnr(knob_name(kind, percents[0]), given).mean(1)
    yield given
    yield float(first[dials.strengths.index(0)])
    yield float(first[dials.strengths.index(1)])
    for percent in percents:
        knob = knob_name(kind, percent)
        yield dials.best(knob, given)
        yield float(dials.psnr(knob, given).mean(1).max())


def _best_panels(name: str, inputs: Mapping[str, Sequence[str]], percent: float, dials: Dials) -> Iterator[Panel]:
    for kind, given in inputs.items():
        curves = []
        for each in given:
            values = dials.psnr(knob_name(kind, percent), each).mean(1)
            gains = (values - values[dials.strengths.index(1)]).tolist()
            curves.append(drawing.Line(each, dials.strengths, gains))
        yield drawing.lines(
            f"psnr-{name}-{safe_name(kind)}",
            f"{name}: {percent:g} % of the filters, {function_of(kind)} dialled",
            curves,
            "λ (0: baseline, 1: target)",
            "PSNR, dB above that of λ = 1",
            marks={"target": 1.0},
        )


def _pictures(
    laboratory: Laboratory,
    settings: ModulationSettings,
    model: TargetModel,
    selections: Mapping[tuple[str, float], Selection],
    sample: Sample,
    dials: Dials,
) -> Iterator[Panel]:
    percent = min(settings.percents)
    for kind in laboratory.common.degradations:
        best = dials.best(knob_name(kind, percent), kind).mean
        shown = _dialled(laboratory, model, selections[kind, percent], sample, kind, settings.picture, best)
        yield drawing.pictures(
            f"pictures-{model.name}-{safe_name(kind)}",
            f"{model.name}: {function_of(kind)} dialled on '{sample.name}', {kind}",
            shown,
            alt=f"The centre of '{sample.name}' with {kind}: input, λ of 0, 0.5, 1 and {fixed(best)}, truth.",
        )


@torch.no_grad()
def _dialled(
    laboratory: Laboratory, model: TargetModel, selection: Selection, sample: Sample, kind: str, side: int, best: float
) -> list[tuple[str, Tensor]]:
    pair = model.pair
    truth = center_crop(sample.truth(pair.scale), side - side % pair.scale)
    lowered = Degradation.parse(kind).apply(truth, pair.scale, seed=laboratory.common.seed)
    large = torch.nn.functional.interpolate(lowered, scale_factor=float(pair.scale), mode="nearest")
    results = [
        (f"λ = {text}", pair.run(modulated(pair, selection, strength), lowered, laboratory.judge_precision).cpu())
        for text, strength in (("0", 0.0), ("0.5", 0.5), ("1", 1.0), (f"{fixed(best)}, best", best))
    ]
    return [("input", large), *results, ("truth", truth)]


def _specification(laboratory: Laboratory, settings: ModulationSettings) -> dict[str, str]:
    common = laboratory.common
    pairs = common.pairs[: settings.pairs]
    fewer = "" if settings.images is None else f" (of these at most {settings.images}, spread evenly)"
    return {
        "target models": f"the shipped one of {listed(list(pairs))}",
        "found on": images_text(common.find),
        "judged on": "; ".join(f"{name}: {images_text(common.judged_on(name))}" for name in pairs) + fewer,
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
