# SPDX-License-Identifier: Apache-2.0
"""Random filters: the control that every ranking must beat."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from filterlens.attribution.method import IN_ORDER, Method
from filterlens.attribution.result import Attribution
from filterlens.attribution.units import Runner
from filterlens.data.samples import Images
from filterlens.degradations import Degradation, parse_degradations
from filterlens.degradations.randomness import derive_seed
from filterlens.errors import unknown
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress


class Random(Method):
    """Independent uniform scores for each degradation, decided by the seed."""

    name = "random"
    summary = "random filters"

    def attribute(
        self,
        images: Images,
        degradations: Sequence[str | Degradation],
        *,
        progress: Progress = SILENT,
        runner: Runner = IN_ORDER,
    ) -> Attribution:
        """Score every filter at random; ``images`` are not looked at."""
        scores = {name: self._draw(name) for name in parse_degradations(degradations)}
        return Attribution(self.name, self.pair.space, scores, self.settings())

    def _draw(self, degradation: str) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.name, degradation))
        return torch.rand(len(self.pair.space), generator=generator, dtype=torch.float32)


class LayerMatchedRandom(Method):
    """Random filters with exactly as many in every layer as another ranking has, at every percentage.

    The scores of the other ranking are shuffled within each layer: what remains of it is only *where* it looks.

    Args:
        pair: The pair.
        like: The attribution to match; its degradations are the ones available.
        **conditions: ``seed`` decides the shuffle.
    """

    name = "random-layer-matched"
    summary = "random filters, in each layer as many as the first method selects there"

    def __init__(self, pair: ModelPair, *, like: Attribution, **conditions: Any) -> None:
        super().__init__(pair, **conditions)
        self.like = like

    def attribute(
        self,
        images: Images,
        degradations: Sequence[str | Degradation],
        *,
        progress: Progress = SILENT,
        runner: Runner = IN_ORDER,
    ) -> Attribution:
        """Score every filter; ``images`` are not looked at."""
        scores = {name: self._shuffle(name) for name in parse_degradations(degradations)}
        return Attribution(self.name, self.pair.space, scores, self.settings(like=self.like.method))

    def _shuffle(self, degradation: str) -> Tensor:
        if degradation not in self.like.scores:
            raise unknown("degradation of the matched attribution", degradation, self.like.scores)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.name, degradation))
        original = self.like.scores[degradation]
        pieces = [
            original[layer.offset : layer.offset + layer.count][torch.randperm(layer.count, generator=generator)]
            for layer in self.pair.space.layers
        ]
        return torch.cat(pieces)
