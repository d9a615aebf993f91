# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters of convolutions (LoRA, Hu et al. 2021): W + BA, with a given number of trained weights."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from filterlens.degradations.randomness import derive_seed
from filterlens.editing.trained_part import TrainableWeights, in_channels_last
from filterlens.errors import UsageError
from filterlens.filters import FilterLayer
from filterlens.pair import ModelPair


@dataclass(frozen=True)
class Factors:
    """The shapes of one layer's factors.

    Attributes:
        parameter: Name of the weight, seen as a matrix of output channels × (input channels · kernel).
        rows: Output channels.
        columns: Input channels per group times weights per filter.
        rank: Rank of BA; 0 leaves the layer as it is.
    """

    parameter: str
    rows: int
    columns: int
    rank: int = 0

    @classmethod
    def of(cls, layer: FilterLayer, rank: int = 0) -> "Factors":
        """Describe the factors of a layer."""
        return cls(layer.parameter, layer.out_channels, layer.in_channels * torch.Size(layer.kernel).numel(), rank)

    @property
    def cost(self) -> int:
        """Trained weights per unit of rank."""
        return self.rows + self.columns

    @property
    def largest_rank(self) -> int:
        """The rank beyond which nothing is gained."""
        return min(self.rows, self.columns)


def ranks_for(layers: Sequence[FilterLayer], count: int) -> list[Factors]:
    """Share ``count`` trained weights among layers: at most so many, and as close to it as ranks allow.

    Every layer gets the same rank (less where a layer has no more), as high as ``count`` allows. What is left buys one
    more rank for those layers whose costs add up closest to it; among layers of one cost, evenly over the depth.

    Raises:
        UsageError: Not even one layer of rank 1 fits.
    """
    all_factors = [Factors.of(layer) for layer in layers]
    cheapest = min(factors.cost for factors in all_factors)
    if count < cheapest:
        raise UsageError(
            f"{count} trained weights are too few for a low-rank adapter: rank 1 of the cheapest layer has {cheapest}."
        )
    rank = 0
    while _total(all_factors, rank + 1) <= count and rank < max(factors.largest_rank for factors in all_factors):
        rank += 1
    open_to_more = [index for index, factors in enumerate(all_factors) if factors.largest_rank > rank]
    chosen = _fill([all_factors[index].cost for index in open_to_more], count - _total(all_factors, rank))
    raised = {open_to_more[place] for place in chosen}
    return [
        Factors(f.parameter, f.rows, f.columns, min(rank, f.largest_rank) + (index in raised))
        for index, f in enumerate(all_factors)
    ]


def _total(all_factors: Sequence[Factors], rank: int) -> int:
    return sum(min(rank, factors.largest_rank) * factors.cost for factors in all_factors)


def _fill(costs: Sequence[int], room: int) -> list[int]:
    """Return which costs add up closest to ``room`` from below; of equal sums, the one with most members."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, cost in enumerate(costs):
        places[cost].append(place)
    reached: dict[int, tuple[int, ...]] = {0: ()}  # sum → how many of each cost so far
    for cost, alike in places.items():
        longer: dict[int, tuple[int, ...]] = {}
        for total, taken in reached.items():
            for number in range(min(len(alike), (room - total) // cost) + 1):
                candidate, known = (*taken, number), longer.get(total + number * cost)
                if known is None or sum(candidate) > sum(known):
                    longer[total + number * cost] = candidate
        reached = longer
    numbers = reached[max(reached)]
    return [
        alike[(2 * step + 1) * len(alike) // (2 * number)]
        for alike, number in zip(places.values(), numbers, strict=True)
        for step in range(number)
    ]


class LowRankWeights(TrainableWeights):
    """Trains W + BA for convolutions of the baseline, without a scaling factor before BA.

    A (rank × columns) starts uniform in ±1/√columns, as LoRA's reference does, and B (rows × rank) at zero, so that
    the network starts as the baseline. Biases stay frozen.

    Args:
        pair: The pair.
        factors: One entry per layer; rank 0 leaves the layer out.
        seed: Seed of A.
    """

    def __init__(self, pair: ModelPair, factors: Sequence[Factors], seed: int) -> None:
        super().__init__(pair)
        self._factors = tuple(each for each in factors if each.rank)
        generator = torch.Generator().manual_seed(seed)
        start = [torch.rand(each.rank, each.columns, generator=generator, dtype=pair.dtype) for each in self._factors]
        self.a = nn.ParameterList(
            (2 * draw - 1) / each.columns**0.5 for draw, each in zip(start, self._factors, strict=True)
        )
        self.b = nn.ParameterList(torch.zeros(each.rows, each.rank, dtype=pair.dtype) for each in self._factors)
        self.to(pair.device)
        names = {each.parameter for each in self._factors}
        baseline = pair.unflatten(pair.baseline)
        self._baseline = {name: in_channels_last(baseline[name].clone()) for name in names}

    def weights(self) -> dict[str, Tensor]:
        """Return the adapted weights; see :class:`TrainableWeights`."""
        return {
            factors.parameter: self._adapted(factors.parameter, b, a)
            for factors, b, a in zip(self._factors, self.b, self.a, strict=True)
        }

    def _adapted(self, name: str, b: Tensor, a: Tensor) -> Tensor:
        frozen = self._baseline[name]
        with torch.autocast(b.device.type, enabled=False):  # the sum keeps the weights' precision, as every weight does
            return frozen + in_channels_last((b @ a).view(frozen.shape))


@dataclass(frozen=True)
class LowRank:
    """A low-rank adapter W + BA of the convolutions (LoRA); biases stay frozen.

    How ranks are shared among layers: :func:`ranks_for`.

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
