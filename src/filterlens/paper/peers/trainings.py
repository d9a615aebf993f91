# SPDX-License-Identifier: Apache-2.0
"""The trainings of arms: recipe, folder and check of each; trained where missing, each by one process, and kept."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from filterlens.errors import FilterlensError
from filterlens.execution.hardware import resolve_precision
from filterlens.models.checkpoints import load_network
from filterlens.pair import ModelPair
from filterlens.paper.experiment import images_text
from filterlens.paper.laboratory import REMEDY, Laboratory, TargetModel, check_recipe
from filterlens.paper.peers.arms import Arm, Setting, settings_of
from filterlens.paper.peers.settings import PeerSettings
from filterlens.report.figures import safe_name
from filterlens.training.checkpointing import is_log_line
from filterlens.training.recipe import Recipe, validated
from filterlens.work.processes import in_turns
from filterlens.work.store import digest

BESIDE = ("name", "checkpoint_every", "validate_every")  # settings that do not decide the weights


@dataclass(frozen=True, eq=False)
class Training:
    """One target model of an arm: its baseline is trained with it, or taken from the training that leads.

    Attributes:
        laboratory: Laboratory in which it is trained.
        arm: The network.
        setting: Setting for which the target is trained.
        seed: Seed of the target model.
    """

    laboratory: Laboratory
    arm: Arm
    setting: Setting
    seed: int

    @property
    def leads(self) -> bool:
        """Whether it trains the baseline itself: for the peer's first setting, with the first or with every seed."""
        peers = self.laboratory.common.peers
        return self.setting == self._first and (self.seed == 0 or not peers.shared_baseline)

    @cached_property
    def leader(self) -> "Training":
        """The training that makes the baseline; itself, where it leads."""
        seed = 0 if self.laboratory.common.peers.shared_baseline else self.seed
        return self if self.leads else Training(self.laboratory, self.arm, self._first, seed)

    @property
    def _first(self) -> Setting:
        return next(each for each in settings_of(self.laboratory.common.peers) if each.peer == self.arm.peer)

    @cached_property
    def recipe(self) -> Recipe:
        """Everything that decides the weights but the images."""
        return recipe_of(self.laboratory.common.peers, self.arm, self.setting, self.seed)

    @cached_property
    def folder(self) -> Path:
        """The folder of the training: other recipes and images have other folders, so that none is overwritten."""
        shared = self.recipe.model_dump(mode="json")
        shared["target"]["degradations"] = shared["seed"] = None
        decisive = {name: value for name, value in shared.items() if name not in BESIDE}
        images = [wanted.model_dump(mode="json") for wanted in self.laboratory.common.train]
        arm = f"{safe_name(self.arm.name)}-x{self.recipe.scale}-{digest(decisive, images)[:8]}"
        return self.laboratory.targets_folder / "peers" / arm / safe_name(self.setting.name) / f"seed-{self.seed}"

    @property
    def files(self) -> tuple[Path, Path]:
        """Baseline and target."""
        return self.folder / "baseline.safetensors", self.folder / "target.safetensors"

    @property
    def has_begun(self) -> bool:
        """Whether a checkpoint is there from which it goes on."""
        return any((self.folder / f"{role}.state.pt").exists() for role in ("baseline", "target"))

    @property
    def is_done(self) -> bool:
        """Whether both networks are there."""
        return all(path.is_file() for path in self.files) and not self.has_begun

    @property
    def title(self) -> str:
        """Its name in bars and notes."""
        return f"{self.arm.label} for {self.setting.name}, seed {self.seed}"

    def losses(self, role: str = "target") -> list[tuple[int, float]]:
        """Return a stage's (step, mean loss since the point before); nothing where no log came with the networks.

        Only steps that restore count: those that train DASR's encoder alone have a loss of another kind.
        """
        path = self.folder / "log.jsonl"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        written = [json.loads(line) for line in lines if is_log_line(line)]
        entries = [entry for entry in written if entry["stage"] == role and "loss" in entry]
        alone = alone_steps(self.recipe, role)
        begins = [0, *(entry["step"] for entry in entries)]
        after = zip(begins, entries, strict=False)
        return [(entry["step"] - alone, entry["loss"]) for begin, entry in after if begin >= alone]

    def check(self) -> None:
        """Refuse networks of another recipe, and a target that was fine-tuned from another baseline.

        Raises:
            FilterlensError: With what differs, or a file cannot be read.
        """
        names = [name for name in self.recipe.model_dump() if name not in BESIDE]
        card = check_recipe(self.files[1], self.recipe, names)
        if self.leads:
            return
        path = self.leader.files[0]
        if card.get("baseline_sha256") != load_network(path).sha256:
            raise FilterlensError(f"'{self.files[1]}' was not fine-tuned from the baseline '{path}'. {REMEDY}")


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


def alone_steps(recipe: Recipe, role: str) -> int:
    """Return how many first steps of a stage train DASR's encoder alone."""
    return 0 if recipe.contrast is None else int(getattr(recipe.contrast, f"{role}_iterations"))


def recipe_of(peers: PeerSettings, arm: Arm, setting: Setting, seed: int) -> Recipe:
    """Return the recipe of a target model: the same for both arms, but for what DASR's encoder learns from.

    The contrast's own steps are added to the stages, so that both arms restore images for equally many.
    """
    contrast = {"contrast": peers.contrast.model_dump()} if arm.architecture == "dasr" else {}

    def stage(role: str) -> dict[str, Any]:
        steps: dict[str, Any] = getattr(peers, role).model_dump()
        alone = getattr(peers.contrast, f"{role}_iterations") if contrast else 0
        return steps | {"iterations": steps["iterations"] + alone}

    settings: dict[str, Any] = {
        "name": f"peers, {setting.name}",
        "architecture": arm.architecture,
        "network": arm.network,
        "scale": peers.scale,
        "patch": peers.patch,
        "batch": peers.batch,
        "ema": peers.ema,
        "start": "identity",
        "seed": seed,
        "validate_every": 0,
        "checkpoint_every": peers.checkpoint_every,
        "baseline": stage("baseline"),
        "target": stage("target") | {"degradations": setting.degradations},
    }
    return validated(settings | contrast, f"peers, {arm.name}")
