# SPDX-License-Identifier: Apache-2.0
"""What the re-training says of the paper's claims, and of what users would try instead."""

from collections.abc import Callable, Iterator, Sequence

from filterlens.paper.experiments.retraining.arms import BOUND, Arm
from filterlens.paper.experiments.retraining.results import Retrainings
from filterlens.paper.outcome import Claim, Verdict
from filterlens.report.labels import count, fixed, function_of, listed, method_label, whole_percent

HALF = 0.5
PAPER = "paper, re-training"
Named = Callable[[Arm], str]


def claims(found: Retrainings, percent: float, steps: int) -> Iterator[Claim]:
    """Judge all claims of one pair.

    Args:
        found: The trainings.
        percent: Share of the filters that was trained.
        steps: Of every training.
    """
    after = f"{found.name}, after {steps:,} steps"
    yield from (_best_locations(found, kind, after) for kind in found.kinds)
    if len(found.kinds) > 1:
        yield _own_locations(found, after)
    yield _way(found, percent, after)
    if rivals := [arm for arm in found.arms if not arm.found_for and arm != BOUND]:
        yield from (_against_others(found, kind, rivals, after) for kind in found.kinds)


def verdict_of(decisions: Sequence[bool | None]) -> Verdict:
    """Judge a claim from comparisons that are won, lost, or not decided."""
    decided = [each for each in decisions if each is not None]
    if decided and all(decided) and len(decided) < len(decisions):
        return Verdict.PARTLY
    return Verdict.of(decided)


def _best_locations(found: Retrainings, kind: str, after: str) -> Claim:
    """FAIG's own locations against those of every other method for the same degradation."""
    own = Arm("faig", kind)
    rivals = [arm for arm in found.arms if arm.found_for == kind and arm != own]
    return Claim(
        f"{after}, {kind}: among the {function_of(kind)} locations, those found by FAIG re-train best",
        PAPER,
        verdict_of([found.better(own, rival, kind) for rival in rivals]),
        f"{_ranked(found, own, rivals, kind, lambda arm: method_label(arm.part))} ({_sample(found)})",
    )


def _own_locations(found: Retrainings, after: str) -> Claim:
    """FAIG's own locations against those that it found for the other degradations."""
    decisions, words = [], []
    for kind in found.kinds:
        own = Arm("faig", kind)
        rivals = [Arm("faig", other) for other in found.kinds if other != kind]
        decisions += [found.better(own, rival, kind) for rival in rivals]
        ranked = _ranked(found, own, rivals, kind, lambda arm: f"{function_of(arm.found_for)} locations")
        words.append(f"{kind}: {ranked}")
    return Claim(
        f"{after}: on its own degradation, each function's locations re-train better than the other function's",
        PAPER,
        verdict_of(decisions),
        f"{'; '.join(words)} (locations found by FAIG; {_sample(found)})",
    )


def _way(found: Retrainings, percent: float, after: str) -> Claim:
    decisions, words = zip(*(_way_on(found, kind) for kind in found.kinds), strict=True)
    return Claim(
        f"{after}: {percent:g} % of the filters, those found by FAIG, reach more than half of what re-training "
        "all filters gains",
        "filterlens",
        verdict_of(decisions),
        f"{'; '.join(words)} ({_sample(found)})",
    )


def _way_on(found: Retrainings, kind: str) -> tuple[bool | None, str]:
    arm, way = Arm("faig", kind), found.way(Arm("faig", kind), kind)
    if way is None:
        return None, f"{kind}: re-training all filters gains nothing, so there is no way to measure"
    interval = "" if way.low is None or way.high is None else f" [{fixed(way.low)}, {fixed(way.high)}]"
    start, bound = found.reference("baseline", kind).mean, found.quality(BOUND, kind).mean
    trained, every = (count(found.weights[each, kind][0]) for each in (arm, BOUND))
    text = (
        f"{kind}: {trained} weights of {every} reach {whole_percent(way.mean)}{interval} of the way from "
        f"{fixed(start)} to {fixed(bound)} dB"
    )
    if above := [each.label for each in found.arms if found.better(each, BOUND, kind)]:
        return None, f"{text}, which is no upper bound yet: {listed(above)} got further"
    return _above(way.low, way.high, HALF), text


def _against_others(found: Retrainings, kind: str, rivals: Sequence[Arm], after: str) -> Claim:
    """Compare FAIG's own locations with what users would try at the same number of weights."""

    def name(arm: Arm) -> str:
        return f"FAIG's {function_of(kind)} locations" if arm.found_for else arm.label

    own = Arm("faig", kind)
    best = max((own, *rivals), key=lambda arm: found.quality(arm, kind).mean)
    sure = all(found.better(best, other, kind) for other in (own, *rivals) if other != best)
    return Claim(
        f"{after}, {kind}: with as many trained weights, FAIG's locations beat {listed([name(arm) for arm in rivals])}",
        "filterlens",
        verdict_of([found.better(own, rival, kind) for rival in rivals]),
        f"{'Best' if sure else 'Ahead, though not decided'}: {name(best)}. "
        f"{_ranked(found, own, rivals, kind, name)} ({_sample(found)})",
    )


def _ranked(found: Retrainings, own: Arm, rivals: Sequence[Arm], kind: str, name: Named) -> str:
    arms = sorted((own, *rivals), key=lambda arm: -found.quality(arm, kind).mean)
    ranks = ", ".join(f"{name(arm)} {fixed(found.quality(arm, kind).mean)}" for arm in arms)
    undecided = [name(rival) for rival in rivals if found.better(own, rival, kind) is None]
    return f"{ranks} dB" + (f" (against {listed(undecided)} not decided)" if undecided else "")


def _sample(found: Retrainings) -> str:
    trainings = "1 training each, whose spread is not known" if found.seeds == 1 else f"{found.seeds} seeds"
    return f"{trainings}; {found.images} images"


def _above(low: float | None, high: float | None, line: float) -> bool | None:
    if low is None or high is None or low <= line <= high:
        return None
    return low > line
