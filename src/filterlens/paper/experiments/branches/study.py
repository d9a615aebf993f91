# SPDX-License-Identifier: Apache-2.0
"""Everything that the page shows, in the order in which it is computed: networks, qualities, codes, probes."""

from dataclasses import dataclass

import numpy as np

from filterlens.metrics import CHANNELS
from filterlens.paper.experiments.branches.codes import Codes, kernel_codes
from filterlens.paper.experiments.branches.judging import Array, bicubic, judge, of_model
from filterlens.paper.experiments.branches.probe import Probed, probed, questions_of
from filterlens.paper.experiments.branches.results import FLOOR, ONE, TWO, Compared
from filterlens.paper.experiments.branches.settings import BranchesSettings
from filterlens.paper.images import evenly
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.peers.arms import Arm, Setting, arms_of, settings_of
from filterlens.paper.peers.networks import prepare, trained, trainings_of

Models = dict[tuple[str, str], list[TargetModel]]  # (setting, who) → one per seed
Curves = dict[tuple[str, str], list[list[tuple[int, float]]]]  # (setting, who) → loss curve of every seed


@dataclass(frozen=True, eq=False)
class Study:
    """What was measured.

    Attributes:
        compared: One per setting.
        codes: Of DAN, one per setting of its own.
        probes: Of DASR, one per question in each setting of its own.
        losses: (setting, who) → training curves of the targets.
    """

    compared: list[Compared]
    codes: list[Codes]
    probes: list[Probed]
    losses: Curves


def study(laboratory: Laboratory, settings: BranchesSettings) -> Study:
    """Train what is missing, and measure."""
    peers = laboratory.common.peers
    arms, tasks = arms_of(peers), settings_of(peers)
    pairs = {task.name: _both(arms, task) for task in tasks}
    places = [(task, who, pairs[task.name][who]) for task in tasks for who in (TWO, ONE)]
    prepare(laboratory, [(arm, task) for task, _, arm in places])
    models = {(task.name, who): trained(laboratory, arm, task) for task, who, arm in places}
    return Study(
        compared=_compared(laboratory, settings, tasks, pairs, models),
        codes=_codes(laboratory, settings, tasks, models),
        probes=_probes(laboratory, settings, tasks, models),
        losses={
            (task.name, who): [training.losses() for training in trainings_of(laboratory, arm, task)]
            for task, who, arm in places
        },
    )


def _both(arms: list[Arm], task: Setting) -> dict[str, Arm]:
    of_peer = [arm for arm in arms if arm.peer == task.peer]
    return {TWO if arm.has_two_branches else ONE: arm for arm in of_peer}


def _compared(
    laboratory: Laboratory,
    settings: BranchesSettings,
    tasks: list[Setting],
    pairs: dict[str, dict[str, Arm]],
    models: Models,
) -> list[Compared]:
    samples = evenly(laboratory.judging("*"), settings.judge_images)
    scale, resamples = laboratory.common.peers.scale, laboratory.common.resamples
    places = [(task, who) for task in tasks for who in (TWO, ONE, FLOOR)]
    restorers = {
        (task.name, who): [bicubic(task, scale)]
        if who == FLOOR
        else [of_model(model, task) for model in models[task.name, who]]
        for task, who in places
    }
    found = iter(judge(laboratory, [each for several in restorers.values() for each in several], samples))
    judged = {place: [next(found) for _ in several] for place, several in restorers.items()}

    def psnr(task: Setting) -> dict[tuple[str, str], Array]:
        return {
            (who, channel): np.stack([quality[channel] for quality in judged[task.name, who]])
            for who in (TWO, ONE, FLOOR)
            for channel in CHANNELS
        }

    return [
        Compared(task, pairs[task.name], scale, psnr(task), settings.margin, settings.channel, resamples)
        for task in tasks
    ]


def _codes(laboratory: Laboratory, settings: BranchesSettings, tasks: list[Setting], models: Models) -> list[Codes]:
    samples = evenly(laboratory.judging("*"), settings.judge_images)
    return [kernel_codes(laboratory, task, models[task.name, TWO], samples) for task in tasks if task.peer == "dan"]


def _probes(laboratory: Laboratory, settings: BranchesSettings, tasks: list[Setting], models: Models) -> list[Probed]:
    every = [sample for wanted in laboratory.common.train for sample in laboratory.samples(wanted)]
    fit_on = evenly(every, settings.probe_images)
    ask_on = evenly(laboratory.judging("*"), settings.judge_images)
    patch, count = settings.probe_patch, settings.probe_squares
    return [
        probed(laboratory, task, question, models[task.name, TWO], fit_on, ask_on, patch=patch, count=count)
        for task in tasks
        if task.peer == "dasr"
        for question in questions_of(task)
    ]
