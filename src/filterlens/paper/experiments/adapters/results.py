# SPDX-License-Identifier: Apache-2.0
"""What adapters brought to one pair: PSNR of every network, how much of the target's gain that is, and file sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from filterlens.evaluation.statistics import Array, Estimate, over_seeds, two_level_mean, two_level_ratio
from filterlens.paper.experiments.adapters.bench import Place

ADDED, REMOVED, RETRAINED = "added", "removed", "retrained"


@dataclass(frozen=True, eq=False)
class Adapted:
    """Everything measured of one pair.

    Attributes:
        name: Of the pair.
        kinds: Degradations that have adapters.
        percents: Shares of the filters, ascending.
        psnr: (``added``, ``removed`` or ``retrained``, degradation, percent, input) → ``(target models, images)``, dB.
        references: (``baseline`` or ``target``, input) → the same.
        filters: Degradation and percent → filters in the file.
        sizes: (``found`` or ``retrained``, degradation, percent) → bytes, the mean over target models.
        checkpoints: ``found`` and ``retrained`` → bytes of the weights that the adapter stands for.
        resamples: Of bootstraps.
    """

    name: str
    kinds: Sequence[str]
    percents: Sequence[float]
    psnr: Mapping[tuple[str, str, float, str], Array]
    references: Mapping[tuple[str, str], Array]
    filters: Mapping[Place, int]
    sizes: Mapping[tuple[str, str, float], float]
    checkpoints: Mapping[str, float]
    resamples: int = 2000

    def has(self, what: str, kind: str, percent: float) -> bool:
        """Whether that adapter was made."""
        return (what, kind, percent, kind) in self.psnr

    def quality(self, what: str, kind: str, percent: float, given: str | None = None) -> Estimate:
        """Return the PSNR with an adapter, by default on its own degradation; ± sd over target models."""
        return over_seeds(self.psnr[what, kind, percent, given or kind].mean(1))

    def gain(self, what: str, kind: str, percent: float) -> Estimate:
        """Return by how many dB a network is above the baseline on its degradation, image by image."""
        difference = self.psnr[what, kind, percent, kind] - self.references["baseline", kind]
        return two_level_mean(difference, resamples=self.resamples)

    def reference(self, network: str, given: str) -> Estimate:
        """Return the PSNR of the baseline or the target; ± sd over target models."""
        return over_seeds(self.references[network, given].mean(1))

    def way(self, what: str, kind: str, percent: float) -> Estimate | None:
        """Return how far a network stands between baseline (0) and target (1), in dB summed over all images.

        None where the target is no better than the baseline.
        """
        target, baseline = self.references["target", kind], self.references["baseline", kind]
        if (target.mean(1) <= baseline.mean(1)).any():
            return None
        return two_level_ratio(
            target - self.psnr[what, kind, percent, kind], target - baseline, resamples=self.resamples
        )

    def share(self, whose: str, kind: str, percent: float) -> float:
        """Return a file's size over that of the checkpoint that it stands for."""
        return self.sizes[whose, kind, percent] / self.checkpoints[whose]
