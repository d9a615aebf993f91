# SPDX-License-Identifier: Apache-2.0
"""``change-l2`` against NumPy, by its name."""

import numpy as np
import torch
from torch import nn

from filterlens import ModelPair
from filterlens.attribution.methods import METHODS, attribute_with


def test_scores_are_the_distances_of_the_filters():
    torch.manual_seed(0)
    before, after = (
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)).double()
        for _ in range(2)
    )
    found = attribute_with("change-l2", ModelPair(before, after), [], ["blur:2", "noise:0.1"])
    expected = [
        np.linalg.norm((after[layer].weight - before[layer].weight).detach().numpy()[out, into])
        for layer, outs, intos in ((0, 4, 3), (1, 3, 4))
        for out in range(outs)
        for into in range(intos)
    ]
    np.testing.assert_allclose(found["change-l2"].of("blur:2"), expected, rtol=1e-12)


def test_filterlens_lists_it():
    assert METHODS["change-l2"].startswith("how far a filter moved")
