# SPDX-License-Identifier: Apache-2.0
"""Our own ranking against the paper's: which few filters take one function away and leave everything else?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field

from filterlens.attribution.goal_directed import GoalDirected
from filterlens.attribution.mask_optimisation import Schedule
from filterlens.attribution.result import Attribution
from filterlens.data.images import center_crop
from filterlens.editing.dial import substituted
from filterlens.evaluation.damage import Edit
from filterlens.metrics import psnr
from filterlens.paper import drawing
from filterlens.paper.experiment import (
    Cell,
    Claim,
    Experiment,
    Outcome,
    Table,
    Verdict,
    images_text,
    is_above,
    targets_text,
)
from filterlens.paper.images import evenly
from filterlens.paper.judged import INTERVALS, Judged, judge, others_of, selections_of
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.settings import Percent, Positive, Settings
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import function_of, method_label, unrounded

FAIG, GOAL, ONE_SHOT, CLEAN = "faig", "goal-directed", "goal-one-shot", "clean"
LABELS = {ONE_SHOT: "goal-directed, one shot"}
SIDE = 160  # HR pixels of the pictures
Found = Mapping[str, Attribution]


class GoalDirectedSettings(Settings):
    """Settings of the comparison of our ranking with FAIG.

    Attributes:
        pairs: Of the common pairs, how many, the first ones.
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
        """Return what removal (own input) or preservation shall reach."""
        return self.removal if kind == own else self.kept_clean if kind == CLEAN else self.kept


def run(laboratory: Laboratory, settings: GoalDirectedSettings) -> Outcome:
    """Rank with both methods, replace, and judge on images that neither has seen."""
    tables: list[Table] = []
    claims: list[Claim] = []
    panels: list[Panel] = []
    for name in laboratory.common.pairs[: settings.pairs]:
        models = laboratory.targets(name)
        found = [rankings(laboratory, settings, model) for model in models]
        edited = [
            (model, selections_of(each, settings.percents, laboratory.common.degradations))
            for model, each in zip(models, found, strict=True)
        ]
        judged = judge(laboratory, edited, evenly(laboratory.judging(name), settings.judge_images))
        methods = list(found[0])
        tables += [_table(laboratory, settings, name, methods, judged, percent) for percent in settings.percents]
        tables.append(_choices(laboratory, name, models, found))
        claims += _goals(laboratory, settings, name, judged)
        claims.append(_against_faig(laboratory, settings, name, judged))
        panels += _bars(laboratory, settings, name, methods, judged)
        panels += _pictures(laboratory, settings, models[0], found[0])
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _TEXT, _specification(laboratory, settings))


def rankings(laboratory: Laboratory, settings: GoalDirectedSettings, model: TargetModel) -> Found:
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
            laboratory.finding, common.degradations, progress=laboratory.progress, runner=laboratory.runner(model)
        )
    return found


def _table(
    laboratory: Laboratory,
    settings: GoalDirectedSettings,
    name: str,
    methods: Sequence[str],
    judged: Judged,
    percent: float,
) -> Table:
    kinds = laboratory.common.degradations
    heads = [f"{masked} filters, {kind} input" for masked in kinds for kind in laboratory.inputs]
    rows: list[tuple[Cell, ...]] = [
        (
            _label(method),
            *(judged.share(Edit(method, percent, masked), kind) for masked in kinds for kind in laboratory.inputs),
        )
        for method in methods
    ]
    goals = [unrounded(settings.goal(masked, kind)) for masked in kinds for kind in laboratory.inputs]
    return Table(
        f"share-{name}-{percent:g}",
        f"{name}, {percent:g} %: removal of the own function, preservation of the rest, on unseen images",
        ("method", *heads),
        (*rows, ("goal at 1 %", *goals)),
        "1 is ideal. Preservation on clean inputs is measured by how far apart baseline and target are there, which is "
        "little: it falls far below 0 when an edit disturbs clean images more than going back to the baseline would.",
    )


