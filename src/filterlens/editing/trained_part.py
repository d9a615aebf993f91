# SPDX-License-Identifier: Apache-2.0
"""The part of a baseline that is trained: chosen filters, all filters or the last layers; the rest is constant."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from filterlens.errors import FilterlensError, UsageError
from filterlens.filters import FilterSpace, Selection
from filterlens.pair import ModelPair


class TrainableWeights(nn.Module, ABC):
    """The baseline of a pair, and trained numbers that change some of its weights.

    The parameters of this module are the trained numbers alone, so an optimiser, its state, a moving average and a
    checkpoint hold nothing of the frozen weights. Autograd computes no gradient of a layer in which nothing is trained.
    Buffers (running statistics) are the pair's and stay; the network runs in evaluation mode.

    Args:
        pair: Pair whose baseline is copied; the pair does not change.
    """

    def __init__(self, pair: ModelPair) -> None:
        super().__init__()
        network = pair.on_images(pair.baseline).requires_grad_(False)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._frozen = (network,)  # inside a tuple it is no submodule
        self._dtype = pair.dtype

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """Return every parameter of the network that holds trained numbers, whole and differentiable, by name."""

    @property
    def trained_weights(self) -> int:
        """The number of trained numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, images: Tensor) -> Tensor:
        """Map LR ``(B, 3, H, W)`` to HR, not clipped."""
        images = images.to(self._dtype).contiguous(memory_format=torch.channels_last)
        output: Tensor = functional_call(self._frozen[0], self.weights(), (images,))
        return output

    @torch.no_grad()
    def merged(self, pair: ModelPair) -> Tensor:
        """Return the network's flat parameters ``(parameters,)``, for :meth:`ModelPair.network` of the same pair."""
        return pair.flatten(pair.unflatten(pair.baseline) | self.weights())


@dataclass(frozen=True, eq=False)
class _Scattered:
    """The trained weights of one parameter: their positions in it, and the constants around them."""

    name: str
    shape: torch.Size
    frozen: Tensor  # (weights,)
    places: Tensor  # (trained,) int64

    def filled_with(self, values: Tensor) -> Tensor:
        """Return the parameter with ``values`` ``(trained,)`` at their places; the gradient is one gather."""
        return in_channels_last(self.frozen.scatter(0, self.places, values).view(self.shape))


class ScatteredWeights(TrainableWeights):
    """Trains chosen weights of the baseline, kept as one compact vector.

    Args:
        pair: The pair.
        mask: ``(parameters,)`` bool: which weights are trained; the others stay bit-identical.

    Attributes:
        values: The trained weights ``(trained,)``, in the order of the flat parameters.
    """

    def __init__(self, pair: ModelPair, mask: Tensor) -> None:
        super().__init__(pair)
        masks, frozen = pair.unflatten(mask), pair.unflatten(pair.baseline)
        self._pieces = tuple(
            _Scattered(name, values.shape, values.flatten().clone(), masks[name].flatten().nonzero().squeeze(1))
            for name, values in frozen.items()
            if masks[name].any()
        )
        self.values = nn.Parameter(pair.baseline[mask].clone())

    def weights(self) -> dict[str, Tensor]:
        """Return the parameters that hold trained weights; see :class:`TrainableWeights`."""
        parts = torch.split(self.values, [len(piece.places) for piece in self._pieces])
        return {piece.name: piece.filled_with(part) for piece, part in zip(self._pieces, parts, strict=True)}


def in_channels_last(weight: Tensor) -> Tensor:
    """Lay a weight out as convolutions of channels-last images want it; others than 2-d ones stay as they are."""
    return weight.contiguous(memory_format=torch.channels_last) if weight.ndim == 4 else weight


class TrainedPart(Protocol):
    """Says which numbers of a baseline are trained; everything else stays bit-identical, biases included."""

    def trainable(self, pair: ModelPair, seed: int) -> TrainableWeights:
        """Return the baseline with these numbers as the only parameters, at their start.

        Args:
            pair: Pair whose baseline is trained, on its device.
            seed: Seed of everything that starts at random.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Say in words and numbers what is trained, for cards and tables."""
        ...


@dataclass(frozen=True, eq=False)
class SelectedFilters:
    """The filters of a selection, in all layers, including the first.

    Attributes:
        selection: Filters to train; a random control is the selection of a random ranking.
        biases: Train all biases (and other weights outside filters) too; frozen by default, as in the paper.
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
        biases: Train all biases (and other weights outside filters) too; frozen by default, as for selections.
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


def weights_in(selection: Selection) -> int:
    """Return how many weights the filters of a selection have."""
    sizes = torch.tensor([torch.Size(layer.kernel).numel() for layer in selection.space.layers])
    return int(sizes[selection.space.layer_index[selection.indices]].sum())
