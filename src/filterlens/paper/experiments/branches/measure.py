# SPDX-License-Identifier: Apache-2.0
"""Measure one branch against two: train both arms of every setting, judge them on its tests, and compare.

The networks themselves are chosen in ``common.peers``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.evaluation.statistics import Array, Estimate, over_seeds, two_level_mean
from filterlens.metrics import CHANNELS, psnr
from filterlens.paper.experiment import above
from filterlens.paper.experiments.branches.knowledge import Codes, Probed, kernel_codes, probed, questions_of
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.peers.arms import Arm, Setting, arms_of, settings_of
from filterlens.paper.peers.trainings import prepare, trained, trainings_of
from filterlens.settings import Positive, Settings

TWO, ONE, FLOOR = "two branches", "one branch", "bicubic"
PRECISION = "fp32"  # bfloat16 would round more where no skip carries the image


class BranchesSettings(Settings):
    """Settings of the comparison.

    Attributes:
        margin: Differences of less count as none, in dB.
        channel: ``y`` or ``rgb``: in which PSNR is compared; the other one is shown next to it.
        judge_images: Judge on at most so many images, spread evenly over the set.
        probe_images: Fit the probe of DASR's encoder on at most so many of the training images, spread evenly.
        probe_patch: Side of the squares that the encoder sees, in HR pixels.
        probe_squares: Squares out of every image.
    """

    margin: Annotated[float, Field(gt=0)] = 0.1
    channel: Literal["y", "rgb"] = "y"
    judge_images: Positive | None = None
    probe_images: Positive = 40
    probe_patch: Annotated[int, Field(ge=32)] = 96
    probe_squares: Positive = 4


@dataclass(frozen=True, eq=False)
class Compared:
    """Both arms in one setting.

    Attributes:
        setting: The degradations of the training, and the tests.
        arms: ``two branches`` and ``one branch`` → arm.
        scale: Scale of the networks.
        psnr: (arm or ``bicubic``, channel) → ``(seeds, images, tests)`` in dB; bicubic has one "seed".
        margin: Differences of less count as none, in dB.
        channel: Channel of the comparison.
        resamples: Draws of every bootstrap.
    """

    setting: Setting
    arms: Mapping[str, Arm]
    scale: int
    psnr: Mapping[tuple[str, str], Array]
    margin: float
    channel: str
    resamples: int = 2000

    @property
    def seeds(self) -> int:
        """How many trainings every arm has."""
        return int(self.psnr[TWO, self.channel].shape[0])

    @property
    def images(self) -> int:
        """On how many images they were judged."""
        return int(self.psnr[TWO, self.channel].shape[1])

    def quality(self, who: str, channel: str | None = None, test: str | None = None) -> Estimate:
        """Return the PSNR of an arm or of bicubic, mean ± sd over seeds; default: the mean over all tests."""
        return over_seeds(self._table(who, channel, test).mean(1))

    def difference(self, first: str, second: str, channel: str | None = None, test: str | None = None) -> Estimate:
        """Return PSNR of ``first`` minus ``second``, paired over images and seeds, which both are drawn anew."""
        difference = self._table(first, channel, test) - self._table(second, channel, test)
        return two_level_mean(difference, resamples=self.resamples)

    @property
    def gain(self) -> Estimate:
        """What one branch has over two, in dB."""
        return self.difference(ONE, TWO)

    @property
    def is_decidable(self) -> bool:
        """Whether there is a spread over trainings at all."""
        return self.seeds > 1

    @property
    def is_no_worse(self) -> bool | None:
        """Whether one branch is at most the margin below two, or more than that; else not decided."""
        return above(self.gain, -self.margin) if self.is_decidable else None

    @property
    def matches(self) -> bool | None:
        """Whether one branch matches two: the whole interval lies inside the margin, or outside; else not decided."""
        if not self.is_decidable:
            return None
        is_better = above(self.gain, self.margin)
        if self.is_no_worse is False or is_better:
            return False
        return True if self.is_no_worse and is_better is False else None

    def _table(self, who: str, channel: str | None, test: str | None) -> Array:
        """Return ``(seeds, images)``."""
        values = self.psnr[who, channel or self.channel]
        chosen = values.mean(2) if test is None else values[:, :, self.setting.tests.index(test)]
        return np.asarray(chosen, dtype=np.float64)


Curve = list[tuple[int, float]]  # step and loss


@dataclass(frozen=True, eq=False)
class Study:
    """Everything that the page shows.

    Attributes:
        compared: One per setting.
        codes: DAN's codes, one per setting of its own.
        probes: Probes of DASR, one per question in each setting of its own.
        losses: (setting, arm) → training curve of every seed's target.
    """

    compared: Sequence[Compared]
    codes: Sequence[Codes]
    probes: Sequence[Probed]
    losses: Mapping[tuple[str, str], Sequence[Curve]]


def measure(laboratory: Laboratory, settings: BranchesSettings) -> Study:
    """Train what is missing, and measure."""
    tasks = settings_of(laboratory.common.peers)
    places = [
        (task, TWO if arm.has_two_branches else ONE, arm)
        for task in tasks
        for arm in arms_of(laboratory.common.peers)
        if arm.peer == task.peer
    ]
    prepare(laboratory, [(arm, task) for task, _, arm in places])
    models = {(task.name, who): trained(laboratory, arm, task) for task, who, arm in places}
    judging = laboratory.judging("*", settings.judge_images)
    fitting = laboratory.training_samples(settings.probe_images)
    return Study(
        compared=[
            Compared(
                task,
                {who: arm for of_task, who, arm in places if of_task == task},
                laboratory.common.peers.scale,
                _qualities(laboratory, task, {who: models[task.name, who] for who in (TWO, ONE)}, judging),
                settings.margin,
                settings.channel,
                laboratory.common.resamples,
            )
            for task in tasks
        ],
        codes=[kernel_codes(laboratory, task, models[task.name, TWO], judging) for task in tasks if task.peer == "dan"],
        probes=[
            probed(laboratory, task, question, models[task.name, TWO], fitting, judging,
                   patch=settings.probe_patch, count=settings.probe_squares)
            for task in tasks if task.peer == "dasr" for question in questions_of(task)
        ],
        losses={
            (task.name, who): [training.losses() for training in trainings_of(laboratory, arm, task)]
            for task, who, arm in places
        },
    )  # fmt: skip


def _qualities(
    laboratory: Laboratory, task: Setting, models: Mapping[str, Sequence[TargetModel]], samples: Sequence[Sample]
) -> dict[tuple[str, str], Array]:
    """Return (arm or bicubic, channel) → PSNR ``(seeds, images, tests)``, without a border of ``scale``."""
    scale, seed = laboratory.common.peers.scale, laboratory.common.seed
    networks: list[tuple[str, TargetModel | None]] = [(who, model) for who in models for model in models[who]]
    networks.append((FLOOR, None))

    def identity(network: tuple[str, TargetModel | None]) -> Any:
        model = network[1]
        return ["bicubic" if model is None else f"{model.identity}, {PRECISION}", task.tests, scale]

    @torch.no_grad()
    def qualities(network: tuple[str, TargetModel | None], sample: Sample) -> dict[str, Any]:
        truth = sample.truth(scale).to(laboratory.device)
        lowered = (Degradation.parse(test).apply(truth, scale, seed=seed) for test in task.tests)
        restored = (_enlarged(network[1], each, scale) for each in lowered)
        rows = [[float(psnr(each, truth, crop=scale, channel=channel)) for channel in CHANNELS] for each in restored]
        return dict(zip(CHANNELS, zip(*rows, strict=True), strict=True))

    found = laboratory.measured(
        "branches",
        networks,
        samples,
        identity,
        qualities,
        title=lambda each: f"bicubic, {task.name}" if each[1] is None else each[1].pair.name,
    )
    return {
        (who, channel): found[channel][[each == who for each, _ in networks]]
        for who in (*models, FLOOR)
        for channel in CHANNELS
    }


def _enlarged(model: TargetModel | None, lowered: Tensor, scale: int) -> Tensor:
    """Return the output of a target network, or of cubic convolution with a = -0.5, as MATLAB enlarges."""
    if model is None:
        return F.interpolate(lowered, scale_factor=scale, mode="bicubic", antialias=True)
    return model.pair.run(model.pair.target, lowered, PRECISION)
