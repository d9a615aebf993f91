# SPDX-License-Identifier: Apache-2.0
"""The resources that experiments share: pairs and their target models, images, attributions, and a store of results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from filterlens.attribution.methods import attribute_with, taken_by
from filterlens.attribution.quadrature import Adaptive
from filterlens.attribution.result import Attribution
from filterlens.attribution.settings import AttributeSettings
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.errors import FilterlensError
from filterlens.evaluation.statistics import Array
from filterlens.execution.hardware import resolve_precision
from filterlens.models.checkpoints import load_network
from filterlens.pair import ModelPair
from filterlens.paper.images import Library, evenly
from filterlens.paper.settings import Common, ImageChoice
from filterlens.progress import SILENT, Progress
from filterlens.training.recipe import Recipe, load_recipe, validated
from filterlens.work.processes import Alone, Processes
from filterlens.work.store import Store

CARD = "card"
REMEDY = "Move it away, or give another --targets folder."
Subject = TypeVar("Subject")


@dataclass(frozen=True, eq=False)
class TargetModel:
    """One of the target models of a pair: the same baseline, fine-tuned with another seed.

    Attributes:
        name: Name of the pair.
        seed: 0 for the shipped target.
        pair: Baseline and this target, on the laboratory's device.
        identity: Hash of both networks.
    """

    name: str
    seed: int
    pair: ModelPair
    identity: str

    @property
    def title(self) -> str:
        """Its name in bars."""
        return f"{self.name}, {self.seed}"


class Laboratory:
    """Everything that experiments use from outside, the same in every process of a job.

    Args:
        folder: Folder of computed results; an experiment that was killed continues from them.
        common: The settings that all experiments share.
        library: Folder of the image sets.
        targets_folder: Folder of further target models; missing ones are trained into it.
        device: Device to compute on.
        processes: Processes that share the work.
        progress: Receiver of bars and notes.
    """

    def __init__(
        self,
        folder: Path,
        common: Common,
        *,
        library: Library | None = None,
        targets_folder: Path | None = None,
        device: torch.device | None = None,
        processes: Processes | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self.folder = folder
        self.common = common
        self.library = library or Library()
        self.targets_folder = targets_folder or folder / "targets"
        self.device = device or torch.device("cpu")
        self.processes = processes or Alone()
        self.progress = progress if self.processes.rank == 0 else SILENT
        self.store = Store(folder / "results", self.processes, self.progress)
        self.targets = cache(self._targets)

    @property
    def judge_precision(self) -> str:
        """Precision of networks that are judged."""
        return resolve_precision(self.common.judge_precision, self.device)

    @property
    def fast_precision(self) -> str:
        """Precision of networks whose small differences do not matter."""
        return resolve_precision(self.common.precision, self.device)

    @cached_property
    def inputs(self) -> dict[str, Degradation]:
        """The inputs on which edits are judged: every degradation, and clean."""
        return {name: Degradation.parse(name) for name in (*self.common.degradations, "clean")}

    def target(self, name: str) -> TargetModel:
        """Return the shipped target of a pair."""
        return self._model(name, 0, ModelPair.pretrained(name))

    def _targets(self, name: str) -> list[TargetModel]:
        """Return all target models of a pair, the shipped one first; those that are missing are trained.

        Raises:
            FilterlensError: A model is missing and so are the images to train it; or it is of another recipe.
        """
        shipped, training = ModelPair.pretrained(name), self.common.training
        if training == CARD:
            from filterlens.models.pretrained import pair_files

            first, (start, _) = [self._model(name, 0, shipped)], pair_files(name)
        else:  # all are trained by the named recipe: the first one's baseline, too, from which the others start
            first, start = [], self.targets_folder / name / "seed-0" / "baseline.safetensors"
        return [*first, *(self._further(shipped, seed, start) for seed in range(len(first), self.common.targets))]

    def _further(self, shipped: ModelPair, seed: int, start: Path) -> TargetModel:
        """Return a target model that does not ship, fine-tuned from ``start`` unless that is its own baseline."""
        name, training = shipped.name, self.common.training
        folder = self.targets_folder / name / f"seed-{seed}"
        self.train_once(
            f"Target model {seed} of '{name}'",
            target_recipe(shipped, training, seed),
            folder,
            "target",
            start=None if start.parent == folder else start,
            remedy="Or use a recipe with fewer targets.",
        )
        pair = ModelPair.load(folder / "baseline.safetensors", folder / "target.safetensors")
        pair.name = f"{name}, seed {seed}"
        return self._model(name, seed, pair)

    def train_once(
        self, what: str, recipe: Recipe, folder: Path, role: str, *, start: Path | None = None, remedy: str
    ) -> None:
        """Train into a folder unless the wanted network is there; a killed training goes on.

        Args:
            what: Name of the network in notes and errors.
            recipe: The training.
            folder: Folder of the networks.
            role: The network that is wanted: ``baseline`` or ``target``.
            start: File of the baseline to start from; by default the baseline is trained, too.
            remedy: Remedy for missing images, other than getting them.

        Raises:
            FilterlensError: The folder holds a network of another recipe or seed, or training images are missing.
        """
        from filterlens.training.trainer import train

        path = folder / f"{role}.safetensors"
        if path.is_file() and not (folder / f"{role}.state.pt").exists():
            check_recipe(path, recipe, ("seed", "architecture", "scale", role))
            return
        given = load_network(start) if start else None
        self.progress.note(f"{what} is not in '{folder}': training it by '{recipe.name}'")
        try:
            pixels = self.training_images()
        except FilterlensError as error:
            raise FilterlensError(f"{what} is not in '{folder}', and it cannot be trained: {error} {remedy}") from error
        train(
            recipe,
            pixels,
            folder,
            device=self.device,
            precision=resolve_precision("auto", self.device),
            baseline=given,
            data=f"{len(pixels)} images",
            progress=self.progress,
        )

    def _model(self, name: str, seed: int, pair: ModelPair) -> TargetModel:
        return TargetModel(name, seed, pair.to(self.device), pair.identity)

    def samples(self, wanted: ImageChoice) -> list[Sample]:
        """Return the images of a set; see :meth:`filterlens.paper.images.Library.samples`."""
        return self.library.samples(wanted)

    @cached_property
    def finding(self) -> list[Sample]:
        """The images on which filters are found."""
        return self.samples(self.common.find)

    def judging(self, name: str, most: int | None = None) -> list[Sample]:
        """Return the images on which a pair is judged; at most so many, spread evenly over the set."""
        return evenly(self.samples(self.common.judged_on(name)), most)

    def training_samples(self, most: int | None = None) -> list[Sample]:
        """Return the training images; at most so many, spread evenly over all sets."""
        return evenly([sample for wanted in self.common.train for sample in self.samples(wanted)], most)

    def training_images(self) -> list[Tensor]:
        """Return all training images, HR ``(3, H, W)`` uint8."""
        return [sample.read() for sample in self.training_samples()]

    def attribute(
        self,
        model: TargetModel,
        methods: Sequence[str],
        samples: Sequence[Sample],
        degradations: Sequence[str] | None = None,
        **changes: Any,
    ) -> dict[str, Attribution]:
        """Rank the filters with several methods; what was measured before (also by other experiments) is not again.

        Args:
            model: The networks.
            methods: Names of :data:`filterlens.attribution.methods.METHODS`.
            samples: HR images.
            degradations: Default: the common ones.
            **changes: Settings other than the common ones; see
                :class:`filterlens.attribution.settings.AttributeSettings`.
        """
        return attribute_with(
            methods,
            model.pair,
            samples,
            degradations or self.common.degradations,
            taken_by(self.settings(**changes), methods),
            progress=self.progress,
            store=self.store,
        )

    def settings(self, **changes: Any) -> AttributeSettings:
        """Return the common settings of attributions, some of them changed."""
        common = self.common
        usual = {"quadrature": Adaptive(common.tolerance), "seed": common.seed, "precision": common.precision}
        return AttributeSettings.of(usual | changes)

    def measured(
        self,
        name: str,
        subjects: Sequence[Subject],
        samples: Sequence[Sample],
        identity: Callable[[Subject], Any],
        measure: Callable[[Subject, Sample], Mapping[str, Any]],
        title: Callable[[Subject], str],
    ) -> dict[str, Array]:
        """Measure every subject on every image; processes share the work, and what was measured before is not again.

        Args:
            name: Name of the measurement.
            subjects: Subjects to judge, for example target models with their edits.
            samples: HR images.
            identity: Subject → JSON value of everything that decides its numbers, other than image and common seed.
            measure: (subject, image) → quantity → numbers, of the same shape for all.
            title: Subject → what bars call it.

        Returns:
            Quantity → ``(subjects, images, ...)``.
        """
        subject_prints, image_prints = [identity(each) for each in subjects], [each.fingerprint() for each in samples]
        places = [(subject, image) for subject in range(len(subjects)) for image in range(len(samples))]

        def compute(place: tuple[int, int]) -> dict[str, Any]:
            found = measure(subjects[place[0]], samples[place[1]])
            return {quantity: np.asarray(values, dtype=np.float64).tolist() for quantity, values in found.items()}

        results = self.store.compute(
            name,
            places,
            lambda place: [subject_prints[place[0]], image_prints[place[1]], self.common.seed],
            compute,
            title=lambda place: f"{title(subjects[place[0]])}, {samples[place[1]].name}",
        )
        stacked = {quantity: np.array([each[quantity] for each in results]) for quantity in results[0]}
        return {name: each.reshape(len(subjects), len(samples), *each.shape[1:]) for name, each in stacked.items()}


def target_recipe(shipped: ModelPair, training: str, seed: int) -> Recipe:
    """Return the recipe of a further target."""
    if training != CARD:
        architecture = shipped.facts["architecture"]
        return load_recipe(training, architecture=architecture, scale=shipped.scale, seed=seed)
    settings: dict[str, Any] = dict(shipped.facts["target"]["card"]["recipe"])
    return validated(settings | {"seed": seed}, f"card of {shipped.name}")


def check_recipe(path: Path, recipe: Recipe, names: Sequence[str]) -> dict[str, Any]:
    """Return the card of a network, unless it was trained with other settings.

    Raises:
        FilterlensError: One of the named settings differs, or the file cannot be read.
    """
    card, wanted = load_network(path).card, recipe.model_dump(mode="json")
    found = card.get("recipe", {})
    for name in names:
        if found.get(name) != wanted[name]:
            raise FilterlensError(
                f"'{path}' was trained with {name} = {found.get(name)!r}, but {wanted[name]!r} is wanted. {REMEDY}"
            )
    return card
