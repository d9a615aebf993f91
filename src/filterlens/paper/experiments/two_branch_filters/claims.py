# SPDX-License-Identifier: Apache-2.0
"""What the numbers say: do the functions sit in the degradation branch, and are they as localised as in one branch?"""

from collections.abc import Callable, Iterator

from filterlens.evaluation.damage import Edit
from filterlens.evaluation.statistics import Estimate
from filterlens.models.branches import DEGRADATION, RESTORATION
from filterlens.paper.experiment import Claim, Verdict, is_above, is_below
from filterlens.paper.experiments.two_branch_filters.edits import ALONE, CONSTANT, FAIG, at_random, found_in, whole
from filterlens.paper.experiments.two_branch_filters.study import Study
from filterlens.paper.experiments.two_branch_filters.swaps import BASELINE, TARGET
from filterlens.paper.judged import others_of
from filterlens.report.labels import fixed, function_of, percent_interval, significant, whole_percent

OWN = "filterlens"
IDEA = "the idea of two branches"
HALF = 0.5
TIMES = 3  # own above so many times cross, as on the page of the masking


def claims_of(study: Study) -> Iterator[Claim]:
    """Judge everything about one two-branch network; functions that it did not learn are not judged."""
    yield _sit_there(study)
    yield _gained_there(study)
    yield _gone_without(study)
    yield _gone_with_one_answer(study)
    yield _enough_alone(study)
    yield _found_ones_matter(study)
    yield _own_above_cross(study)
    if study.one_judged is not None:
        yield _as_selective_as_one_branch(study)
    yield from _deeper(study)


def _sit_there(study: Study) -> Claim:
    checks, words = [], []
    chance = float(study.shares.everything @ study.shares.inside(DEGRADATION))
    for kind in study.learnt:
        key = (study.percent, kind)
        share, times = study.shares.share(key, DEGRADATION), study.shares.enrichment(key, DEGRADATION)
        checks += [is_above(share, chance), is_above(share, HALF)]
        rest = study.shares.share(key, RESTORATION)
        words.append(
            f"{function_of(kind)}: {percent_interval(share)} of the top {study.percent:g} % lie there "
            f"({significant(times.mean, 2)} times chance), {percent_interval(rest)} in the restoration branch"
        )
    return _claim(
        study,
        "the found filters sit in the degradation branch: more of them than by chance, and most of them",
        IDEA,
        checks,
        [*words, f"{whole_percent(chance)} of all filters are in the degradation branch"],
    )


def _gained_there(study: Study) -> Claim:
    checks, words = [], []
    for kind in study.learnt:
        gain, share = (getattr(study.contributions, what)(kind, DEGRADATION) for what in ("gain", "share"))
        checks.append(is_above(gain, HALF))
        words.append(
            f"{function_of(kind)}: {percent_interval(gain)} of the fall of the loss is attributed to the degradation "
            f"branch, {percent_interval(share)} of the magnitudes"
        )
    text = "most of what fine-tuning gained is attributed to the degradation branch, all its parameters counted"
    size = float(study.branches.parameters(DEGRADATION).double().mean())
    return _claim(study, text, IDEA, checks, [*words, f"it has {whole_percent(size)} of all parameters"])


def _gone_without(study: Study) -> Claim:
    text = "with the baseline's degradation branch most of what fine-tuning gained is gone (more than half of the dB)"
    return _by_gain(study, text, whole(DEGRADATION), is_below)


def _gone_with_one_answer(study: Study) -> Claim:
    text = (
        "what the degradation branch says of the single image matters: where it says the same of every image (the mean "
        "of its answers), most of what fine-tuning gained is gone"
    )
    return _by_gain(study, text, CONSTANT, is_below)


def _enough_alone(study: Study) -> Claim:
    text = "the target's degradation branch with the baseline's restorer keeps most of what fine-tuning gained"
    return _by_gain(study, text, ALONE, is_above)


