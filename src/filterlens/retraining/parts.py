# SPDX-License-Identifier: Apache-2.0
"""What of a baseline is trained: chosen filters, all filters, the last layers, or low-rank adapters."""

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from filterlens.degradations.randomness import derive_seed
from filterlens.errors import FilterlensError, UsageError
from filterlens.filters import FilterSpace, Selection
from filterlens.pair import ModelPair
from filterlens.retraining.low_rank import LowRankWeights, ranks_for
from filterlens.retraining.trainable import ScatteredWeights, TrainableWeights


class TrainedPart(Protocol):
    """Says which numbers of a baseline are trained; everything else stays bit-identical, biases included."""

    def trainable(self, pair: ModelPair, seed: int) -> TrainableWeights:
        """Return the baseline with these numbers as the only parameters, at their start.

        Args:
            pair: Its baseline is trained, on its device.
            seed: Decides what starts at random.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Say in words and numbers what is trained, for cards and tables."""
        ...


@dataclass(frozen=True, eq=False)
class SelectedFilters:
    """The filters of a selection, in whatever layers they lie, the first one included.

    Attributes:
        selection: Which filters; a random control is the selection of a random ranking.
        biases: Train all biases (and other weights that are no filters) too; frozen by default, as in the paper.
    """

    selection: Selection
    biases: bool = False

    def trainable(self, pair: ModelPair, seed: int) -> TrainableWeights:
        """Return the trainable weights; see :class:`TrainedPart`.

        Raises:
            FilterlensError: The selection belongs to another network.
            UsageError: No filter is selected.
        """
        if self.selection.space != pair.space:
            raise FilterlensError(
                f"The selection is of another network: {self.selection.space}, but the pair has {pair.space}."
            )
        if not len(self.selection):
            raise UsageError("No filter is selected, so there is nothing to train. Select a larger share of them.")
        return ScatteredWeights(pair, pair.weight_mask(self.selection.mask, biases=self.biases))

    def describe(self) -> dict[str, Any]:
        """Describe the selection; see :class:`TrainedPart`."""
        places = self.selection.indices.sort().values.cpu().numpy()
        return {
            "part": "selected filters",
            "selection": self.selection.name,
            "filters": len(self.selection),
            "indices_sha256": hashlib.sha256(places.tobytes()).hexdigest(),
            "biases": self.biases,
        }


@dataclass(frozen=True)
class AllFilters:
    """Every filter: the upper bound of what re-training filters can reach.

    Attributes:
        biases: Train all biases (and other weights that are no filters) too; frozen by default, as for selections.
    """

    biases: bool = False

    def trainable(self, pair: ModelPair, seed: int) -> TrainableWeights:
        """Return the trainable weights; see :class:`TrainedPart`."""
        every = torch.ones(len(pair.space), dtype=torch.bool)
        return ScatteredWeights(pair, pair.weight_mask(every, biases=self.biases))

    def describe(self) -> dict[str, Any]:
        """Describe the part; see :class:`TrainedPart`."""
        return {"part": "all filters", "biases": self.biases}


@dataclass(frozen=True)
class LastLayers:
    """The last layers, from the back until ``count`` weights are reached; biases stay frozen.

    Filters are taken in the order of the flat index, from its end: whole layers (in the order of the state dict), of
    the layer that no longer fits the last output channels, and of the channel that no longer fits the last filters.

    Attributes:
        count: Weights to train; at most so many are, and less than one filter is missing.
    """

    count: int

    def trainable(self, pair: ModelPair, seed: int) -> TrainableWeights:
        """Return the trainable weights; see :class:`TrainedPart`. Less than the last filter's are a UsageError."""
        return SelectedFilters(self.selection(pair.space)).trainable(pair, seed)

    def selection(self, space: FilterSpace) -> Selection:
        """Return the filters that are trained, the last one first."""
        sizes = torch.tensor([torch.Size(layer.kernel).numel() for layer in space.layers])[space.layer_index]
        taken = int((sizes.flip(0).cumsum(0) <= self.count).sum())
        if not taken:
            raise UsageError(f"{self.count} trained weights are fewer than the last filter has ({int(sizes[-1])}).")
        return Selection(space, torch.arange(len(space) - 1, len(space) - 1 - taken, -1), "last layers")

    def describe(self) -> dict[str, Any]:
        """Describe the part; see :class:`TrainedPart`."""
        return {"part": "last layers", "count": self.count, "biases": False}


@dataclass(frozen=True)
class LowRank:
    """A low-rank adapter W + BA of the convolutions (LoRA); biases stay frozen.

    How ranks are shared among layers: :func:`filterlens.retraining.low_rank.ranks_for`.

    Attributes:
        count: Weights to train; at most so many are, as close to it as ranks allow.
    """

    count: int

    def trainable(self, pair: ModelPair, seed: int) -> TrainableWeights:
        """Return the trainable weights; see :class:`TrainedPart`. Too few weights for any layer are a UsageError."""
        return LowRankWeights(pair, ranks_for(pair.space.layers, self.count), derive_seed(seed, "low rank"))

    def describe(self) -> dict[str, Any]:
        """Describe the part; see :class:`TrainedPart`."""
        return {"part": "low rank", "count": self.count, "biases": False}
