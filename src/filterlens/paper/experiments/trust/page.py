# SPDX-License-Identifier: Apache-2.0
"""The page on trust in a ranking: is it stable, does it depend on what was learned, and is it faithful?"""

from collections.abc import Iterator, Mapping, Sequence

from filterlens.attribution.randomised import KINDS
from filterlens.evaluation.stability import Agreement
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Claim, Experiment, Outcome, Table, Verdict, common_rows
from filterlens.paper.experiments.trust.measure import (
    CONTROL,
    Cascade,
    Change,
    Removal,
    Stability,
    TrustSettings,
    measure_curves,
    measure_stability,
    randomise,
)
from filterlens.paper.laboratory import Laboratory
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import fixed, function_of, listed, method_label, percent_text, whole_percent

LEAST = 0.8  # of the top filters that disjoint image sets have in common
NO_MORE = 0.5  # of what disjoint image sets have in common may remain where most layers are randomised
MEANINGS = {"weights": "the trained weights", "changes": "what fine-tuning taught the later layers"}


def run(laboratory: Laboratory, settings: TrustSettings) -> Outcome:
    """Measure stability, randomise, and draw the curves of removal, for every pair."""
    claims: list[Claim] = []
    tables: list[Table] = []
    panels: list[Panel] = []
    for name in laboratory.common.pairs[: settings.pairs]:
        stability = measure_stability(laboratory, settings, name)
        cascades = randomise(laboratory, settings, name)
        curves = measure_curves(laboratory, settings, name)
        claims += stability_claims(name, stability)
        claims += randomisation_claims(name, cascades, stability)
        claims += curve_claims(name, curves)
        tables += [*_stability_tables(name, stability), _randomisation_table(name, cascades)]
        tables += _curve_tables(name, curves)
        panels += [*_growth_panels(name, stability), *_randomisation_panels(name, cascades)]
        panels += _curve_panels(name, curves)
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _TEXT, _specification(laboratory, settings))


def stability_claims(name: str, stability: Stability) -> Iterator[Claim]:
    """Judge the agreement between disjoint image sets, and whether numerics matter less than images."""
    top, kinds, halves = percent_text(stability.percent), stability.kinds, stability.halves
    yield Claim(
        f"{name}: FAIG's top {top} from disjoint image sets agree by at least {whole_percent(LEAST)}",
        "filterlens",
        Verdict.of([] if halves is None else [halves.overlap(kind).mean >= LEAST for kind in kinds]),
        _images_sentence(stability) if halves else "there is a single discovery image, which cannot be split",
    )
    if halves is not None:
        numeric = [change for change in stability.changes if change.numeric]
        said = "; ".join(f"{change.what}: {_in_common(change, kinds)}" for change in numeric)
        yield Claim(
            f"{name}: how the integral is computed changes the top {top} less than which images are taken",
            "filterlens",
            Verdict.of(change.overlap(kind).mean > halves.overlap(kind).mean for change in numeric for kind in kinds),
            f"in common: {said}; disjoint halves of the images: {_in_common(halves, kinds)}",
        )


def _images_sentence(stability: Stability) -> str:
    growth, kinds = stability.growth["faig"], stability.kinds
    words = [
        f"{size} against {stability.images - size} images: {_in_common(change, kinds)} "
        f"({len(change.agreements[kinds[0]])} ways)"
        for size, change in growth.items()
    ]
    chance = growth[1].agreements[kinds[0]][0].chance
    return f"in common (lowest to highest): {'; '.join(words)}; by chance {whole_percent(chance)}"


def _in_common(change: Change, kinds: Sequence[str]) -> str:
    """Write the overlap of every degradation: ``blur:2 81 % (79 to 83)``."""
    parts = []
    for kind in kinds:
        overlap = change.overlap(kind)
        low, high = overlap.ends
        spread = f" ({100 * low:.0f} to {100 * high:.0f})" if overlap.n > 1 else ""
        parts.append(f"{kind} {whole_percent(overlap.mean)}{spread}")
    return listed(parts)


