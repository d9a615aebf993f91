# SPDX-License-Identifier: Apache-2.0
"""Our own ranking against the paper's: which few filters remove one function and nothing else?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field

from filterlens.attribution.goal_directed import GoalDirected
from filterlens.attribution.mask_optimisation import Schedule
from filterlens.attribution.result import Attribution
from filterlens.data.images import center_crop
from filterlens.editing.dial import substituted
from filterlens.metrics import psnr
from filterlens.paper import drawing
from filterlens.paper.experiment import Claim, Experiment, Outcome, Part, Table, common_rows, is_above
from filterlens.paper.judged import INTERVALS, View, view_of
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import function_of, method_label, unrounded
from filterlens.settings import Percent, Positive, Settings

FAIG, GOAL, ONE_SHOT, CLEAN = "faig", "goal-directed", "goal-one-shot", "clean"
LABELS = {ONE_SHOT: "goal-directed, one shot"}
SIDE = 160  # HR pixels of the pictures


class GoalDirectedSettings(Settings):
    """Settings of the comparison of our ranking with FAIG.

    Attributes:
        pairs: How many of the common pairs, from the first.
        percents: Shares of the filters; the first one is what the ranking is made for.
        judge_images: Judge on at most so many images, spread evenly over the set.
        crops: How many crops our ranking is refined on.
        steps: How many gradients the refinement follows.
        removal: Goal for the own function.
        kept: Goal for the preservation of every other degradation.
        kept_clean: Goal for the preservation of clean inputs.
    """

    pairs: Positive = 2
    percents: tuple[Percent, ...] = (1.0, 0.5, 3.0)
    judge_images: Positive | None = None
    crops: Positive = 48
    steps: Positive = 144
    removal: Annotated[float, Field(gt=0, le=1)] = 0.95
    kept: Annotated[float, Field(gt=0, le=1)] = 0.98
    kept_clean: Annotated[float, Field(gt=0, le=1)] = 0.90

    def goal(self, own: str, kind: str) -> float:
        """Return the goal of removal (own input) or preservation."""
        return self.removal if kind == own else self.kept_clean if kind == CLEAN else self.kept


def run(laboratory: Laboratory, settings: GoalDirectedSettings) -> Outcome:
    """Rank with both methods, replace, and judge on images that neither has seen."""
    tables: list[Table] = []
    claims: list[Claim] = []
    panels: list[Panel] = []
    for name in laboratory.common.pairs[: settings.pairs]:
        models = laboratory.targets(name)
        found = [rankings(laboratory, settings, model) for model in models]
        judging = laboratory.judging(name, settings.judge_images)
        view = view_of(laboratory, models, found, settings.percents, judging)
        tables += [_table(replace(view, percent=percent), settings) for percent in settings.percents]
        tables.append(_choices(view, models))
        claims += [*_goals(view, settings), _against_faig(view)]
        panels += [*_bars(view), *_pictures(laboratory, view, models[0])]
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _TEXT, _specification(laboratory, settings))


def rankings(laboratory: Laboratory, settings: GoalDirectedSettings, model: TargetModel) -> Mapping[str, Attribution]:
    """Return the rankings of one target model, ours last."""
    common = laboratory.common
    found = laboratory.attribute(model, (FAIG, "faig-no-elimination", "random"), laboratory.finding)
    ways = {ONE_SHOT: None, GOAL: Schedule(steps=settings.steps)}
    for name, schedule in ways.items():
        method = GoalDirected(
            model.pair,
            refine=schedule is not None,
            schedule=schedule,
            crops=settings.crops,
            seed=common.seed,
            precision=common.precision,
        )
        found[name] = method.attribute(
            laboratory.finding, common.degradations, progress=laboratory.progress, store=laboratory.store
        )
    return found


def _table(view: View, settings: GoalDirectedSettings) -> Table:
    rows = view.rows({method: _label(method) for method in view.found[0]}, view.judged.share)
    goals = [unrounded(settings.goal(masked, kind)) for masked, kind in view.matrix]
    return Table(
        f"share-{view.name}-{view.percent:g}",
        f"{view.name}, {view.percent:g} %: removal of the own function, preservation of the rest, on unseen images",
        ("method", *view.heads),
        [*rows, ("goal at 1 %", *goals)],
        "1 is ideal. Preservation on clean inputs is measured by how far apart baseline and target are there, which is "
        "little: it falls far below 0 when an edit disturbs clean images more than going back to the baseline would.",
    )


def _choices(view: View, models: Sequence[TargetModel]) -> Table:
    rows = [
        (str(model.seed), kind, ", ".join(f"{key} {value}" for key, value in choice.items()))
        for model, each in zip(models, view.found, strict=True)
        for kind, choice in each[GOAL].settings["chosen_on_held_out_crops"].items()
    ]
    return Table(
        f"choices-{view.name}",
        f"{view.name}: what the method chose on held-out crops of the discovery images",
        ("target model", "function", "choice"),
        rows,
    )


def _goals(view: View, settings: GoalDirectedSettings) -> Iterator[Claim]:
    def judged(masked: str, kind: str) -> Part:
        goal = settings.goal(masked, kind)
        share, plain = (view.judged.share(view.edit(method, masked), kind).mean for method in (GOAL, FAIG))
        what = "removed" if kind == masked else f"kept on {kind}"
        return [share >= goal], f"{what} {unrounded(share)} (goal {unrounded(goal)}; FAIG {unrounded(plain)})"

    for masked in view.degradations:
        yield Claim.of(
            f"{view.name}: {view.percent:g} % of the filters, put back, take {function_of(masked)} away and nothing "
            "else",
            "filterlens, goal",
            [judged(masked, kind) for kind in view.inputs],
        )


def _against_faig(view: View) -> Claim:
    def judged(masked: str, others: Sequence[str], where: str) -> Part:
        ours, theirs = view.edit(GOAL, masked), view.edit(FAIG, masked)
        mine, faigs = (unrounded(view.judged.selectivity(edit, others).mean) for edit in (ours, theirs))
        words = f"{function_of(masked)} against {where}: {mine}, FAIG {faigs}"
        return [is_above(view.judged.selectivity_gain(ours, theirs, others))], words

    return Claim.of(
        f"{view.name}: at {view.percent:g} % our ranking is more selective than FAIG (removal + preservation − 1; "
        "whole interval of the paired difference above 0)",
        "filterlens",
        [
            judged(masked, others, where)
            for masked in view.degradations
            for others, where in ((view.others(masked), "other degradations"), ([CLEAN], "clean inputs"))
        ],
    )


def _bars(view: View) -> Iterator[Panel]:
    for masked in view.degradations:
        values = {_label(method): view.selectivity(view.edit(method, masked)) for method in view.found[0]}
        title = f"{view.name}, {view.percent:g} %: {function_of(masked)} taken away alone"
        yield drawing.bars(f"selective-{view.name}-{safe_name(masked)}", title, values, "removal + preservation − 1")


def _pictures(laboratory: Laboratory, view: View, model: TargetModel) -> Iterator[Panel]:
    """Show what taking one function away does to inputs that do not need it."""
    pair, sample = model.pair, laboratory.judging(model.name)[0]
    truth = center_crop(sample.truth(pair.scale), SIDE).to(pair.device)
    for masked, kind in view.matrix:
        if kind == masked:
            continue
        lowered = laboratory.inputs[kind].apply(truth, pair.scale, seed=laboratory.common.seed)
        networks = {"target": pair.target} | {
            f"without, {_label(method)}": substituted(pair, view.found[0][method].select(masked, view.percent))
            for method in (FAIG, GOAL)
        }
        with torch.no_grad():
            shown = {text: pair.run(vector, lowered) for text, vector in networks.items()}
        yield drawing.pictures(
            f"pictures-{model.name}-{safe_name(masked)}-{safe_name(kind)}",
            f"{model.name}, {kind} input '{sample.name}': {function_of(masked)} filters replaced",
            [(f"{text}, {float(psnr(image, truth, crop=pair.scale)):.2f} dB", image) for text, image in shown.items()],
            alt=f"Output of the target and of the networks without {function_of(masked)} on a {kind} input.",
        )


def _label(method: str) -> str:
    return LABELS.get(method) or method_label(method)


def _specification(laboratory: Laboratory, settings: GoalDirectedSettings) -> dict[str, str]:
    return common_rows(laboratory.common, laboratory.common.pairs[: settings.pairs]) | {
        "our ranking": f"{settings.crops} crops of 64x64 LR pixels, {settings.steps} steps of refinement",
        "removal, preservation": "squared distances of unrounded outputs, pooled over all pixels of all images",
        "intervals": INTERVALS,
    }


_TEXT = (
    "FAIG asks which filters lower the restoration error. A user asks another question: which few filters, put back to "
    "the baseline, take this function away *and nothing else*? The goal-directed ranking asks that directly, and needs "
    "no ground truth: a one-shot score of every filter (what its return to the baseline removes along the path, less "
    "what it disturbs on all inputs that must stay), then a refinement in which every filter has a weight between 0 "
    "(target) and 1 (baseline), the weights sum to 1 % of the filters, and the removal and preservation of the edited "
    "network itself are optimised on many small crops. What is free (how much a disturbance counts, which part of the "
    "path, when to stop) is chosen on further crops of the discovery images; `docs/method.md` has the formulas.",
    "The pictures show inputs that do *not* need the function that was taken away: they should stay as the target "
    "made them.",
)

EXPERIMENT = Experiment(
    "goal-directed",
    "A better ranking: goal-directed filters against FAIG",
    "our ranking, which asks for one function and nothing else, against the paper's",
    GoalDirectedSettings,
    run,
)
