# SPDX-License-Identifier: Apache-2.0
"""Where in the network the selected filters sit."""

from dataclasses import dataclass

from filterlens.filters import Selection


@dataclass(frozen=True)
class LayerShare:
    """How much of a selection lies in one layer.

    Attributes:
        layer: Module name.
        position: Relative depth of the layer, 0 (first) to 1 (last).
        filters: How many filters the layer has.
        selected: How many of them are selected.
        share: ``selected`` over the size of the selection.
    """

    layer: str
    position: float
    filters: int
    selected: int
    share: float


def distribution(selection: Selection) -> list[LayerShare]:
    """Count a selection per layer, in the order of the network."""
    space = selection.space
    counts = space.layer_index[selection.indices].bincount(minlength=len(space.layers)).tolist()
    last = max(1, len(space.layers) - 1)
    return [
        LayerShare(layer.name, index / last, layer.count, counts[index], counts[index] / max(1, len(selection)))
        for index, layer in enumerate(space.layers)
    ]


def mean_depth(selection: Selection) -> float:
    """Return the mean relative depth of the selected filters; 0 is the first layer, 1 the last."""
    return sum(entry.share * entry.position for entry in distribution(selection))
