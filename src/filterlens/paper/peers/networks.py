# SPDX-License-Identifier: Apache-2.0
"""The trained networks of an arm in a setting: trained where they are missing, each by one process, and kept."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache

from torch import Tensor

from filterlens.errors import FilterlensError
from filterlens.execution.hardware import resolve_precision
from filterlens.models.checkpoints import load_network
from filterlens.pair import ModelPair
from filterlens.paper.experiment import images_text
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.peers.arms import Arm, Setting
from filterlens.paper.peers.trainings import REMEDY, Training
from filterlens.work.processes import in_turns


def trained(laboratory: Laboratory, arm: Arm, setting: Setting) -> list[TargetModel]:
    """Return the target models of an arm in a setting, one per seed; those that are missing are trained.

    All processes of a job call this alike. Each network is trained by one of them, alone.

    Raises:
        FilterlensError: Training images are missing, a training diverged or is of another recipe.
    """
    prepare(laboratory, [(arm, setting)])
    return [_model(training) for training in trainings_of(laboratory, arm, setting)]


def prepare(laboratory: Laboratory, wanted: Sequence[tuple[Arm, Setting]]) -> None:
    """Train what is missing of several arms and settings at once, so that processes wait for each other but twice.

    Raises:
        FilterlensError: As in :func:`trained`.
    """
    every = [training for arm, setting in wanted for training in trainings_of(laboratory, arm, setting)]
    leaders = {training.leader.folder: training.leader for training in every}
    followers = {training.folder: training for training in every if not training.leads}
    read = cache(laboratory.training_images)
    for wave in (leaders, followers):  # the second starts from the baselines of the first
        longest = sorted(wave.values(), key=lambda training: -training.arm.complexity.multiply_adds)
        in_turns(laboratory.processes, longest, lambda taken: _train_missing(taken, read))
    for training in (*leaders.values(), *followers.values()):
        training.check()


def trainings_of(laboratory: Laboratory, arm: Arm, setting: Setting) -> list[Training]:
    """Return the trainings of an arm in a setting, one per seed."""
    seeds = laboratory.common.peers.seeds or laboratory.common.targets
    return [Training(laboratory, arm, setting, seed) for seed in range(seeds)]


def _train_missing(trainings: Iterable[Training], read: Callable[[], list[Tensor]]) -> None:
    for training in trainings:
        if not training.is_done:
            training.laboratory.progress.note(f"{training.title} is not in '{training.folder}': training it")
            _train(training, read)


def _train(training: Training, read: Callable[[], list[Tensor]]) -> None:
    from filterlens.training.checkpointing import AnotherTrainingError
    from filterlens.training.processes import OneProcess
    from filterlens.training.trainer import train

    laboratory = training.laboratory
    given = None if training.leads else load_network(training.leader.files[0])
    try:
        images = read()
    except FilterlensError as error:
        raise FilterlensError(f"{training.title} is not trained yet, and it cannot be: {error}") from error
    try:
        train(
            training.recipe,
            images,
            training.folder,
            device=laboratory.device,
            processes=OneProcess(laboratory.device),  # the job's other processes train other networks
            precision=resolve_precision("auto", laboratory.device),
            baseline=given,
            data="; ".join(images_text(wanted) for wanted in laboratory.common.train),
            progress=laboratory.progress,
        )
    except AnotherTrainingError as error:
        raise FilterlensError(
            f"'{training.folder}' holds the beginning of a training on other images or in another precision. {REMEDY}"
        ) from error


def _model(training: Training) -> TargetModel:
    pair = ModelPair.load(*training.files)
    pair.name = training.title
    moved = pair.to(training.laboratory.device)
    return TargetModel(f"{training.setting.name}, {training.arm.name}", training.seed, moved, pair.identity)
