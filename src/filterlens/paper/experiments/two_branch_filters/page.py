# SPDX-License-Identifier: Apache-2.0
"""The page on two-branch networks: filters for deblurring and denoising, and their share in the degradation branch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product

from filterlens.evaluation.statistics import Estimate
from filterlens.metrics import specification
from filterlens.models.branches import DEGRADATION, RESTORATION
from filterlens.paper.experiment import (
    Claim,
    Experiment,
    Outcome,
    Part,
    Row,
    Table,
    images_text,
    is_above,
    is_below,
)
from filterlens.paper.experiments.two_branch_filters import edits
from filterlens.paper.experiments.two_branch_filters.edits import BASELINE, FAIG, RANDOM, TARGET, TYPES
from filterlens.paper.experiments.two_branch_filters.figures import panels
from filterlens.paper.experiments.two_branch_filters.measure import (
    LEARNT,
    Study,
    TwoBranchSettings,
    measure,
    networks_of,
)
from filterlens.paper.laboratory import Laboratory
from filterlens.report.labels import (
    fixed,
    function_of,
    method_label,
    percent_interval,
    significant,
    whole_percent,
    with_interval,
)

OWN = "filterlens"
IDEA = "the idea of two branches"
HALF = 0.5
TIMES = 3  # own above so many times cross, as on the page of the masking
SPREAD = "Mean ± sd over target models, [95 % bootstrap interval over images and target models]."


def run(laboratory: Laboratory, settings: TwoBranchSettings) -> Outcome:
    """Find the filters, put branches and filters back to the baseline, and look at what is left."""
    networks = networks_of(laboratory, settings.peers, compare=settings.compare)
    studies = [measure(laboratory, settings, each) for each in networks]
    return Outcome(
        tuple(claim for each in studies for claim in claims_of(each)),
        tuple(_tables(studies, settings.percents, list(laboratory.inputs))),
        tuple(panel for each in studies for panel in panels(each)),
        (*_answers(studies), *_TEXT, *_unlearnt(studies), *_statistics(studies)),
        _specification(laboratory, settings, studies),
        {"layers": [row for each in studies for row in _layer_rows(each)]},
    )


def claims_of(study: Study) -> Iterator[Claim]:
    """Judge everything about one two-branch network; functions that it did not learn are not judged."""
    yield _sit_there(study)
    yield _gained_there(study)
    for edit, check, text in (
        (
            edits.whole(DEGRADATION), is_below,
            "with the baseline's degradation branch most of what fine-tuning gained is gone (more than half of the dB)",
        ),
        (
            edits.CONSTANT, is_below,
            "what the degradation branch says of the single image matters: where it says the same of every image (the "
            "mean of its answers), most of what fine-tuning gained is gone",
        ),
        (
            edits.ALONE, is_above,
            "the target's degradation branch with the baseline's restorer keeps most of what fine-tuning gained",
        ),
    ):  # fmt: skip
        yield _claim(study, text, IDEA, [_gain_left(study, kind, edit, check) for kind in study.learnt])
    yield _found_ones_matter(study)
    yield _own_above_cross(study)
    if len(study.networks) > 1:
        yield _as_selective_as_one_branch(study)
    yield from _deeper(study)


def _claim(study: Study, text: str, source: str, parts: Iterable[Part], *more: str) -> Claim:
    """Put a claim together, and say which functions were not learnt and so not judged."""
    missed = [
        f"{function_of(kind)} was not judged: fine-tuning gained {with_interval(study.effects.gain(kind))} dB"
        for kind in study.kinds
        if kind not in study.learnt
    ]
    return Claim.of(f"{study.label}: {text}", source, parts, *more, *missed)


def _sit_there(study: Study) -> Claim:
    chance = study.two.chance(DEGRADATION)

    def judged(kind: str) -> Part:
        key = (study.percent, kind)
        share, rest = (study.two.share(key, branch) for branch in (DEGRADATION, RESTORATION))
        times = significant(study.two.enrichment(key, DEGRADATION).mean, 2)
        return [is_above(share, chance), is_above(share, HALF)], (
            f"{function_of(kind)}: {percent_interval(share)} of the top {study.percent:g} % lie there ({times} times "
            f"chance), {percent_interval(rest)} in the restoration branch"
        )

    return _claim(
        study,
        "the found filters sit in the degradation branch: more of them than by chance, and most of them",
        IDEA,
        map(judged, study.learnt),
        f"{whole_percent(chance)} of all filters are in the degradation branch",
    )


def _gained_there(study: Study) -> Claim:
    def judged(kind: str) -> Part:
        gain, share = study.contributions.gain(kind, DEGRADATION), study.contributions.share(kind, DEGRADATION)
        return [is_above(gain, HALF)], (
            f"{function_of(kind)}: {percent_interval(gain)} of the fall of the loss is attributed to the degradation "
            f"branch, {percent_interval(share)} of the magnitudes"
        )

    size = float(study.two.branches.parameters(DEGRADATION).double().mean())
    return _claim(
        study,
        "most of what fine-tuning gained is attributed to the degradation branch, all its parameters counted",
        IDEA,
        map(judged, study.learnt),
        f"it has {whole_percent(size)} of all parameters",
    )


def _gain_left(study: Study, kind: str, edit: str, check: Callable[[Estimate, float], bool]) -> Part:
    left, kept = study.effects.gain_left(edit, kind), study.effects.kept(edit, kind)
    this, baseline, target = (fixed(study.effects.psnr(each, kind).mean) for each in (edit, BASELINE, TARGET))
    broken = "" if kept.mean >= 0 else ": further from the target's output than the baseline's is"
    return [check(left, HALF)], (
        f"{function_of(kind)}: {percent_interval(left)} of the gain is left ({this} dB, where the baseline has "
        f"{baseline} and the target {target}), P = {with_interval(kept)}{broken}"
    )


def _found_ones_matter(study: Study) -> Claim:
    percent, effects = study.percent, study.effects

    def judged(kind: str) -> Part:
        anywhere = edits.found_in(percent, kind)
        others = {"in the degradation branch only": edits.found_in(percent, kind, DEGRADATION)}
        others["at random"] = edits.at_random(percent, kind)
        shown = {"anywhere": anywhere} | others
        shown["in the restoration branch only"] = edits.found_in(percent, kind, RESTORATION)
        numbers = (f"{where} R = {with_interval(effects.removed(edit, kind))}" for where, edit in shown.items())
        checks = [is_above(effects.removed_more(anywhere, other, kind)) for other in others.values()]
        return checks, f"{function_of(kind)}: {', '.join(numbers)}"

    text = (
        f"the found {percent:g} % anywhere take more of their function away than as many in the degradation branch, "
        "and than random ones"
    )
    return _claim(study, text, OWN, map(judged, study.learnt))


def _own_above_cross(study: Study) -> Claim:
    def judged(masked: str, kind: str) -> Part:
        view = study.two.view
        own, cross = (view.judged.distance(view.edit(FAIG, masked), each).mean for each in (masked, kind))
        words = f"{function_of(masked)} filters: own {significant(own)}, on {kind} {significant(cross)}"
        return [own > TIMES * cross], words

    text = (
        f"the filters found by FAIG destroy their own function and hardly the other one (own above {TIMES} × cross), "
        "as in one-branch networks"
    )
    pairs = [(masked, kind) for masked in study.learnt for kind in study.kinds if kind != masked]
    return _claim(study, text, "paper, section 4", [judged(*pair) for pair in pairs])


def _as_selective_as_one_branch(study: Study) -> Claim:
    def judged(kind: str) -> Part:
        two, one = (each.view.selectivity(each.view.edit(FAIG, kind)) for each in study.networks)
        words = f"{function_of(kind)}: R + P − 1 = {with_interval(two)} against {with_interval(one)}"
        return [two.ends[1] >= one.ends[0]], words

    text = (
        f"the found {study.percent:g} % take their function away as selectively as in the one-branch network of equal "
        f"computation ({study.networks[1].network.label}): not clearly less"
    )
    return _claim(study, text, OWN, map(judged, study.learnt))


def _deeper(study: Study) -> Iterator[Claim]:
    blurs, noises = ([kind for kind in study.kinds if kind.split(":")[0] == what] for what in ("blur", "noise"))
    for blur, noise in product(blurs, noises):
        keys = (study.percent, blur), (study.percent, noise)
        parts: list[Part] = []
        for each in study.networks:
            first, second = (significant(each.depth(key).mean, 2) for key in keys)
            difference = each.depth_difference(*keys)
            is_judged = each is study.two and blur in study.learnt and noise in study.learnt
            words = f"{each.network.label}: {first} against {second}, difference {with_interval(difference)}"
            parts.append(([is_above(difference)] if is_judged else [], words))
        text = (
            f"outside the degradation branch {function_of(blur)} filters lie deeper than {function_of(noise)} ones, as "
            "in one branch"
        )
        yield _claim(study, text, "paper, figure of the distribution", parts)


def _tables(studies: Sequence[Study], percents: Sequence[float], inputs: Sequence[str]) -> Iterator[Table]:
    """Yield all tables of the page.

    Args:
        studies: One per two-branch network.
        percents: Shares of the filters.
        inputs: Inputs on which the edits are judged.
    """
    kinds = studies[0].kinds
    yield _networks(studies, inputs)
    yield _where(studies, percents)
    yield _contributions(studies)
    for each in studies:
        yield _put_back(each, inputs)
        yield _quality(each, inputs)
    yield _own_and_cross(studies, inputs)
    heads = (f"{function_of(kind)}, top {percent:g} %" for percent in percents for kind in kinds)
    yield Table(
        "depth",
        "Mean relative depth of the found filters (0: first layer, 1: last)",
        ("network", *heads, "all filters"),
        tuple(
            (found.network.label, *(found.depth(key) for key in product(percents, kinds)), found.chance_depth)
            for each in studies
            for found in each.networks
        ),
        f"{SPREAD} In two-branch networks among the layers outside the degradation branch.",
    )


def _networks(studies: Sequence[Study], inputs: Sequence[str]) -> Table:
    rows: list[Row] = []
    for study in studies:
        rows += [
            (f"{found.network.label}, {role}", *(found.view.judged.quality(role, kind) for kind in inputs))
            for found in study.networks
            for role in (BASELINE, TARGET)
        ]
        rows.append((f"{study.label}, gain", *(study.effects.gain(kind) for kind in inputs)))
    return Table(
        "networks",
        "PSNR in dB of the networks on the judged images",
        ("network", *inputs),
        rows,
        f"{SPREAD} The gain is paired over images. Baselines have the target's running statistics.",
        digits=4,
    )


def _where(studies: Sequence[Study], percents: Sequence[float]) -> Table:
    names = studies[0].two.branches.names
    rows: list[Row] = []
    for study in studies:
        found = study.two
        rows.append((study.label, "all filters", *(found.chance(name) for name in names), 1.0))
        for percent, kind in product(percents, study.kinds):
            shares = (found.share((percent, kind), name) for name in names)
            row = f"{function_of(kind)}, top {percent:g} %"
            rows.append((study.label, row, *shares, found.enrichment((percent, kind), DEGRADATION)))
    return Table(
        "where",
        "Shares of the found filters per branch",
        ("network", "filters", *names, f"{DEGRADATION} branch, times chance"),
        rows,
        f"{SPREAD} The filters are found anew for every draw. By chance, found filters would lie as all filters do.",
    )


def _contributions(studies: Sequence[Study]) -> Table:
    rows: list[Row] = []
    for study in studies:
        found, branches = study.contributions, study.two.branches
        for kind, name in product(study.kinds, branches.names):
            size = float(branches.parameters(name).double().mean())
            parts = [found.share(kind, name, each) if each in found.types_of(name) else None for each in TYPES]
            row = (found.share(kind, name), *parts, found.gain(kind, name))
            rows.append((study.label, function_of(kind), name, size, *row))
    types = (f"of that: {each}" for each in TYPES)
    return Table(
        "contributions",
        "What every branch contributes, all parameters counted",
        (
            "network", "function", "branch", "of all parameters", "of the magnitudes", *types,
            "of the fall of the loss",
        ),
        rows,
        f"{SPREAD} Magnitudes are the absolute contributions of single weights on one kind of input, nothing "
        "eliminated; the columns of the four kinds of parameters add up to theirs. The last column adds the signed "
        "contributions: over all branches they are the fall of the loss from baseline to target (completeness), so a "
        "branch may have less than nothing or more than all of it; a dash stands where the loss did not fall.",
    )  # fmt: skip


def _put_back(study: Study, inputs: Sequence[str]) -> Table:
    effects = study.effects
    return Table(
        f"swaps-{study.two.network.stem}",
        f"{study.label}: parts of the target put back to the baseline",
        (
            "put back",
            *(f"removed of {function_of(kind)} (R on {kind})" for kind in study.kinds),
            *(f"kept on {kind} (P)" for kind in inputs),
        ),
        tuple(
            (
                edit,
                *(effects.removed(edit, kind) for kind in study.kinds),
                *(effects.kept(edit, kind) for kind in inputs),
            )
            for edit in effects.edits
            if edit not in (BASELINE, TARGET)
        ),
        f"{SPREAD} R = 1 − ‖E − B‖² / ‖T − B‖², P = 1 − ‖E − T‖² / ‖B − T‖², pooled over all pixels, unrounded, in "
        "float32: R = 1 is the baseline's output, P = 1 the target's; both are below 0 where the network is broken.",
    )


def _quality(study: Study, inputs: Sequence[str]) -> Table:
    effects = study.effects
    rows: list[Row] = []
    for edit in effects.edits:
        left = (effects.gain_left(edit, kind) if kind in study.learnt else None for kind in study.kinds)
        rows.append((edit, *(effects.psnr(edit, kind) for kind in inputs), *left))
    scale = study.two.network.models[0].pair.scale
    return Table(
        f"quality-{study.two.network.stem}",
        f"{study.label}: PSNR in dB of the same networks, and what is left of the gain",
        ("put back", *inputs, *(f"left of the gain, {function_of(kind)}" for kind in study.kinds)),
        rows,
        f"{specification(scale)}. {SPREAD} Left of the gain: (edited − baseline) / (target − baseline) in dB; a dash "
        "where the function was not learnt.",
        digits=4,
    )


def _own_and_cross(studies: Sequence[Study], inputs: Sequence[str]) -> Table:
    rows: list[Row] = []
    for study in studies:
        for found, method, masked in product(study.networks, (FAIG, RANDOM), study.kinds):
            edit, judged = found.view.edit(method, masked), found.view.judged
            cells = (value(edit, kind) for kind in inputs for value in (judged.distance, judged.share))
            rows.append((found.network.label, f"{method_label(method)}, {function_of(masked)}", *cells))
    heads = (head for kind in inputs for head in (f"{kind}: distance", "R or P"))
    return Table(
        "cross",
        f"Own and cross damage of the found {studies[0].percent:g} %",
        ("network", "filters replaced", *heads),
        rows,
        f"{SPREAD} Function distance x 1000 (true gray) to the target's output; beside it the removal R on the own "
        "input, the preservation P on every other. As on the page of the masking, here in float32.",
    )


def _layer_rows(study: Study) -> Iterator[dict[str, object]]:
    """Yield the shares per layer and branch of both networks, for the JSON file."""
    for found in study.networks:
        branches = found.branches
        shares = {f"{kind}, {percent:g} %": found.mean_shares((percent, kind)) for percent, kind in found.shares}
        for number, (layer, branch) in enumerate(branches.groups):
            yield {
                "network": found.network.label,
                "layer": branches.space.layers[layer].name,
                "branch": branches.names[branch],
                "of all filters": float(found.everything[number]),
                **{name: float(each[number]) for name, each in shares.items()},
            }


def _answers(studies: Sequence[Study]) -> Iterator[str]:
    """Say in numbers whether the functions sit in the degradation branch."""
    for each in studies:
        chance = each.two.chance(DEGRADATION)
        for kind in each.learnt:
            share = each.two.share((each.percent, kind), DEGRADATION).mean
            left = each.effects.gain_left(edits.CONSTANT, kind).mean
            attributed = each.contributions.gain(kind, DEGRADATION).mean
            yield (
                f"**{each.label}, {function_of(kind)}**: {whole_percent(share)} of the found {each.percent:g} % of the "
                f"filters lie in the degradation branch, where {whole_percent(chance)} of all filters are; "
                f"{whole_percent(attributed)} of the fall of the loss is attributed to it; and where it answers the "
                f"same for every image, {whole_percent(left)} of the gain is left."
            )


_TEXT = (
    "A two-branch network has a *degradation branch* that says how an image was degraded (DAN: the estimator of the "
    "blur kernel's code; DASR: the encoder) and a *restoration branch* that is told. Between them lies the "
    "*conditioning*: in DAN the filters of the restorer that read the code, in DASR the layers that turn the "
    "representation into depthwise kernels and channel weights. Predicted kernels are no parameters: their share "
    "counts where they are predicted. A filter is a slice of a convolution; in DASR's linear layers it is a row, all "
    "weights of one output. Weights that all loops of DAN share are one set of filters.",
    "Baseline and target are two points of one parameter space, as everywhere here: the target was fine-tuned from the "
    "baseline, which saw clean inputs only. The lens shows what fine-tuning taught and where it was written; putting a "
    "branch back to the baseline shows what that branch alone learnt. A restorer that has learnt to listen to its own "
    "degradation branch may break with another one: then the gain is lost, but the output is not the baseline's either "
    "(R and P below 0). So one more network keeps all parameters and has its degradation branch say the same of every "
    "image, the mean of its answers: what it loses is what the answers are worth.",
)


def _unlearnt(studies: Sequence[Study]) -> Iterator[str]:
    for each in studies:
        missed = [kind for kind in each.kinds if kind not in each.learnt]
        if missed:
            said = ", ".join(f"{function_of(kind)} ({fixed(each.effects.gain(kind).mean)} dB)" for kind in missed)
            yield (
                f"**{each.label} did not learn everything**: fine-tuning did not surely gain {LEARNT:g} dB or more for "
                f"{said}. Where nothing was learnt the numbers say nothing of a function, and judge no claim."
            )


def _statistics(studies: Sequence[Study]) -> Iterator[str]:
    """Say what the target's running statistics make of the baseline, where a network has such."""
    for each in studies:
        if edits.EVERYTHING not in each.effects.edits:
            continue
        numbers = ", ".join(
            f"{fixed(each.effects.psnr(BASELINE, kind).mean)} instead of "
            f"{fixed(each.effects.psnr(edits.EVERYTHING, kind).mean)} dB on {kind}"
            for kind in [*each.kinds, "clean"]
        )
        yield (
            f"{each.label}'s degradation branch normalises by running statistics. They are buffers and no parameters, "
            "so the target's stand along the whole path (the completeness stays exact) and in the baseline that "
            f"everything is compared with: it has {numbers}. Rows called *own statistics* put the baseline's back, too."
        )


