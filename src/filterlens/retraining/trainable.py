# SPDX-License-Identifier: Apache-2.0
"""A network of which a few numbers are trained: those are parameters, all other weights are constants."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from filterlens.pair import ModelPair


class TrainableWeights(nn.Module, ABC):
    """The baseline of a pair, and trained numbers that change some of its weights.

    The parameters of this module are the trained numbers alone, so an optimiser, its state, a moving average and a
    checkpoint hold nothing of the frozen weights. Autograd computes no gradient of a layer in which nothing is trained.
    Buffers (running statistics) are the pair's and stay; the network runs in evaluation mode.

    Args:
        pair: Its baseline is copied; the pair is left as it is.
    """

    def __init__(self, pair: ModelPair) -> None:
        super().__init__()
        network = pair.network(pair.baseline).requires_grad_(False)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._frozen = (network,)  # inside a tuple it is no submodule
        self._dtype = pair.dtype

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """Return every parameter of the network that holds trained numbers, whole and differentiable, by name."""

    @property
    def trained_weights(self) -> int:
        """How many numbers are trained."""
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
class _Piece:
    """The trained weights of one parameter: where they lie in it, and the constants around them."""

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
            _Piece(name, values.shape, values.flatten().clone(), masks[name].flatten().nonzero().squeeze(1))
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