def _choices(laboratory: Laboratory, name: str, models: Sequence[TargetModel], found: Sequence[Found]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for model, each in zip(models, found, strict=True):
        choices = each[GOAL].settings["chosen_on_held_out_crops"]
        for kind, choice in choices.items():
            rows.append((str(model.seed), kind, ", ".join(f"{key} {value}" for key, value in choice.items())))
    return Table(
        f"choices-{name}",
        f"{name}: what the method chose on held-out crops of the discovery images",
        ("target model", "function", "choice"),
        tuple(rows),
    )


def _goals(laboratory: Laboratory, settings: GoalDirectedSettings, name: str, judged: Judged) -> Iterator[Claim]:
    percent = settings.percents[0]
    for masked in laboratory.common.degradations:
        shares = {kind: judged.share(Edit(GOAL, percent, masked), kind).mean for kind in laboratory.inputs}
        plain = {kind: judged.share(Edit(FAIG, percent, masked), kind).mean for kind in laboratory.inputs}
        checks = [share >= settings.goal(masked, kind) for kind, share in shares.items()]
        words = [
            f"{'removed' if kind == masked else f'kept on {kind}'} {unrounded(share)} "
            f"(goal {unrounded(settings.goal(masked, kind))}; FAIG {unrounded(plain[kind])})"
            for kind, share in shares.items()
        ]
        yield Claim(
            f"{name}: {percent:g} % of the filters, put back, take {function_of(masked)} away and nothing else",
            "filterlens, goal",
            Verdict.of(checks),
            "; ".join(words),
        )


def _against_faig(laboratory: Laboratory, settings: GoalDirectedSettings, name: str, judged: Judged) -> Claim:
    percent, degradations = settings.percents[0], laboratory.common.degradations
    checks, words = [], []
    for masked in degradations:
        ours, theirs = Edit(GOAL, percent, masked), Edit(FAIG, percent, masked)
        for others, where in ((others_of(masked, degradations), "other degradations"), ([CLEAN], "clean inputs")):
            gain = judged.selectivity_gain(ours, theirs, others)
            checks.append(is_above(gain))
            words.append(
                f"{function_of(masked)} against {where}: {unrounded(judged.selectivity(ours, others).mean)}, FAIG "
                f"{unrounded(judged.selectivity(theirs, others).mean)}"
            )
    return Claim(
        f"{name}: at {percent:g} % our ranking is more selective than FAIG (removal + preservation − 1; whole interval "
        "of the paired difference above 0)",
        "filterlens",
        Verdict.of(checks),
        "; ".join(words),
    )


def _bars(
    laboratory: Laboratory, settings: GoalDirectedSettings, name: str, methods: Sequence[str], judged: Judged
) -> Iterator[Panel]:
    percent, degradations = settings.percents[0], laboratory.common.degradations
    for masked in degradations:
        values = {
            _label(method): judged.selectivity(Edit(method, percent, masked), others_of(masked, degradations))
            for method in methods
        }
        title = f"{name}, {percent:g} %: {function_of(masked)} taken away alone"
        yield drawing.bars(f"selective-{name}-{safe_name(masked)}", title, values, "removal + preservation − 1")


def _pictures(
    laboratory: Laboratory, settings: GoalDirectedSettings, model: TargetModel, found: Found
) -> Iterator[Panel]:
    """Show what taking one function away does to inputs that do not need it."""
    percent, pair = settings.percents[0], model.pair
    sample = laboratory.judging(model.name)[0]
    truth = center_crop(sample.truth(pair.scale), SIDE).to(pair.device)
    for masked in laboratory.common.degradations:
        for kind in laboratory.inputs:
            if kind == masked:
                continue
            lowered = laboratory.inputs[kind].apply(truth, pair.scale, seed=laboratory.common.seed)
            with torch.no_grad():
                shown = {"target": pair.run(pair.target, lowered)} | {
                    f"without, {_label(method)}": pair.run(
                        substituted(pair, found[method].select(masked, percent)), lowered
                    )
                    for method in (FAIG, GOAL)
                }
            rows = [
                (f"{text}, {float(psnr(image, truth, crop=pair.scale)):.2f} dB", image) for text, image in shown.items()
            ]
            yield drawing.pictures(
                f"pictures-{model.name}-{safe_name(masked)}-{safe_name(kind)}",
                f"{model.name}, {kind} input '{sample.name}': {function_of(masked)} filters replaced",
                rows,
                alt=f"Output of the target and of the networks without {function_of(masked)} on a {kind} input.",
            )


def _label(method: str) -> str:
    return LABELS.get(method) or method_label(method)


def _specification(laboratory: Laboratory, settings: GoalDirectedSettings) -> dict[str, str]:
    common = laboratory.common
    chosen = common.pairs[: settings.pairs]
    return {
        "target models": targets_text(laboratory.common),
        "found on": images_text(common.find),
        "judged on": "; ".join(f"{name}: {images_text(common.judged_on(name))}" for name in chosen),
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
