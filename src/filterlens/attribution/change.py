# SPDX-License-Identifier: Apache-2.0
"""How much each filter changed in fine-tuning; one ranking for all degradations, no image needed."""

import torch
from torch import Tensor

from filterlens.attribution.method import IN_ORDER, Method
from filterlens.attribution.result import Attribution, as_scores
from filterlens.attribution.units import Runner
from filterlens.data.samples import Images
from filterlens.degradations import parse_degradations
from filterlens.degradations.pipeline import Degradations
from filterlens.progress import SILENT, Progress


class AbsoluteChange(Method):
    """Σ|θ − θ̄| over the filter's slice."""

    name = "change-absolute"
    summary = "how much a filter changed in fine-tuning, Σ|θ − θ̄|"

    def attribute(
        self,
        images: Images,
        degradations: Degradations,
        *,
        progress: Progress = SILENT,
        runner: Runner = IN_ORDER,
    ) -> Attribution:
        """Score every filter; ``images`` are not looked at, and all degradations get the same scores."""
        scores = as_scores(self.pair.pool(self.pair.change.abs()), self.pair.dtype)
        return _same_for_all(self, scores, degradations)


class RelativeChange(Method):
    """Σ|θ − θ̄| / Σ|θ̄| over the filter's slice: what the reference implementation calls absolute filter change."""

    name = "change-relative"
    summary = "the same relative to the baseline, Σ|θ − θ̄| / Σ|θ̄| (the reference's 'absolute filter change')"

    def attribute(
        self,
        images: Images,
        degradations: Degradations,
        *,
        progress: Progress = SILENT,
        runner: Runner = IN_ORDER,
    ) -> Attribution:
        """Score every filter; ``images`` are not looked at, and all degradations get the same scores.

        A filter that is all zeros in the baseline scores the largest finite number if it changed, else 0.
        """
        changed, before = (self.pair.pool(vector.abs()) for vector in (self.pair.change, self.pair.baseline))
        ratio = torch.where(changed > 0, changed / before, 0.0).nan_to_num(posinf=torch.finfo(changed.dtype).max)
        return _same_for_all(self, as_scores(ratio, self.pair.dtype), degradations)


def _same_for_all(method: Method, scores: Tensor, degradations: Degradations) -> Attribution:
    names = parse_degradations(degradations)
    return Attribution(method.name, method.pair.space, {name: scores.clone() for name in names}, method.settings())
