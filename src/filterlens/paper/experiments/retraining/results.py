# SPDX-License-Identifier: Apache-2.0
"""What re-training brought: PSNR of every arm, the way to the upper bound, and what is decided between two arms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from filterlens.evaluation.statistics import Comparison, Estimate, compare_paired, over_seeds, two_level_ratio
from filterlens.paper.experiments.retraining.arms import BOUND, Arm

SIGNIFICANT = 0.05
Array = npt.NDArray[np.float64]
Curve = Sequence[Sequence[float]]  # (step, L1)
Searched = dict[tuple[Arm, str], dict[float, float | None]]


@dataclass(frozen=True, eq=False)
class Retrainings:
    """What re-training one pair brought; "kind" is the degradation that was trained on.

    Attributes:
        name: Of the pair.
        arms: In the order of the tables.
        kinds: Degradations that were trained on.
        inputs: On which everything was judged.
        psnr: (arm, kind, input) → ``(seeds, images)`` in dB.
        references: (``baseline`` or ``target``, input) → the same shape.
        weights: (arm, kind) → trained weights of every seed.
        rates: (arm, kind) → learning rate.
        searched: (arm, kind) → rate → PSNR on held-out training images; None where the training diverged.
        losses: (arm, kind) → loss curve of every seed.
        resamples: Of bootstraps.
    """

    name: str
    arms: Sequence[Arm]
    kinds: Sequence[str]
    inputs: Sequence[str]
    psnr: Mapping[tuple[Arm, str, str], Array]
    references: Mapping[tuple[str, str], Array]
    weights: Mapping[tuple[Arm, str], Sequence[int]]
    rates: Mapping[tuple[Arm, str], float]
    searched: Searched
    losses: Mapping[tuple[Arm, str], Sequence[Curve]]
    resamples: int = 2000

    @property
    def seeds(self) -> int:
        """How many trainings every arm has."""
        return len(next(iter(self.psnr.values())))

    @property
    def images(self) -> int:
        """On how many images they were judged."""
        return int(next(iter(self.psnr.values())).shape[1])

    def quality(self, arm: Arm, kind: str, given: str | None = None) -> Estimate:
        """Return the PSNR on an input (default: the one trained on), mean ± sd over seeds."""
        return over_seeds(self.psnr[arm, kind, given or kind].mean(1))

    def reference(self, network: str, given: str) -> Estimate:
        """Return the PSNR of the baseline or the target."""
        return over_seeds(self.references[network, given].mean(1))

    def way(self, arm: Arm, kind: str) -> Estimate | None:
        """Return how far the arm gets from the baseline (0) to all filters (1), in dB gained over all images.

        None where re-training all filters gains nothing.
        """
        bound, start = self.psnr[BOUND, kind, kind], self.references["baseline", kind]
        if (bound.mean(1) <= start.mean(1)).any():
            return None
        return two_level_ratio(bound - self.psnr[arm, kind, kind], bound - start, resamples=self.resamples)

    def compare(self, first: Arm, second: Arm, kind: str) -> Comparison:
        """Compare two arms on the degradation trained on: paired over images, averaged over seeds."""
        a, b = (self.psnr[arm, kind, kind].mean(0) for arm in (first, second))
        return compare_paired(a, b, resamples=self.resamples)

    def better(self, first: Arm, second: Arm, kind: str) -> bool | None:
        """Say whether the first arm is better; None where it is not decided.

        Decided is what the interval of the difference over images says without covering 0, with p below 0.05 (on a
        few images intervals are too narrow), and what all seeds say alike.
        """
        compared = self.compare(first, second, kind)
        interval = compared.difference
        if interval.low is None or interval.high is None or interval.low <= 0 <= interval.high:
            return None
        if compared.p >= SIGNIFICANT:
            return None
        per_seed = (self.psnr[first, kind, kind] - self.psnr[second, kind, kind]).mean(1)
        return None if len(set(np.sign(per_seed))) > 1 else bool(interval.mean > 0)

    def at_the_edge(self) -> list[tuple[Arm, str]]:
        """Return the trainings whose best rate is the lowest or highest tried: better ones may lie beyond."""
        return [place for place, tried in self.searched.items() if self.rates[place] in (min(tried), max(tried))]
