# SPDX-License-Identifier: Apache-2.0
"""Do DASR's features separate degradations? A linear probe on images that it was not fitted on, with two controls."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from filterlens.arguments import written
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.degradations.ranges import NoiseRange, parse_range
from filterlens.evaluation.statistics import Estimate, two_level_mean
from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network
from filterlens.models.dasr import DASR
from filterlens.models.initialisation import start_near_identity
from filterlens.paper.experiment import is_above
from filterlens.paper.experiments.branches.judging import Array
from filterlens.paper.experiments.branches.linear_probe import DECAY, fit
from filterlens.paper.images import squares
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.peers.arms import Setting

TRAINED, BASELINE, UNTRAINED = "trained", "baseline", "untrained"
BATCH = 16
UNTRAINED_SEED = 1000


@dataclass(frozen=True)
class Question:
    """What a probe is asked.

    Attributes:
        name: ``blur kernel`` or ``noise level``.
        classes: Written degradations, one of which is the answer; they differ in what is asked for alone.
    """

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Probed:
    """How well a linear probe answers a question from an encoder's features, in one setting.

    Attributes:
        setting: Of the trained encoders.
        question: What was asked.
        right: Encoder (``trained``, ``baseline``, ``untrained``) → share of right answers, ``(seeds, images)``.
        dimension: Numbers in a representation.
        resamples: Of bootstraps.
    """

    setting: Setting
    question: Question
    right: dict[str, Array]
    dimension: int
    resamples: int = 2000

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1 / len(self.question.classes)

    def accuracy(self, encoder: str) -> Estimate:
        """Return the share of right answers."""
        return two_level_mean(self.right[encoder], resamples=self.resamples)

    @property
    def knows(self) -> bool:
        """Whether the trained encoder answers better than by chance, and than the one of random weights."""
        return is_above(self.accuracy(TRAINED), self.chance) and is_above(self.gain(UNTRAINED))

    def gain(self, over: str) -> Estimate:
        """Return what the trained encoder has over another one, paired over images and seeds."""
        return two_level_mean(self.right[TRAINED] - self.right[over], resamples=self.resamples)


def questions_of(setting: Setting) -> list[Question]:
    """Return what is asked in a setting: which test kernel, and where it has noise, how much of it on one kernel."""
    questions = [Question("blur kernel", setting.tests)]
    noise = [found for text, _ in setting.degradations if isinstance(found := parse_range(text), NoiseRange)]
    if noise:
        kernel = str(Degradation(blur=Degradation.parse(setting.tests[len(setting.tests) // 2]).blur))
        levels = [written(round(noise[0].sigma[1] * third / 3, 4)) for third in (1, 2, 3)]
        questions.append(Question("noise level", (kernel, *(f"{kernel}+noise:{level}" for level in levels))))
    return questions


def probed(
    laboratory: Laboratory,
    setting: Setting,
    question: Question,
    models: Sequence[TargetModel],
    fit_on: Sequence[Sample],
    ask_on: Sequence[Sample],
    *,
    patch: int,
    count: int,
) -> Probed:
    """Fit a probe on squares of some images and ask it about squares of others, for every encoder.

    Args:
        laboratory: Keeps the pieces.
        setting: Of the encoders.
        question: What is asked.
        models: DASR's target models, one per seed.
        fit_on: Images on which the probe is fitted.
        ask_on: Images on which it is asked.
        patch: Side of the squares in HR pixels.
        count: Squares per image.
    """
    classes = question.classes
    encoders = [(kind, encoder) for model in models for kind, encoder in encoders_of(model).items()]
    prints = [[sample.fingerprint() for sample in each] for each in (fit_on, ask_on)]
    fixed = [classes, prints, patch, count, laboratory.common.seed, laboratory.common.peers.scale, DECAY]

    def compute(item: tuple[str, nn.Module]) -> list[float]:
        encoder = item[1].to(laboratory.device)
        known, wanted = (
            _features(laboratory, encoder, classes, images, patch, count) for images in (fit_on, ask_on)
        )  # each (images, classes, squares, dimension)
        labels = torch.arange(len(classes)).view(1, -1, 1).expand(known.shape[:3])
        weights = fit(known.flatten(0, 2), labels.flatten())
        answers = weights.answer(wanted.flatten(0, 2)).view(wanted.shape[:3])
        right = answers == torch.arange(len(classes)).view(1, -1, 1)
        return [float(each) for each in right.double().mean((1, 2))]

    results = laboratory.pieces.of(
        "branches-probe",
        encoders,
        lambda item: [*fixed, _hash(item[1])],
        compute,
        title=lambda item: f"{question.name} of {setting.name}, {item[0]} encoder",
    )
    right = {
        kind: np.array([result for (each, _), result in zip(encoders, results, strict=True) if each == kind])
        for kind in (TRAINED, BASELINE, UNTRAINED)
    }
    dimension = int(cast(DASR, models[0].pair.network(models[0].pair.target)).encoder.dimension)
    return Probed(setting, question, right, dimension, laboratory.common.resamples)


def encoders_of(model: TargetModel) -> dict[str, nn.Module]:
    """Return the trained encoder, that of the baseline with its own running statistics, and one as trainings begin."""
    facts = model.pair.facts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED + model.seed)
        untrained = build("dasr", **facts["options"])
    start_near_identity(untrained)
    return {
        TRAINED: cast(DASR, model.pair.network(model.pair.target)).encoder.eval(),
        BASELINE: cast(DASR, load_network(facts["baseline"]["path"]).network).encoder.eval(),
        UNTRAINED: cast(DASR, untrained).encoder.eval(),
    }


@torch.no_grad()
def _features(
    laboratory: Laboratory, encoder: nn.Module, classes: Sequence[str], images: Sequence[Sample], patch: int, count: int
) -> Tensor:
    """Return the representations ``(images, classes, squares, dimension)`` on the CPU."""
    scale, seed = laboratory.common.peers.scale, laboratory.common.seed
    rows = []
    for image in images:
        truth = torch.cat([square.truth(scale) for square in squares(image, patch, count)]).to(laboratory.device)
        lowered = torch.cat([Degradation.parse(text).apply(truth, scale, seed=seed) for text in classes])
        seen = torch.cat([encoder(each) for each in torch.split(lowered, BATCH)])
        rows.append(seen.view(len(classes), len(truth), -1).cpu())
    return torch.stack(rows)


def _hash(encoder: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
