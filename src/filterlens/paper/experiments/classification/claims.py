# SPDX-License-Identifier: Apache-2.0
"""What becomes of claims on telling degradations; shared by the pages for two and for three degradations."""

from filterlens.paper.experiment import Claim, Verdict
from filterlens.paper.experiments.classification.recognition import area, mean_overlap, told_apart
from filterlens.paper.experiments.classification.tables import Told, accuracy_text
from filterlens.paper.overlaps import plain
from filterlens.paper.published import CLASSIFICATION
from filterlens.report.labels import whole_percent

RECOGNISED = 0.9  # the share of inputs with two degradations that must be labelled with both


def published_accuracy(name: str, way: Told, *, calibrated: bool) -> Claim:
    """Judge the published accuracies on clean inputs and inputs with one degradation."""
    judge, inputs = way.calibrated if calibrated else way.paper, way.inputs.simple()
    checks, words, wanted = [], [], []
    for kind in way.degradations:
        if kind not in CLASSIFICATION:
            continue
        least = CLASSIFICATION[kind][1]
        reached = judge.accuracy(inputs, kind)
        checks.append(reached.mean >= least)
        wanted.append(f"{kind} {whole_percent(least)}")
        own, rest = inputs.having(kind), inputs.having(kind, False)
        means = [mean_overlap(part, way.percent, kind).mean for part in (own, rest)]
        words.append(
            f"{kind}: {accuracy_text(reached)} at {judge.threshold(kind).mean:.2f} (AUC "
            f"{area(inputs, way.percent, kind).mean:.3f}; finds {accuracy_text(judge.recognised(own, kind))} of the "
            f"inputs that have it, says it of {accuracy_text(judge.recognised(rest, kind))} of the others; mean "
            f"overlap {means[0]:.2f} against {means[1]:.2f}{_level(way, kind, calibrated)})"
        )
    how = "thresholds calibrated on training images" if calibrated else "the paper's fixed thresholds"
    return Claim(
        f"{name}, {way.title}: {how} tell {' and '.join(wanted)} rightly, or more",
        "filterlens" if calibrated else "paper, section on degradation classification",
        Verdict.of(checks),
        "; ".join(words) + f" ({len(inputs.inputs)} inputs, clean or with one degradation)",
    )


def _level(way: Told, name: str, calibrated: bool) -> str:
    """Say what sets the height of the overlap: the images, or what elimination takes away."""
    if calibrated:
        return f", {way.own(name, calibrating=True).mean:.2f} on the calibration images that have just it"
    if not way.beside:
        return ""
    return f"; where nothing is eliminated from the found set, the own overlap is {way.own(plain(name)).mean:.2f}"


def both_recognised(name: str, way: Told) -> Claim:
    """Judge whether inputs with two degradations are recognised as such, and say what the numbers show of it."""
    kinds = [kind for kind in way.inputs.kinds if len(kind) == 2]
    checks, words = [], []
    for kind in kinds:
        both = way.inputs.of_kind(kind)
        for judge, how in ((way.paper, "paper's"), (way.calibrated, "calibrated")):
            right = judge.label_accuracy(both)
            checks.append(right.mean >= RECOGNISED)
            seen = ", ".join(f"{each} in {accuracy_text(judge.recognised(both, each))}" for each in sorted(kind))
            label = both.inputs[0].label
            words.append(f"{label}, {how} thresholds: {accuracy_text(right)} are said to have just both ({seen})")
        unseen = [each for each in sorted(kind) if way.calibrated.recognised(both, each).mean < RECOGNISED]
        words += [_why(way, kind, each) for each in unseen]
    return Claim(
        f"{name}, {way.title}: an input with two degradations is recognised as having both "
        f"({whole_percent(RECOGNISED)} of them at least)",
        "filterlens",
        Verdict.of(checks),
        "; ".join(words),
    )


def _why(way: Told, kind: frozenset[str], name: str) -> str:
    """Set the overlap of a degradation on inputs with both beside that on inputs with one of them."""
    (other,) = kind - {name}
    groups = kind, frozenset({name}), frozenset({other})
    both, own, rest = (mean_overlap(way.inputs.of_kind(each), way.percent, name).mean for each in groups)
    apart = told_apart(way.inputs, way.percent, name, [kind, frozenset({other})])
    hidden = other in way.calibrated.hidden_by(name)
    return (
        f"overlap with the {name} filters: {own:.2f} where it is alone, {both:.2f} beside {other}, {rest:.2f} on "
        f"{other} alone (AUC of the last two {apart:.2f}){f': {name} is hidden by {other}' if hidden else ''}"
    )


def told_rightly(name: str, way: Told) -> Claim:
    """Judge whether calibrated thresholds tell each of any number of degradations."""
    inputs, checks, words = way.inputs.simple(), [], []
    for kind in way.degradations:
        reached = way.calibrated.accuracy(inputs, kind)
        checks.append(reached.mean >= RECOGNISED)
        fixed = way.paper.accuracy(inputs, kind)
        words.append(
            f"{kind}: {accuracy_text(reached)} at {way.calibrated.threshold(kind).mean:.2f}, {accuracy_text(fixed)} at "
            f"{way.paper.threshold(kind).mean:.2f} (AUC {area(inputs, way.percent, kind).mean:.3f}, mean overlap "
            f"{mean_overlap(inputs.having(kind), way.percent, kind).mean:.2f} against "
            f"{mean_overlap(inputs.having(kind, False), way.percent, kind).mean:.2f})"
        )
    whole = way.calibrated.label_accuracy(inputs)
    return Claim(
        f"{name}, {way.title}: calibrated thresholds tell each of {len(way.degradations)} degradations in at least "
        f"{whole_percent(RECOGNISED)} of the inputs, clean or with one degradation",
        "filterlens",
        Verdict.of(checks),
        "; ".join(words) + f"; the whole label is right for {accuracy_text(whole)} of {len(inputs.inputs)} inputs",
    )