def randomisation_claims(name: str, cascades: Sequence[Cascade], stability: Stability) -> Iterator[Claim]:
    """Judge for every kind of randomisation whether FAIG's ranking notices: in the longest cascade little may remain.

    What is usual is the agreement of disjoint image sets; a control knows nothing but the layers.
    """
    own = [cascade for cascade in cascades if cascade.method == "faig"]
    for kind in dict.fromkeys(cascade.kind for cascade in own):
        same = sorted((cascade for cascade in own if cascade.kind == kind), key=lambda cascade: cascade.layers)
        first, longest = same[0], same[-1]
        control = next((c.agreements for c in cascades if (c.kind, c.layers) == (CONTROL, longest.layers)), None)
        halves, checks, words = stability.halves, [], []
        for degradation, agreement in longest.agreements.items():
            usual = 1.0 if halves is None else halves.overlap(degradation).mean
            checks.append(agreement.overlap < NO_MORE * usual)
            words.append(
                f"{degradation} {_both(agreement)}"
                + ("" if halves is None else f", disjoint image sets {whole_percent(usual)}")
                + ("" if control is None else f", a ranking that knows only the layers {_both(control[degradation])}")
            )
        kept = [f"{degradation} {whole_percent(each.overlap)}" for degradation, each in first.agreements.items()]
        yield Claim(
            f"{name}: FAIG's ranking depends on {MEANINGS[kind]}: with the later layers randomised, the "
            f"others' top {percent_text(longest.percent)} keeps less than {whole_percent(NO_MORE)} of its usual "
            "agreement",
            "filterlens, after Adebayo et al. 2018",
            Verdict.of(checks),
            f"{kind} of the last {longest.layers} of {longest.total} layers shuffled, in common with before: "
            + "; ".join(words)
            + ("" if first is longest else f". Already the last {first.layers} alone: {listed(kept)}"),
        )


def _both(agreement: Agreement) -> str:
    return f"{whole_percent(agreement.overlap)} (rank correlation {fixed(agreement.correlation)})"


def curve_claims(name: str, removals: Sequence[Removal]) -> Iterator[Claim]:
    """Judge whether FAIG has the largest area, and needs the fewest filters."""
    kinds = _by_kind(removals)
    by_area = {kind: sorted(own, key=lambda each: -each.area.mean) for kind, own in kinds.items()}
    areas = "; ".join(
        f"{kind}: " + ", ".join(f"{method_label(each.method)} {fixed(each.area.mean, 3)}" for each in ordered)
        for kind, ordered in by_area.items()
    )
    yield Claim(
        f"{name}: FAIG has the largest area under the curve of removal among all methods",
        "filterlens",
        Verdict.of(ordered[0].method == "faig" for ordered in by_area.values()),
        f"{areas}{_why(by_area)}",
    )
    counts = "; ".join(
        f"{kind}: " + ", ".join(f"{method_label(each.method)} {_needed(each)}" for each in own)
        for kind, own in kinds.items()
    )
    yield Claim(
        f"{name}: FAIG needs the fewest filters to remove {whole_percent(removals[0].level)} of a function",
        "filterlens",
        Verdict.of(_fewest(own) == "faig" for own in kinds.values()),
        counts,
    )


def _by_kind(removals: Sequence[Removal]) -> dict[str, list[Removal]]:
    kinds = dict.fromkeys(each.kind for each in removals)
    return {kind: [each for each in removals if each.kind == kind] for kind in kinds}


def _why(by_area: Mapping[str, Sequence[Removal]]) -> str:
    """Where another method wins, say by how much and whether FAIG's curve falls again."""
    words = []
    for kind, ordered in by_area.items():
        own = next(each for each in ordered if each.method == "faig")
        if ordered[0] is not own:
            behind = fixed(ordered[0].area.mean - own.area.mean, 3)
            words.append(
                f"{function_of(kind)}: FAIG is {behind} behind {method_label(ordered[0].method)} and reaches "
                f"{fixed(own.most)} at most"
                + (f", falling by {fixed(own.fall)} behind that as other functions break" if own.fall > 0.01 else "")
            )
    return f". {'; '.join(words)}" if words else ""


def _fewest(removals: Sequence[Removal]) -> str | None:
    """Return the method that reaches the level with the fewest filters; None where none does."""
    known = {each.method: each.needed.mean for each in removals if each.needed is not None}
    return min(known, key=known.__getitem__) if known else None