def _specification(laboratory: Laboratory, settings: TwoBranchSettings, studies: Sequence[Study]) -> dict[str, str]:
    common = laboratory.common
    networks = [found.network for each in studies for found in each.networks]
    models = "; ".join(
        f"{each.label}: {len(each.models)}, {each.multiply_adds / 1000:.4g}k multiply-adds per LR pixel"
        for each in networks
    )
    used, fine_tuned_for = len(laboratory.finding), [each.two.network.setting for each in studies]
    gap = max(each.contributions.gap for each in studies)
    return {
        "networks": f"x{common.peers.scale}, fine-tuned for " + ", ".join(f"'{each}'" for each in fine_tuned_for),
        "target models": models,
        "found on": images_text(common.find),
        "all parameters": f"attributed on {min(used, settings.all_parameters_images or used)} of these {used} images, "
        f"float32, completeness gap at most {100 * gap:.2g} %",
        "judged on": images_text(common.judged_on(fine_tuned_for[0]))
        + ("" if settings.judge_images is None else f" (of these at most {settings.judge_images})"),
        "found filters": "by FAIG, the other degradation's contributions eliminated",
        "intervals": f"{settings.draws} draws of images and target models for shares and depths (ranked anew), "
        f"{common.resamples} for all others; squares of one photograph are drawn as if they were independent",
    }


EXPERIMENT = Experiment(
    "two-branch-filters",
    "The lens on two-branch networks",
    "which filters of DAN and DASR carry deblurring and denoising, and whether they sit in the degradation branch",
    TwoBranchSettings,
    run,
)
