# SPDX-License-Identifier: Apache-2.0
"""Where selected filters sit."""

import pytest
from torch import nn

from filterlens import FilterSpace, Selection
from filterlens.diagnosis.distribution import distribution, mean_depth

SPACE = FilterSpace(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 1, 1)))


def test_counts_and_shares_per_layer():
    chosen = Selection.of(SPACE, ["0.weight[0, 0]", "0.weight[1, 2]", "2.weight[0, 1]", "2.weight[0, 0]"])
    rows = [(row.layer, row.position, row.filters, row.selected, row.share) for row in distribution(chosen)]
    assert rows == [("0", 0, 6, 2, 0.5), ("1", 0.5, 4, 0, 0), ("2", 1, 2, 2, 0.5)]


def test_mean_depth_is_0_for_the_first_layer_and_1_for_the_last():
    assert mean_depth(Selection.of(SPACE, ["0.weight[0, 0]"])) == 0
    assert mean_depth(Selection.of(SPACE, ["2.weight[0, 0]"])) == 1
    assert mean_depth(Selection.of(SPACE, ["0.weight[0, 0]", "1.weight[0, 0]"])) == pytest.approx(0.25)