def _needed(removal: Removal) -> str:
    if removal.needed is None:
        return f"not by {removal.percents[-1]:g} % (largest removal {fixed(removal.most)})"
    return f"{fixed(removal.needed.mean)} %"


def _agreement_heads(kinds: Sequence[str], percent: float) -> list[str]:
    whats = f"top {percent_text(percent)} in common", "rank correlation"
    return [f"{kind}: {what}" for kind in kinds for what in whats]


def _stability_tables(name: str, stability: Stability) -> Iterator[Table]:
    """Tabulate every change, and the agreement over the number of images."""
    every = [change for sizes in stability.growth.values() for change in sizes.values()]
    for stem, title, head, changes, note in (
        (
            "stability",
            "how far a ranking agrees with itself when one thing changes",
            "what changes",
            stability.changes,
            "Mean [lowest, highest] over the comparisons. Images are split and target models compared on all discovery "
            "images, everything else on few of them.",
        ),
        (
            "images",
            "rankings from few images against those from all others",
            "images",
            every,
            "Mean [lowest, highest] over the ways to choose the images, and over target models.",
        ),
    ):
        rows: list[tuple[Cell, ...]] = []
        for change in changes:
            cells = (each for kind in stability.kinds for each in (change.overlap(kind), change.correlation(kind)))
            comparisons = len(change.agreements[stability.kinds[0]])
            rows.append((change.what, method_label(change.method), comparisons, *cells))
        columns = (head, "method", "comparisons", *_agreement_heads(stability.kinds, stability.percent))
        if rows:
            yield Table(f"{stem}-{name}", f"{name}: {title}", columns, tuple(rows), note)


def _randomisation_table(name: str, cascades: Sequence[Cascade]) -> Table:
    """Tabulate every cascade."""
    first = cascades[0]
    rows: list[tuple[Cell, ...]] = []
    for cascade in cascades:
        cells = (cell for each in cascade.agreements.values() for cell in (each.overlap, each.correlation))
        rows.append((cascade.kind, cascade.layers, method_label(cascade.method), *cells, cascade.gap))
    heads = _agreement_heads(list(first.agreements), first.percent)
    return Table(
        f"randomised-{name}",
        f"{name}: the ranking of the remaining filters after layers were randomised, from the last on",
        ("shuffled", f"layers of {first.total}", "method", *heads, "largest completeness gap"),
        tuple(rows),
        "; ".join(f"{kind}: {text}" for kind, text in KINDS.items() if any(each.kind == kind for each in cascades))
        + f"; {CONTROL}: no layer is randomised, FAIG's own scores are shuffled within every layer. "
        "Both rankings with the same fixed nodes; the gap says how exact the integrals are in the randomised "
        "target (where it is large, its ranking is only as good as the nodes).",
    )


def _curve_tables(name: str, removals: Sequence[Removal]) -> Iterator[Table]:
    """Tabulate areas, the fewest filters, and the points of the curves."""
    percents, level = removals[0].percents, whole_percent(removals[0].level)
    for kind, own in _by_kind(removals).items():
        rows = (tuple[Cell, ...]((method_label(each.method), each.area, _needed(each), *each.mean)) for each in own)
        yield Table(
            f"faithfulness-{name}-{safe_name(kind)}",
            f"{name}: removal of {function_of(kind)} over the share of replaced filters",
            ("method", "area", f"filters for {level}", *(f"{percent:g} %" for percent in percents)),
            tuple(rows),
            "Removal on unseen images, mean over target models: 1 is ideal, below 0 the network is broken. Area over "
            "log p, of values clipped to [0, 1], mean ± sd over target models [95 % bootstrap interval].",
        )


def _growth_panels(name: str, stability: Stability) -> Iterator[Panel]:
    """Draw the agreement over the number of images."""
    growth = {method: sizes for method, sizes in stability.growth.items() if sizes}
    for kind in stability.kinds if growth else ():
        yield drawing.lines(
            f"images-{name}-{kind.replace(':', '-')}",
            f"{name}: top {percent_text(stability.percent)} for {kind} from few images, against all others",
            [
                drawing.Line.of(method_label(method), list(sizes), [each.overlap(kind) for each in sizes.values()])
                for method, sizes in growth.items()
            ],
            "images",
            "share in common (band: lowest to highest)",
            limits=(0, 1.02),
        )


