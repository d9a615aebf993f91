# SPDX-License-Identifier: Apache-2.0
"""The method ``change-l2``: how far a filter moved in fine-tuning."""

from torch import Tensor

from filterlens import ImageFree


class ChangeL2(ImageFree):
    """√Σ(θ − θ̄)² over the filter's slice; all degradations get the same scores."""

    name = "change-l2"
    summary = "how far a filter moved in fine-tuning, √Σ(θ − θ̄)²"

    def scores_for(self, degradation: str) -> Tensor:
        """Return the distance of every filter, ``(filters,)``."""
        return self.pair.pool(self.pair.change.square()).sqrt()
