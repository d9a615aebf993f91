# SPDX-License-Identifier: Apache-2.0
"""Replace selected filters of the target by the baseline's: what remains is the target without their function."""

from torch import Tensor, nn

from filterlens.editing.modulate import modulated
from filterlens.filters import Selection
from filterlens.pair import ModelPair


def substituted(pair: ModelPair, selection: Selection, *, biases: bool = False) -> Tensor:
    """Return flat parameters ``(parameters,)`` with the selected filters at the baseline's values.

    No filter gives the target; every filter and the biases give the baseline, both bit by bit.
    """
    return modulated(pair, selection, 0.0, biases=biases)


def substitute(pair: ModelPair, selection: Selection, *, biases: bool = False) -> nn.Module:
    """Return a new network with the selected filters at the baseline's values; see :func:`substituted`."""
    return pair.network(substituted(pair, selection, biases=biases))