def _randomisation_panels(name: str, cascades: Sequence[Cascade]) -> Iterator[Panel]:
    """Draw the common top filters over the share of randomised layers."""
    for degradation in cascades[0].agreements:
        curves = []
        for method, kind in dict.fromkeys((cascade.method, cascade.kind) for cascade in cascades):
            own = [cascade for cascade in cascades if (cascade.method, cascade.kind) == (method, kind)]
            label = method_label(method) if kind == CONTROL else f"{method_label(method)}, {kind}"
            points = [(each.layers / each.total, each.agreements[degradation].overlap) for each in own]
            if kind != CONTROL:
                points.insert(0, (0.0, 1.0))  # without randomisation, everything agrees
            x, y = ([point[axis] for point in points] for axis in range(2))
            curves.append(drawing.Line(label, x, y, dashed=kind != cascades[0].kind))
        yield drawing.lines(
            f"randomised-{name}-{safe_name(degradation)}",
            f"{name}: top {percent_text(cascades[0].percent)} of the remaining filters for {degradation}",
            curves,
            "share of the layers that are randomised, from the last on",
            "share in common with the ranking before",
            limits=(0, 1.02),
        )


def _curve_panels(name: str, removals: Sequence[Removal]) -> Iterator[Panel]:
    """Draw removal over the share of replaced filters."""
    for kind, own in _by_kind(removals).items():
        yield drawing.lines(
            f"faithfulness-{name}-{safe_name(kind)}",
            f"{name}: removal of {function_of(kind)} on unseen images",
            [drawing.Line(method_label(each.method), each.percents, each.mean) for each in own],
            "replaced filters, %",
            f"removal on {kind}",
            log_x=True,
            limits=(-0.25, 1.05),
        )


def _specification(laboratory: Laboratory, settings: TrustSettings) -> dict[str, str]:
    common = laboratory.common
    rows = common_rows(
        common, common.pairs[: settings.pairs], of_all=f"; at most {settings.judged} images per pair, spread evenly"
    )
    return {
        "target models": f"{rows['target models']}; seeds of noise, numerics and randomisation: the shipped one",
        "found on": rows["found on"],
        "checked on": f"seeds of noise, numerics and randomisation: at most {settings.checked} of these",
        "curves judged on": rows["judged on"],
        "quadrature": f"adaptive with the tolerance {common.tolerance:g}; randomisation: Gauss-Legendre with "
        f"{settings.randomised_nodes} nodes on both sides",
        "seed": str(common.seed),
        "intervals": "of agreements: lowest and highest; of areas: 95 % bootstrap over images and target models",
    }


_TEXT = (
    "**Stability.** One thing is changed at a time, and the ranking before is compared with the one after: the share "
    "of the top filters that both have, and Spearman's rank correlation over all filters. Two random rankings share "
    "p % of their top p % and correlate by 0. The image sets are disjoint, so no image speaks for both sides.",
    "**Randomisation** (after Adebayo et al., *Sanity checks for saliency maps*, 2018). Layers of the target are "
    "randomised from the last one on, and the filters of the *remaining* layers are ranked anew. *Weights*: the "
    "target's weights and biases of a layer are shuffled within it. *Changes*: what fine-tuning changed there is "
    "shuffled, so that the network still works but this layer has lost what it learned in fine-tuning. A ranking that "
    "did not look at what the network computes would stay: the change of the weights does so by construction. The "
    "control, FAIG's scores shuffled within every layer, shows what knowing the layers alone is worth.",
    "**Faithfulness.** The first p % of a ranking get the baseline's values and the removal of the own function is "
    "measured (1: gone, and nothing else happened). The area is taken over log p and divided by the width, values "
    "clipped to [0, 1]. Filters are found on other images than those on which they are judged. Removal looks at the "
    "own function alone: what a ranking breaks besides, and so what the elimination in FAIG is for, is seen on other "
    "inputs, by cross damage and preservation on the page on masking.",
)

EXPERIMENT = Experiment(
    "trust",
    "Trust in a ranking",
    "stability over images, seeds and numerics; randomised layers; removal from 0.1 to 20 % of the filters",
    TrustSettings,
    run,
)
