# SPDX-License-Identifier: Apache-2.0
"""The randomisation check: layers forget what they learned; does the ranking of the other filters notice?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from filterlens.attribution.quadrature import Quadrature
from filterlens.attribution.randomised import KINDS, from_the_last, randomised, remaining
from filterlens.attribution.result import Attribution
from filterlens.data.samples import Sample
from filterlens.evaluation.stability import Agreement, agreement_of
from filterlens.jobs.shared_runner import identity_of
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Claim, Table, Verdict
from filterlens.paper.experiments.trust.settings import TrustSettings
from filterlens.paper.experiments.trust.stability import Stability
from filterlens.paper.images import evenly
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import fixed, listed, method_label, percent_text, whole_percent

MATCHED = "random-layer-matched"
CONTROL = "control"
MEANINGS = {"weights": "the trained weights", "changes": "what fine-tuning taught the later layers"}
NO_MORE = 0.5  # of what disjoint image sets have in common may remain at the deepest step


@dataclass(frozen=True)
class Step:
    """One cascade of randomised layers.

    Attributes:
        kind: Of the randomisation, or ``control``: FAIG's own scores shuffled within every layer.
        layers: How many layers were randomised, from the last on.
        total: How many there are.
        method: Of the ranking.
        percent: The top filters, of those that remain.
        agreements: Degradation → agreement of the remaining filters' ranking with the one before.
        gap: Largest completeness gap of the integrals in the randomised target; None for methods without.
    """

    kind: str
    layers: int
    total: int
    method: str
    percent: float
    agreements: Mapping[str, Agreement]
    gap: float | None


def randomise(laboratory: Laboratory, settings: TrustSettings, name: str) -> list[Step]:
    """Randomise the shipped target's layers, cascading from the last, and rank the remaining filters anew."""
    model, few = laboratory.target(name), evenly(laboratory.finding, settings.checked)
    used = str(laboratory.attribute(model, ["faig"], few)["faig"].settings["precision"])
    methods = tuple(dict.fromkeys(("faig", *settings.randomised_methods)))
    before = _ranked(laboratory, settings, model, (*methods, MATCHED), few, used)
    cascades = from_the_last(model.pair.space, settings.depths)
    steps = []
    for kind in settings.kinds:
        for layers in cascades:
            pair = randomised(model.pair, layers, kind=kind, seed=laboratory.common.seed)
            other = TargetModel(f"{name}, {kind} of {len(layers)} layers", model.seed, pair, identity_of(pair))
            after = _ranked(laboratory, settings, other, methods, few, used)
            steps += [_step(kind, layers, before[method], after[method], settings.percent) for method in methods]
    return steps + [_step(CONTROL, layers, before["faig"], before[MATCHED], settings.percent) for layers in cascades]


def _ranked(
    laboratory: Laboratory,
    settings: TrustSettings,
    model: TargetModel,
    methods: Sequence[str],
    few: Sequence[Sample],
    precision: str,
) -> dict[str, Attribution]:
    rule = {"quadrature": Quadrature("gauss-legendre", settings.randomised_nodes)}
    return laboratory.attribute(model, methods, few, path_settings=rule, precision=precision)


def _step(kind: str, layers: Sequence[str], before: Attribution, after: Attribution, percent: float) -> Step:
    left = remaining(before.space, layers)
    agreements = {
        each: agreement_of(before.scores[each][left], after.scores[each][left], percent) for each in before.scores
    }
    gap = after.completeness_gap if after.completeness else None
    return Step(kind, len(layers), len(before.space.layers), after.method, percent, agreements, gap)


