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
from filterlens.evaluation.statistics import Array
from filterlens.execution.hardware import resolve_precision
from filterlens.pair import ModelPair
from filterlens.paper.images import Library
from filterlens.paper.settings import Common, ImageChoice
from filterlens.paper.targets import target_files
from filterlens.progress import SILENT, Progress
from filterlens.work.processes import Alone, Processes
from filterlens.work.store import Store

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
        """What bars call it."""
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
        shipped = ModelPair.pretrained(name)
        if self.common.training == "card":
            seeds = range(1, self.common.targets)
            found = [self._model(name, 0, shipped)]
        else:  # baseline and all targets are trained by the named recipe
            seeds, found = range(self.common.targets), []
        for seed in seeds:
            baseline, target = target_files(
                shipped,
                seed,
                self.targets_folder / name,
                training=self.common.training,
                images=self.training_images,
                device=self.device,
                progress=self.progress,
            )
            pair = ModelPair.load(baseline, target)
            pair.name = f"{name}, seed {seed}"
            found.append(self._model(name, seed, pair))
        return found

    def _model(self, name: str, seed: int, pair: ModelPair) -> TargetModel:
        return TargetModel(name, seed, pair.to(self.device), pair.identity)

    def samples(self, wanted: ImageChoice) -> list[Sample]:
        """Return the images of a set; see :meth:`filterlens.paper.images.Library.samples`."""
        return self.library.samples(wanted)

    @cached_property
    def finding(self) -> list[Sample]:
        """The images on which filters are found."""
        return self.samples(self.common.find)

    def judging(self, name: str) -> list[Sample]:
        """Return the images on which a pair is judged."""
        return self.samples(self.common.judged_on(name))

    def training_images(self) -> list[Tensor]:
        """Return all training images, HR ``(3, H, W)`` uint8."""
        return [sample.read() for wanted in self.common.train for sample in self.samples(wanted)]

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
