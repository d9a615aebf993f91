# SPDX-License-Identifier: Apache-2.0
"""One re-training of one arm as a piece of work: it resumes, is judged, and leaves its numbers behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from filterlens.data.images import center_crop
from filterlens.data.samples import Sample
from filterlens.editing.retrain import retrain
from filterlens.editing.retrain_settings import RetrainSettings, settings_for
from filterlens.editing.trained_part import TrainedPart
from filterlens.errors import FilterlensError
from filterlens.paper.experiments.retraining.arms import Arm
from filterlens.paper.experiments.retraining.settings import RetrainingSettings
from filterlens.paper.images import evenly
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.pieces import digest
from filterlens.training.validation import psnr_per_degradation

POINTS = 20  # of a loss curve
WARM_UP = 20  # the first 1/20 of the steps
CHECKPOINT_EVERY = 100


@dataclass(frozen=True, eq=False)
class Training:
    """One arm, trained once.

    Attributes:
        model: Its baseline is trained; in its target the locations were found.
        seed: Of the training.
        arm: What is trained.
        trained_on: The degradation.
        part: The arm in this network.
        settings: Of the training; the learning rate is among them.
        judged: On the judging images; else on held-out training images alone, to choose a rate.
    """

    model: TargetModel
    seed: int
    arm: Arm
    trained_on: str
    part: TrainedPart
    settings: RetrainSettings
    judged: bool = True

    @property
    def title(self) -> str:
        """What a bar calls it."""
        return f"{self.arm.label} on {self.trained_on}, seed {self.seed}, rate {self.settings.learning_rate:g}"


class Workshop:
    """Trains and judges the arms of one pair; images are read when the first training needs them.

    Args:
        laboratory: Keeps the pieces.
        settings: Of the experiment.
        name: Of the pair.
    """

    def __init__(self, laboratory: Laboratory, settings: RetrainingSettings, name: str) -> None:
        self.laboratory, self.settings = laboratory, settings
        self.judging = evenly(laboratory.judging(name), settings.judge_images)
        every = [sample for wanted in laboratory.common.train for sample in laboratory.samples(wanted)]
        self.samples = evenly(every, settings.train_images)
        self._states = laboratory.folder / "retraining"

    def retrain_settings(self, trained_on: str, seed: int, rate: float, iterations: int) -> RetrainSettings:
        """Return the settings of one training."""
        return settings_for(
            trained_on,
            iterations=iterations,
            learning_rate=rate,
            warmup=iterations // WARM_UP,
            batch=self.settings.batch,
            patch=self.settings.patch,
            seed=seed,
            log_every=max(1, iterations // POINTS),
            checkpoint_every=CHECKPOINT_EVERY,
        )

    def train(self, trainings: Sequence[Training]) -> list[dict[str, Any]]:
        """Return per training: ``psnr`` (input → one per image), ``held_out`` in dB, ``losses``, ``weights``.

        One that diverged has ``diverged`` alone: what it says. Equal trainings are done once.
        """
        names = [digest(self._identity(training)) for training in trainings]
        distinct = dict(zip(names, trainings, strict=True))
        results = self.laboratory.pieces.of(
            "retraining",
            list(distinct.values()),
            self._identity,
            lambda training: self._trained(training, self._state(digest(self._identity(training)))),
            title=lambda training: training.title,
        )
        for name in distinct:
            self._state(name).unlink(missing_ok=True)  # only now: the results are on disk
        known = dict(zip(distinct, results, strict=True))
        return [known[name] for name in names]

    def references(self, models: Sequence[TargetModel]) -> list[dict[str, Any]]:
        """Return per model: ``baseline`` and ``target`` → input → PSNR of every image."""

        def identity(model: TargetModel) -> Any:
            return [model.identity, self._judged_on]

        def compute(model: TargetModel) -> Any:
            pair = model.pair
            return {name: self._psnr(model, vector) for name, vector in
                    (("baseline", pair.baseline), ("target", pair.target))}  # fmt: skip

        title = "retraining-references"
        return self.laboratory.pieces.of(title, models, identity, compute, title=lambda model: model.pair.name)

    def _state(self, name: str) -> Path:
        return self._states / f"{name}.state.pt"

    def _identity(self, training: Training) -> Any:
        return [
            training.model.identity,
            training.part.describe(),
            training.settings.model_dump(mode="json"),
            self._prints,
            [self.settings.held_out, self.settings.held_out_images],
            [self.laboratory.fast_precision, self.laboratory.judge_precision],
            self._judged_on if training.judged else None,
        ]

    @cached_property
    def _prints(self) -> list[str]:
        return [sample.fingerprint() for sample in self.samples]

    @cached_property
    def _judged_on(self) -> Any:
        laboratory = self.laboratory
        inputs = {name: str(degradation) for name, degradation in laboratory.inputs.items()}
        prints = [sample.fingerprint() for sample in self.judging]
        return [prints, inputs, laboratory.judge_precision, laboratory.common.seed]

    @cached_property
    def _images(self) -> tuple[list[Tensor], list[Tensor]]:
        """What is trained on, and the squares that are held out."""
        return split(self.samples, self.settings.held_out, self.settings.held_out_images)

    def _trained(self, training: Training, state: Path) -> dict[str, Any]:
        try:
            result = retrain(
                training.model.pair,
                training.part,
                training.settings,
                self._images[0],
                state=state,
                precision=self.laboratory.fast_precision,
                progress=self.laboratory.progress,
            )
        except FilterlensError as error:
            if not str(error).startswith("Re-training diverged"):
                raise
            return {"diverged": str(error)}  # in a search, that a rate is too high is an answer
        return {
            "psnr": self._psnr(training.model, result.parameters) if training.judged else {},
            "held_out": self._held_out_psnr(training, result.parameters),
            "losses": result.losses,
            "weights": result.trained_weights,
        }

    def _psnr(self, model: TargetModel, parameters: Tensor) -> dict[str, list[float]]:
        laboratory, network = self.laboratory, model.pair.network(parameters)
        rows = [
            psnr_per_degradation(
                network,
                [sample.read()],
                laboratory.inputs,
                scale=model.pair.scale,
                seed=laboratory.common.seed,
                precision=laboratory.judge_precision,
            )
            for sample in self.judging
        ]
        return {name: [row[name] for row in rows] for name in laboratory.inputs}

    def _held_out_psnr(self, training: Training, parameters: Tensor) -> float:
        own = {training.trained_on: self.laboratory.inputs[training.trained_on]}
        return psnr_per_degradation(
            training.model.pair.network(parameters),
            self._images[1],
            own,
            scale=training.model.pair.scale,
            seed=self.laboratory.common.seed,
            precision=self.laboratory.judge_precision,
        )[training.trained_on]


def split(samples: Sequence[Sample], side: int, count: int) -> tuple[list[Tensor], list[Tensor]]:
    """Cut squares off the right edge of ``count`` images, spread evenly; what is left of those images is trained on.

    The strip that holds the square is ``side`` wide, but at most a quarter of the image; nothing of it is trained on.

    Returns:
        Images to train on (as many as there are samples), and squares.
    """
    chosen = {id(sample) for sample in evenly(list(samples), count)}
    training, held_out = [], []
    for sample in samples:
        image = sample.read()
        strip = min(side, image.shape[-1] // 4) if id(sample) in chosen else 0
        left = image.shape[-1] - strip
        training.append(image[..., :left].contiguous())
        if strip:
            held_out.append(center_crop(image[..., left:], strip))
    return training, held_out