def randomisation_claims(name: str, steps: Sequence[Step], stability: Stability) -> Iterator[Claim]:
    """Judge for every kind of randomisation whether FAIG's ranking notices: at the deepest step little may remain."""
    for deepest in _deepest(steps):
        halves, checks, words = stability.halves, [], []
        control = _control(steps, deepest.layers)
        for degradation, agreement in deepest.agreements.items():
            usual = 1.0 if halves is None else halves.overlap(degradation).mean
            checks.append(agreement.overlap < NO_MORE * usual)
            words.append(
                f"{degradation} {_said(agreement)}"
                + ("" if halves is None else f", disjoint image sets {whole_percent(usual)}")
                + ("" if control is None else f", a ranking that knows only the layers {_said(control[degradation])}")
            )
        yield Claim(
            f"{name}: FAIG's ranking depends on {MEANINGS[deepest.kind]}: with the later layers randomised, the "
            f"others' top {percent_text(deepest.percent)} keeps less than {whole_percent(NO_MORE)} of its usual "
            "agreement",
            "filterlens, after Adebayo et al. 2018",
            Verdict.of(checks),
            f"{deepest.kind} of the last {deepest.layers} of {deepest.total} layers shuffled, in common with before: "
            + "; ".join(words)
            + "".join(_shallow(steps, deepest)),
        )


def _shallow(steps: Sequence[Step], deepest: Step) -> Iterator[str]:
    """Tell the first step of the same kind."""
    first = min((s for s in steps if (s.kind, s.method) == (deepest.kind, "faig")), key=lambda step: step.layers)
    if first is not deepest:
        kept = [f"{degradation} {whole_percent(each.overlap)}" for degradation, each in first.agreements.items()]
        yield f". Already the last {first.layers} alone: {listed(kept)}"


def _control(steps: Sequence[Step], layers: int) -> Mapping[str, Agreement] | None:
    return next((step.agreements for step in steps if (step.kind, step.layers) == (CONTROL, layers)), None)


def _said(agreement: Agreement) -> str:
    return f"{whole_percent(agreement.overlap)} (rank correlation {fixed(agreement.correlation)})"


def _deepest(steps: Sequence[Step]) -> list[Step]:
    """Return FAIG's last step of every kind of randomisation."""
    own = [step for step in steps if step.method == "faig"]
    return [max((step for step in own if step.kind == kind), key=lambda step: step.layers)
            for kind in dict.fromkeys(step.kind for step in own)]  # fmt: skip


def randomisation_table(name: str, steps: Sequence[Step]) -> Table:
    """Tabulate every step."""
    degradations = list(steps[0].agreements)
    top = percent_text(steps[0].percent)
    heads = [f"{each}: {what}" for each in degradations for what in (f"top {top} in common", "rank correlation")]
    rows: list[tuple[Cell, ...]] = []
    for step in steps:
        cells: list[Cell] = []
        for each in degradations:
            cells += [step.agreements[each].overlap, step.agreements[each].correlation]
        rows.append((step.kind, step.layers, method_label(step.method), *cells, step.gap))
    return Table(
        f"randomised-{name}",
        f"{name}: the ranking of the remaining filters after layers were randomised, from the last on",
        ("shuffled", f"layers of {steps[0].total}", "method", *heads, "largest completeness gap"),
        tuple(rows),
        "; ".join(f"{kind}: {text}" for kind, text in KINDS.items() if any(step.kind == kind for step in steps))
        + f"; {CONTROL}: no layer is randomised, FAIG's own scores are shuffled within every layer. "
        "Both rankings with the same fixed nodes; the gap says how exact the integrals are in the randomised "
        "target (where it is large, its ranking is only as good as the nodes).",
    )


def randomisation_panels(name: str, steps: Sequence[Step]) -> Iterator[Panel]:
    """Draw the common top filters over the share of randomised layers."""
    for degradation in steps[0].agreements:
        curves = []
        for method, kind in dict.fromkeys((step.method, step.kind) for step in steps):
            own = [step for step in steps if (step.method, step.kind) == (method, kind)]
            untouched = [] if kind == CONTROL else [0.0]  # without randomisation, everything agrees
            curves.append(
                drawing.Line(
                    method_label(method) if kind == CONTROL else f"{method_label(method)}, {kind}",
                    [*untouched, *(step.layers / step.total for step in own)],
                    [*(1.0 for _ in untouched), *(step.agreements[degradation].overlap for step in own)],
                    dashed=kind != steps[0].kind,
                )
            )
        yield drawing.lines(
            f"randomised-{name}-{safe_name(degradation)}",
            f"{name}: top {percent_text(steps[0].percent)} of the remaining filters for {degradation}",
            curves,
            "share of the layers that are randomised, from the last on",
            "share in common with the ranking before",
            limits=(0, 1.02),
        )
