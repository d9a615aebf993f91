# SPDX-License-Identifier: Apache-2.0
"""One branch against two in one setting: qualities, their difference, and whether that decides anything."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from filterlens.evaluation.statistics import Estimate, over_seeds, two_level_mean
from filterlens.paper.experiments.branches.judging import Array
from filterlens.paper.peers.arms import Arm, Setting

TWO, ONE, FLOOR = "two branches", "one branch", "bicubic"


@dataclass(frozen=True, eq=False)
class Compared:
    """Both arms in one setting.

    Attributes:
        setting: What they were trained for, and the tests.
        arms: ``two branches`` and ``one branch`` → arm.
        scale: Of the networks.
        psnr: (arm or ``bicubic``, channel) → ``(seeds, images, tests)`` in dB; bicubic has one "seed".
        margin: Differences of less count as none, in dB.
        channel: Of the comparison.
        resamples: Of bootstraps.
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
    def matches(self) -> bool | None:
        """Whether one branch matches two: the whole interval lies inside the margin, or outside; else not decided."""
        gain = self.gain
        if not self.is_decidable or gain.low is None or gain.high is None:
            return None
        if -self.margin < gain.low and gain.high < self.margin:
            return True
        return False if gain.low > self.margin or gain.high < -self.margin else None

    @property
    def is_no_worse(self) -> bool | None:
        """Whether one branch is at most the margin below two, or more than that; else not decided."""
        gain = self.gain
        if not self.is_decidable or gain.low is None or gain.high is None:
            return None
        return True if gain.low > -self.margin else False if gain.high < -self.margin else None

    @property
    def is_decidable(self) -> bool:
        """Whether there is a spread over trainings at all."""
        return self.seeds > 1

    def _table(self, who: str, channel: str | None, test: str | None) -> Array:
        """Return ``(seeds, images)``."""
        values = self.psnr[who, channel or self.channel]
        chosen = values.mean(2) if test is None else values[:, :, self.setting.tests.index(test)]
        return np.asarray(chosen, dtype=np.float64)
