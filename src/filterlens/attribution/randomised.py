# SPDX-License-Identifier: Apache-2.0
"""Targets with some layers randomised, for the check that a ranking depends on what was learned.

Adebayo et al., *Sanity checks for saliency maps* (NeurIPS 2018): an explanation that stays the same when the trained
weights are replaced by random ones explains something else. There the explanation is the map of an input; here it is
the ranking of the filters in the layers that were not randomised.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from filterlens.arguments import as_list, is_finite, seed_number
from filterlens.degradations.randomness import derive_seed
from filterlens.errors import UsageError, unknown
from filterlens.filters import FilterSpace
from filterlens.pair import ModelPair

KINDS = {
    "weights": "the target's weights of a layer are shuffled within it, its biases too (Adebayo et al. 2018)",
    "changes": "what fine-tuning changed in a layer is shuffled within it, so the network still works",
}


def randomised(pair: ModelPair, layers: Collection[str], *, kind: str = "weights", seed: int = 0) -> ModelPair:
    """Return a new pair: the same baseline, and the target with some layers randomised. The pair itself stays.

    Shuffling keeps the distribution of a layer's numbers, so activations keep their order of magnitude.

    Args:
        pair: Baseline and target.
        layers: Names of the layers to randomise.
        kind: A key of :data:`KINDS`.
        seed: With the layer's name, decides the shuffle; a layer is shuffled alike whichever others are.

    Raises:
        UsageError: Unknown layer or kind, or no layer.
    """
    if kind not in KINDS:
        raise unknown("kind of randomisation", kind, KINDS)
    if not layers:
        raise UsageError("No layer is named to be randomised: give at least one.")
    layers, seed = as_list(layers), seed_number(seed)
    origin = pair.baseline if kind == "changes" else torch.zeros_like(pair.baseline)
    learned = pair.target - origin
    pieces = pair.unflatten(learned)  # views: writing to them writes to the flat vector
    for layer in layers:
        weight = pair.space.layer(layer).parameter
        for name in (weight, f"{weight.removesuffix('weight')}bias"):
            if name in pieces:
                pieces[name].copy_(_shuffled(pieces[name], derive_seed(seed, kind, name)))
    vector = torch.where(_touched(pair, layers), learned + origin, pair.target)  # a + (b − a) is not exactly b
    ends = pair.network(pair.baseline), pair.network(vector)
    return ModelPair(
        *ends, scale=pair.scale, call=pair.call, output=pair.output, name=f"{pair.name}, {kind}", linear=pair.linear
    )


def from_the_last(space: FilterSpace, shares: Sequence[float]) -> list[tuple[str, ...]]:
    """Return cascades of layers: the last ones, at least one and never all, by share of the layers, each set once.

    Raises:
        UsageError: A share outside (0, 1), or a network of a single layer, of which nothing would remain.
    """
    names = [layer.name for layer in space.layers]
    if len(names) < 2:
        raise UsageError("A network of a single layer has no layers left to rank when that one is randomised.")
    if not all(is_finite(share) and 0 < share < 1 for share in shares):
        raise UsageError(f"{tuple(shares)} are no shares of the layers: each above 0 and below 1.")
    counts = sorted({min(len(names) - 1, max(1, round(share * len(names)))) for share in shares})
    return [tuple(names[-count:]) for count in counts]


def remaining(space: FilterSpace, layers: Collection[str]) -> Tensor:
    """Return the mask ``(filters,)`` of the filters outside the given layers."""
    return torch.cat([torch.full((layer.count,), layer.name not in layers) for layer in space.layers])


def _shuffled(values: Tensor, seed: int) -> Tensor:
    order = torch.randperm(values.numel(), generator=torch.Generator().manual_seed(seed))
    return values.flatten()[order.to(values.device)].view_as(values)


def _touched(pair: ModelPair, layers: Collection[str]) -> Tensor:
    """Return the mask ``(parameters,)`` of everything that belongs to the layers."""
    stems = tuple(pair.space.layer(layer).parameter.removesuffix("weight") for layer in layers)
    names = {f"{stem}{part}" for stem in stems for part in ("weight", "bias")}
    own = {name: torch.tensor(name in names, device=pair.device) for name in pair.unflatten(pair.target)}
    return pair.flatten(own)
