# SPDX-License-Identifier: Apache-2.0
"""Rankings that use no image: by the change of filters in fine-tuning, and random ones as controls."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from filterlens.arguments import is_whole
from filterlens.attribution.method import Method
from filterlens.attribution.result import Attribution, as_scores
from filterlens.attribution.settings import AttributeSettings
from filterlens.data.samples import Images
from filterlens.degradations.given import AnyDegradations
from filterlens.degradations.inputs import GivenPairs, Inputs, names_of
from filterlens.degradations.randomness import derive_seed
from filterlens.errors import UsageError, unknown
from filterlens.filters import ranking
from filterlens.pair import ModelPair
from filterlens.showing.bars import AnyProgress
from filterlens.work.store import NOTHING_KEPT, Store

MAGNITUDE_BINS = 400


class ImageFree(Method):
    """A method that uses no image."""

    def attribute(
        self,
        images: Images | Inputs | None = None,
        degradations: AnyDegradations = None,
        *,
        pairs: GivenPairs | None = None,
        progress: AnyProgress = False,
        store: Store = NOTHING_KEPT,
    ) -> Attribution:
        """Score every filter for each degradation; ``images`` are not used."""
        return self.of_names(names_of(images, degradations, pairs))

    def of_names(self, names: Iterable[str]) -> Attribution:
        """Score every filter for each of the named degradations."""
        return Attribution(self.name, self.pair.space, {name: self.scores_for(name) for name in names}, self.record())

    @abstractmethod
    def scores_for(self, degradation: str) -> Tensor:
        """Return the scores ``(filters,)`` for one degradation."""


class AbsoluteChange(ImageFree):
    """Σ|θ − θ̄| over the filter's slice; all degradations get the same scores."""

    name = "change-absolute"
    summary = "how much a filter changed in fine-tuning, Σ|θ − θ̄|"

    def scores_for(self, degradation: str) -> Tensor:
        """Return the change of every filter."""
        return as_scores(self.pair.pool(self.pair.change.abs()), self.pair.dtype)


class RelativeChange(ImageFree):
    """Σ|θ − θ̄| / Σ|θ̄| over the filter's slice, called absolute filter change in the reference implementation.

    All degradations get the same scores. A filter that is all zeros in the baseline scores the largest finite number if
    it changed, else 0.
    """

    name = "change-relative"
    summary = "the same relative to the baseline, Σ|θ − θ̄| / Σ|θ̄| (the reference's 'absolute filter change')"

    def scores_for(self, degradation: str) -> Tensor:
        """Return the relative change of every filter."""
        changed, before = (self.pair.pool(vector.abs()) for vector in (self.pair.change, self.pair.baseline))
        ratio = torch.where(changed > 0, changed / before, 0.0).nan_to_num(posinf=torch.finfo(changed.dtype).max)
        return as_scores(ratio, self.pair.dtype)


class Random(ImageFree):
    """Independent uniform scores for each degradation, decided by the seed."""

    name = "random"
    summary = "random filters"

    def scores_for(self, degradation: str) -> Tensor:
        """Return independent uniform scores."""
        generator = torch.Generator().manual_seed(derive_seed(self.settings.seed, self.name, degradation))
        return torch.rand(len(self.pair.space), generator=generator, dtype=torch.float32)


class MatchedRandom(ImageFree):
    """Random filters that are like those of another ranking in one respect; the rest of that ranking is shuffled.

    Args:
        pair: Baseline and target.
        settings: All settings in one value; None takes ``given``.
        like: Attribution to match; its degradations are the ones available.
        **given: Settings as keywords; ``seed`` decides the shuffle.
    """

    def __init__(
        self, pair: ModelPair, settings: AttributeSettings | None = None, *, like: Attribution, **given: Any
    ) -> None:
        super().__init__(pair, settings, **given)
        self.like = like

    def record(self, **more: Any) -> dict[str, Any]:
        """Return what decided the scores, for the record."""
        return super().record(like=self.like.method, **more)

    def scores_for(self, degradation: str) -> Tensor:
        """Return the other ranking's scores, shuffled within each group of filters that are alike."""
        if degradation not in self.like.scores:
            raise unknown("degradation of the matched attribution", degradation, self.like.scores)
        original = self.like.scores[degradation]
        generator = torch.Generator().manual_seed(derive_seed(self.settings.seed, self.name, degradation))
        shuffled = torch.empty_like(original)
        for members in self.groups():
            shuffled[members] = original[members[torch.randperm(len(members), generator=generator)]]
        return shuffled

    @abstractmethod
    def groups(self) -> list[Tensor]:
        """Return the flat indices of the filters of each group."""


class LayerMatchedRandom(MatchedRandom):
    """Random filters with exactly as many in every layer as another ranking has, at every percentage.

    The scores of the other ranking are shuffled within each layer: only the *places* of its filters remain.

    Args:
        pair: Baseline and target.
        settings: All settings in one value; None takes ``given``.
        like: Attribution to match; its degradations are the ones available.
        **given: Settings as keywords; ``seed`` decides the shuffle.
    """

    name = "random-layer-matched"
    summary = "random filters, in each layer as many as the first method selects there"

    def groups(self) -> list[Tensor]:
        """Return the flat indices of the filters of each layer."""
        return [torch.arange(layer.offset, layer.offset + layer.count) for layer in self.pair.space.layers]


class MagnitudeMatchedRandom(MatchedRandom):
    """Random filters that changed in fine-tuning as much as those of another ranking, at every percentage.

    All filters are sorted by their absolute change Σ|θ − θ̄| and cut into bins of equal size; the scores of the other
    ranking are shuffled within each bin: only the *amount* of its filters' change remains.

    Args:
        pair: Baseline and target.
        settings: All settings in one value; None takes ``given``.
        like: The attribution to match; its degradations are the ones available.
        bins: Number of bins; fewer where a bin would hold less than 10 filters and hardly anything would be shuffled.
        **given: Settings as keywords; ``seed`` decides the shuffle.

    Raises:
        UsageError: The number of bins is below 1.
    """

    name = "random-magnitude-matched"
    summary = "random filters that changed in fine-tuning as much as those that the first method selects"

    def __init__(
        self,
        pair: ModelPair,
        settings: AttributeSettings | None = None,
        *,
        like: Attribution,
        bins: int = MAGNITUDE_BINS,
        **given: Any,
    ) -> None:
        super().__init__(pair, settings, like=like, **given)
        if not is_whole(bins) or bins < 1:
            raise UsageError(f"{bins} bins of magnitude are not legal: 1 at least.")
        self.bins = min(bins, max(1, len(pair.space) // 10))

    def record(self, **more: Any) -> dict[str, Any]:
        """Return what decided the scores, for the record."""
        return super().record(bins=self.bins, **more)

    def groups(self) -> list[Tensor]:
        """Return the flat indices of every bin, the most changed filters first."""
        change = self.pair.pool(self.pair.change.abs()).cpu()
        return list(ranking(change).tensor_split(self.bins))
