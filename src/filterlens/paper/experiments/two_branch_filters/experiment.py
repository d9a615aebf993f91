# SPDX-License-Identifier: Apache-2.0
"""Which filters of a two-branch network carry deblurring and denoising, and do they sit in the degradation branch?"""

from collections.abc import Iterator, Sequence

from filterlens.models.branches import DEGRADATION
from filterlens.paper.experiment import Experiment, Outcome, images_text
from filterlens.paper.experiments.two_branch_filters.claims import claims_of
from filterlens.paper.experiments.two_branch_filters.edits import CONSTANT, EVERYTHING
from filterlens.paper.experiments.two_branch_filters.figures import panels
from filterlens.paper.experiments.two_branch_filters.networks import peers_of
from filterlens.paper.experiments.two_branch_filters.settings import TwoBranchSettings
from filterlens.paper.experiments.two_branch_filters.study import LEARNT, Study, study
from filterlens.paper.experiments.two_branch_filters.swaps import BASELINE
from filterlens.paper.experiments.two_branch_filters.tables import layer_rows, tables
from filterlens.paper.laboratory import Laboratory
from filterlens.report.labels import fixed, function_of, whole_percent


def run(laboratory: Laboratory, settings: TwoBranchSettings) -> Outcome:
    """Find the filters, put branches and filters back to the baseline, and look at what is left."""
    kinds = laboratory.common.degradations
    peers = peers_of(laboratory, settings.peers, compare=settings.compare)
    studies = [study(laboratory, settings, peer) for peer in peers]
    return Outcome(
        tuple(claim for each in studies for claim in claims_of(each)),
        tuple(tables(studies, settings.percents, kinds, list(laboratory.inputs))),
        tuple(panel for each in studies for panel in panels(each)),
        (*_answers(studies), *_text(), *_unlearnt(studies), *_statistics(studies)),
        _specification(laboratory, settings, studies),
        {"layers": [row for each in studies for row in layer_rows(each)]},
    )


def _answers(studies: Sequence[Study]) -> Iterator[str]:
    """Say in numbers whether the functions sit in the degradation branch."""
    for each in studies:
        chance = float(each.shares.everything @ each.shares.inside(DEGRADATION))
        for kind in each.learnt:
            share = each.shares.share((each.percent, kind), DEGRADATION).mean
            left = each.swapped.gain_left(CONSTANT, kind).mean
            attributed = each.contributions.gain(kind, DEGRADATION).mean
            yield (
                f"**{each.label}, {function_of(kind)}**: {whole_percent(share)} of the found {each.percent:g} % of the "
                f"filters lie in the degradation branch, where {whole_percent(chance)} of all filters are; "
                f"{whole_percent(attributed)} of the fall of the loss is attributed to it; and where it answers the "
                f"same for every image, {whole_percent(left)} of the gain is left."
            )


def _text() -> Iterator[str]:
    yield (
        "A two-branch network has a *degradation branch* that says how an image was degraded (DAN: the estimator of "
        "the blur kernel's code; DASR: the encoder) and a *restoration branch* that is told. Between them lies the "
        "*conditioning*: in DAN the filters of the restorer that read the code, in DASR the layers that turn the "
        "representation into depthwise kernels and channel weights. Predicted kernels are no parameters: their share "
        "counts where they are predicted. A filter is a slice of a convolution; in DASR's linear layers it is a row, "
        "all weights of one output. Weights that all loops of DAN share are one set of filters."
    )
    yield (
        "Baseline and target are two points of one parameter space, as everywhere here: the target was fine-tuned from "
        "the baseline, which saw clean inputs only. The lens shows what fine-tuning taught and where it was written; "
        "putting a branch back to the baseline shows what that branch alone learnt. A restorer that has learnt to "
        "listen to its own degradation branch may break with another one: then the gain is lost, but the output is not "
        "the baseline's either (R and P below 0). So one more network keeps all parameters and has its degradation "
        "branch say the same of every image, the mean of its answers: what it loses is what the answers are worth."
    )


def _unlearnt(studies: Sequence[Study]) -> Iterator[str]:
    for each in studies:
        missed = [kind for kind in each.kinds if kind not in each.learnt]
        if missed:
            said = ", ".join(f"{function_of(kind)} ({fixed(each.swapped.gain(kind).mean)} dB)" for kind in missed)
            yield (
                f"**{each.label} did not learn everything**: fine-tuning did not surely gain {LEARNT:g} dB or more for "
                f"{said}. Where nothing was learnt the numbers say nothing of a function, and judge no claim."
            )


def _statistics(studies: Sequence[Study]) -> Iterator[str]:
    """Say what the target's running statistics make of the baseline, where a network has such."""
    for each in studies:
        if EVERYTHING not in each.swapped.edits:
            continue
        numbers = ", ".join(
            f"{fixed(each.swapped.psnr(BASELINE, kind).mean)} instead of "
            f"{fixed(each.swapped.psnr(EVERYTHING, kind).mean)} dB on {kind}"
            for kind in [*each.kinds, "clean"]
        )
        yield (
            f"{each.label}'s degradation branch normalises by running statistics. They are buffers and no parameters, "
            "so the target's stand along the whole path (the completeness stays exact) and in the baseline that "
            f"everything is compared with: it has {numbers}. Rows called *own statistics* put the baseline's back, too."
        )


def _specification(laboratory: Laboratory, settings: TwoBranchSettings, studies: Sequence[Study]) -> dict[str, str]:
    common = laboratory.common
    models = "; ".join(
        f"{network.label}: {len(network.models)}, {network.multiply_adds / 1000:.4g}k multiply-adds per LR pixel"
        for each in studies
        for network, _, _ in each.networks
    )
    used = len(laboratory.finding)
    return {
        "networks": f"x{common.peers.scale}, fine-tuned for "
        + ", ".join(f"'{each.peer.two.setting}'" for each in studies),
        "target models": models,
        "found on": images_text(common.find),
        "all parameters": f"attributed on {min(used, settings.all_parameters_images or used)} of these {used} images, "
        f"float32, completeness gap at most {_gap(studies)}",
        "judged on": images_text(common.judged_on(studies[0].peer.two.setting))
        + ("" if settings.judge_images is None else f" (of these at most {settings.judge_images})"),
        "found filters": "by FAIG, the other degradation's contributions eliminated",
        "intervals": f"{settings.draws} draws of images and target models for shares and depths (ranked anew), "
        f"{common.resamples} for all others; squares of one photograph are drawn as if they were independent",
    }


def _gap(studies: Sequence[Study]) -> str:
    return f"{100 * max(each.contributions.gap for each in studies):.2g} %"


EXPERIMENT = Experiment(
    "two-branch-filters",
    "The lens on two-branch networks",
    "which filters of DAN and DASR carry deblurring and denoising, and whether they sit in the degradation branch",
    TwoBranchSettings,
    run,
)
