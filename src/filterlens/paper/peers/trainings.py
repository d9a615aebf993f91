# SPDX-License-Identifier: Apache-2.0
"""One training of one arm: its recipe, where it lies, whether it is done, and whether it is what is wanted."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from filterlens.errors import FilterlensError
from filterlens.models.checkpoints import load_network
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.peers.arms import Arm, Setting, settings_of
from filterlens.paper.peers.settings import PeerSettings
from filterlens.report.figures import safe_name
from filterlens.training.checkpointing import is_log_line
from filterlens.training.recipe import Recipe, validated
from filterlens.work.store import digest

BESIDE = ("name", "checkpoint_every", "validate_every")  # settings that do not decide the weights
REMEDY = "Move it away, or give another --targets folder."


@dataclass(frozen=True, eq=False)
class Training:
    """One target model of an arm: its baseline is trained with it, or taken from the training that leads.

    Attributes:
        laboratory: Where it is trained.
        arm: The network.
        setting: What the target is trained for.
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
        """Where it lies: other recipes and other choices of images have other folders, so that none is trained over."""
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
        """What bars and notes call it."""
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
        card = load_network(self.files[1]).card
        self._check_recipe(card.get("recipe", {}))
        if self.leads:
            return
        path = self.leader.files[0]
        if card.get("baseline_sha256") != load_network(path).sha256:
            raise FilterlensError(f"'{self.files[1]}' was not fine-tuned from the baseline '{path}'. {REMEDY}")

    def _check_recipe(self, found: Mapping[str, Any]) -> None:
        wanted = self.recipe.model_dump(mode="json")
        for name in [name for name in wanted if name not in BESIDE]:
            if found.get(name) != wanted[name]:
                raise FilterlensError(
                    f"'{self.files[1]}' was trained with {name} = {found.get(name)!r}, but {wanted[name]!r} is "
                    f"wanted. {REMEDY}"
                )


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