def _by_gain(study: Study, text: str, edit: str, check: Callable[[Estimate, float], bool]) -> Claim:
    checks, words = [], []
    for kind in study.learnt:
        left, kept = study.swapped.gain_left(edit, kind), study.swapped.kept(edit, kind)
        checks.append(check(left, HALF))
        levels = [fixed(study.swapped.psnr(each, kind).mean) for each in (edit, BASELINE, TARGET)]
        broken = "" if kept.mean >= 0 else ": further from the target's output than the baseline's is"
        words.append(
            f"{function_of(kind)}: {percent_interval(left)} of the gain is left ({levels[0]} dB, where the baseline "
            f"has {levels[1]} and the target {levels[2]}), P = {_interval(kept)}{broken}"
        )
    return _claim(study, text, IDEA, checks, words)


def _found_ones_matter(study: Study) -> Claim:
    checks, words, percent = [], [], study.percent
    for kind in study.learnt:
        anywhere = found_in(percent, kind)
        others = {"in the degradation branch only": found_in(percent, kind, DEGRADATION)}
        others["at random"] = at_random(percent, kind)
        checks += [is_above(study.swapped.removed_more(anywhere, other, kind)) for other in others.values()]
        shown = (
            {"anywhere": anywhere} | others | {"in the restoration branch only": found_in(percent, kind, RESTORATION)}
        )
        numbers = (f"{where} R = {_interval(study.swapped.removed(edit, kind))}" for where, edit in shown.items())
        words.append(f"{function_of(kind)}: {', '.join(numbers)}")
    text = (
        f"the found {percent:g} % anywhere take more of their function away than as many in the degradation branch, "
        "and than random ones"
    )
    return _claim(study, text, OWN, checks, words)


def _own_above_cross(study: Study) -> Claim:
    checks, words = [], []
    for masked in study.learnt:
        edit = Edit(FAIG, study.percent, masked)
        own = study.judged.distance(edit, masked).mean
        for kind in study.kinds:
            if kind != masked:
                cross = study.judged.distance(edit, kind).mean
                checks.append(own > TIMES * cross)
                words.append(f"{function_of(masked)} filters: own {significant(own)}, on {kind} {significant(cross)}")
    text = (
        f"the filters found by FAIG destroy their own function and hardly the other one (own above {TIMES} × cross), "
        "as in one-branch networks"
    )
    return _claim(study, text, "paper, section 4", checks, words)


def _as_selective_as_one_branch(study: Study) -> Claim:
    assert study.peer.one is not None
    checks, words = [], []
    for kind in study.learnt:
        edit, others = Edit(FAIG, study.percent, kind), others_of(kind, study.kinds)
        two, one = (judged.selectivity(edit, others) for _, _, judged in study.networks)
        checks.append(two.ends[1] >= one.ends[0])
        words.append(f"{function_of(kind)}: R + P − 1 = {_interval(two)} against {_interval(one)}")
    text = (
        f"the found {study.percent:g} % take their function away as selectively as in the one-branch network of equal "
        f"computation ({study.peer.one.label}): not clearly less"
    )
    return _claim(study, text, OWN, checks, words)


def _deeper(study: Study) -> Iterator[Claim]:
    blurs, noises = ([kind for kind in study.kinds if kind.split(":")[0] == what] for what in ("blur", "noise"))
    for blur in blurs:
        for noise in noises:
            keys = (study.percent, blur), (study.percent, noise)
            words = []
            for network, shares, _ in study.networks:
                first, second = (significant(shares.depth(key).mean, 2) for key in keys)
                difference = _interval(shares.depth_difference(*keys))
                words.append(f"{network.label}: {first} against {second}, difference {difference}")
            both = blur in study.learnt and noise in study.learnt
            yield _claim(
                study,
                f"outside the degradation branch {function_of(blur)} filters lie deeper than {function_of(noise)} "
                "ones, as in one branch",
                "paper, figure of the distribution",
                [is_above(study.shares.depth_difference(*keys))] if both else [],
                words,
            )


def _claim(study: Study, text: str, source: str, checks: list[bool], words: list[str]) -> Claim:
    """Put a claim together, and say which functions were not learnt and so not judged."""
    missed = [
        f"{function_of(kind)} was not judged: fine-tuning gained {_interval(study.swapped.gain(kind))} dB"
        for kind in study.kinds
        if kind not in study.learnt
    ]
    return Claim(f"{study.label}: {text}", source, Verdict.of(checks), "; ".join([*words, *missed]))


def _interval(estimate: Estimate) -> str:
    text = fixed(estimate.mean)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{fixed(estimate.low)}, {fixed(estimate.high)}]"
