# SPDX-License-Identifier: Apache-2.0
"""What becomes of the paper's claims, and of ours, where there are more than two degradations."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from filterlens.attribution.result import Attribution
from filterlens.evaluation.damage import Edit
from filterlens.evaluation.statistics import over_seeds
from filterlens.paper.experiment import Claim, Verdict, is_above, is_below
from filterlens.paper.experiments.three_degradations.tables import label_of, overlap_at
from filterlens.paper.judged import Judged, others_of
from filterlens.report.labels import function_of, significant

ABOVE = 3.0  # own damage over cross damage
NEAR = 2.0  # times chance


def damage_claims(name: str, percent: float, degradations: Sequence[str], judged: Judged) -> Iterator[Claim]:
    """Judge own against cross damage, and FAIG against its rivals."""
    yield own_above_cross(name, percent, degradations, judged)
    rivals = [method for method in judged.methods if method in ("ig", "random")]
    if rivals:
        yield above_rivals(name, percent, degradations, judged, rivals)
    if "faig-max" in judged.methods:
        yield mean_against_maximum(name, percent, degradations, judged)
    if "goal-directed" in judged.methods:
        yield goal_directed(name, percent, degradations, judged)


def own_above_cross(name: str, percent: float, degradations: Sequence[str], judged: Judged) -> Claim:
    """Judge whether every set destroys its own function more than the others."""
    checks, words = [], []
    for masked in degradations:
        edit = Edit("faig", percent, masked)
        own = judged.distance(edit, masked).mean
        cross = {kind: judged.distance(edit, kind).mean for kind in degradations if kind != masked}
        checks += [own > ABOVE * value for value in cross.values()]
        kept = ", ".join(f"on {kind} {value:.3g}" for kind, value in cross.items())
        gain = judged.quality("target", masked).mean - judged.quality("baseline", masked).mean
        words.append(
            f"{function_of(masked)} filters: own {own:.3g} (removal {judged.share(edit, masked).mean:.2f} of a "
            f"function worth {significant(gain, 2)} dB), {kept}"
        )
    return Claim(
        f"{name}: with {len(degradations)} degradations, too, the filters found by FAIG destroy their own function and "
        f"hardly the others (own above {ABOVE:g} × each cross damage)",
        "filterlens, after the paper's section 4",
        Verdict.of(checks),
        "; ".join(words) + f" (damage x 1000, {percent:g} %; {sum(checks)} of {len(checks)} hold)",
    )


def above_rivals(
    name: str, percent: float, degradations: Sequence[str], judged: Judged, rivals: Sequence[str]
) -> Claim:
    """Judge whether FAIG does more own damage than other methods."""
    checks, words = [], []
    for masked in degradations:
        own = judged.distance(Edit("faig", percent, masked), masked).mean
        values = {rival: judged.distance(Edit(rival, percent, masked), masked).mean for rival in rivals}
        checks += [own > value for value in values.values()]
        others = ", ".join(f"{label_of(rival)} {value:.3g}" for rival, value in values.items())
        words.append(f"{masked}: FAIG {own:.3g}, {others}")
    return Claim(
        f"{name}: FAIG destroys each function more than {' and '.join(label_of(rival) for rival in rivals)}",
        "filterlens, after the paper's tables 1 and 2",
        Verdict.of(checks),
        "; ".join(words) + f" (own damage x 1000, {percent:g} %)",
    )


def mean_against_maximum(name: str, percent: float, degradations: Sequence[str], judged: Judged) -> Claim:
    """Judge whether eliminating against the mean is nowhere worse than against the maximum."""
    checks, words = [], []
    for masked in degradations:
        mean, largest = (Edit(method, percent, masked) for method in ("faig", "faig-max"))
        others = others_of(masked, degradations)
        gain = judged.selectivity_gain(mean, largest, others)
        checks.append(not is_below(gain))
        better = "mean better" if is_above(gain) else "maximum better" if is_below(gain) else "no difference"
        kept = [sum(judged.share(edit, kind).mean for kind in others) / len(others) for edit in (mean, largest)]
        words.append(
            f"{function_of(masked)}: selectivity {judged.selectivity(mean, others).mean:.2f} with the mean, "
            f"{judged.selectivity(largest, others).mean:.2f} with the maximum, which keep {kept[0]:.2f} and "
            f"{kept[1]:.2f} of the others ({better})"
        )
    return Claim(
        f"{name}: eliminating against the mean of the other degradations is nowhere less selective than against their "
        "maximum",
        "filterlens; the paper does not say which",
        Verdict.of(checks),
        "; ".join(words) + " (by the interval of the paired difference)",
    )


def goal_directed(name: str, percent: float, degradations: Sequence[str], judged: Judged) -> Claim:
    """Judge whether the goal-directed ranking is more selective than FAIG."""
    checks, words = [], []
    for masked in degradations:
        ours, theirs = (Edit(method, percent, masked) for method in ("goal-directed", "faig"))
        others = others_of(masked, degradations)
        checks.append(is_above(judged.selectivity_gain(ours, theirs, others)))
        removed = judged.share(ours, masked).mean
        kept = sum(judged.share(ours, kind).mean for kind in others) / len(others)
        words.append(
            f"{function_of(masked)}: {judged.selectivity(ours, others).mean:.2f} (removal {removed:.2f}, others kept "
            f"{kept:.2f}) against {judged.selectivity(theirs, others).mean:.2f}"
        )
    return Claim(
        f"{name}: goal-directed filters are more selective than FAIG's for every degradation",
        "filterlens",
        Verdict.of(checks),
        "; ".join(words),
    )


def sets_are_apart(name: str, percent: float, found: Sequence[Attribution]) -> Claim:
    """Judge whether the sets of any two degradations have hardly more in common than chance."""
    checks, words = [], []
    for first, second in combinations(found[0].degradations, 2):
        both = [overlap_at(each, percent, first, second) for each in found]
        ratio, share = (over_seeds([getattr(each, what) for each in both]).mean for what in ("ratio", "share"))
        checks.append(ratio <= NEAR)
        words.append(f"{first} and {second} share {100 * share:.1f} % of a set, {ratio:.1f} times chance")
    return Claim(
        f"{name}: each degradation has filters of its own (FAIG's sets share no more than {NEAR:g} times chance)",
        "filterlens, after the paper's section 4",
        Verdict.of(checks),
        "; ".join(words) + f" ({percent:g} %)",
    )
