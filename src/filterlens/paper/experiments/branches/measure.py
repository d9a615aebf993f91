# SPDX-License-Identifier: Apache-2.0
"""One branch against two: both arms of every setting are trained, judged on its tests, and compared.

The networks themselves are chosen in ``common.peers``.
"""

from collections.abc import Callable, Mapping, Sequence
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
from filterlens.paper.images import evenly
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.peers.arms import Arm, Setting, arms_of, settings_of
from filterlens.paper.peers.networks import prepare, trained, trainings_of
from filterlens.paper.settings import Positive, Settings

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
    judging = evenly(laboratory.judging("*"), settings.judge_images)
    every = [sample for wanted in laboratory.common.train for sample in laboratory.samples(wanted)]
    fitting = evenly(every, settings.probe_images)
    psnr = _qualities(laboratory, tasks, models, judging)
    return Study(
        compared=[
            Compared(
                task,
                {who: arm for of_task, who, arm in places if of_task == task},
                laboratory.common.peers.scale,
                psnr[task.name],
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


@dataclass(frozen=True, eq=False)
class Candidate:
    """Something that enlarges images, to be judged in a setting.

    Attributes:
        name: Name in progress bars.
        identity: Hash of the network, and its precision.
        enlarge: LR ``(1, 3, H, W)`` → HR.
        setting: The setting on whose tests it is judged.
        who: ``two branches``, ``one branch`` or ``bicubic``.
    """

    name: str
    identity: str
    enlarge: Callable[[Tensor], Tensor]
    setting: Setting
    who: str


def _candidates(task: Setting, models: Mapping[tuple[str, str], Sequence[TargetModel]], scale: int) -> list[Candidate]:
    """Return the target networks of a setting, and cubic convolution with a = -0.5, as MATLAB enlarges."""

    def target_of(model: TargetModel) -> Callable[[Tensor], Tensor]:
        return lambda lowered: model.pair.run(model.pair.target, lowered, PRECISION)

    networks = [
        Candidate(model.pair.name, f"{model.identity}, {PRECISION}", target_of(model), task, who)
        for who in (TWO, ONE)
        for model in models[task.name, who]
    ]

    def bicubic(lowered: Tensor) -> Tensor:
        return F.interpolate(lowered, scale_factor=scale, mode="bicubic", antialias=True)

    return [*networks, Candidate(f"bicubic, {task.name}", f"bicubic x{scale}", bicubic, task, FLOOR)]


def _qualities(
    laboratory: Laboratory,
    tasks: Sequence[Setting],
    models: Mapping[tuple[str, str], Sequence[TargetModel]],
    samples: Sequence[Sample],
) -> dict[str, dict[tuple[str, str], Array]]:
    """Return setting → (arm or bicubic, channel) → PSNR ``(seeds, images, tests)``, without a border of ``scale``."""
    scale, seed = laboratory.common.peers.scale, laboratory.common.seed
    candidates = [each for task in tasks for each in _candidates(task, models, scale)]
    prints = [sample.fingerprint() for sample in samples]

    @torch.no_grad()
    def compute(candidate: Candidate) -> Any:
        tests = [Degradation.parse(test) for test in candidate.setting.tests]
        found = np.empty((len(CHANNELS), len(samples), len(tests)))
        for image, sample in enumerate(samples):
            truth = sample.truth(scale).to(laboratory.device)
            for number, test in enumerate(tests):
                restored = candidate.enlarge(test.apply(truth, scale, seed=seed))
                found[:, image, number] = [float(psnr(restored, truth, crop=scale, channel=each)) for each in CHANNELS]
        return found.tolist()

    values = laboratory.store.compute(
        "branches",
        candidates,
        lambda candidate: [candidate.identity, candidate.setting.tests, prints, scale, seed],
        compute,
        title=lambda candidate: candidate.name,
    )
    judged: dict[str, dict[tuple[str, str], list[Any]]] = {task.name: {} for task in tasks}
    for candidate, found in zip(candidates, values, strict=True):
        for channel, table in zip(CHANNELS, found, strict=True):
            judged[candidate.setting.name].setdefault((candidate.who, channel), []).append(table)
    return {name: {place: np.array(tables) for place, tables in each.items()} for name, each in judged.items()}
