# SPDX-License-Identifier: Apache-2.0
"""What is compared between one process and two."""

import torch
from torch import nn

from benchmarks.processes import filters_moved, largest_difference
from filterlens.attribution.result import Attribution
from filterlens.filters import FilterSpace


def attribution(*scores):
    return Attribution("faig", FilterSpace(nn.Conv2d(2, 2, 1)), {"noise:0.1": torch.tensor(scores)})


def test_equal_attributions_differ_in_nothing():
    one = attribution(4.0, 3.0, 2.0, 1.0)
    assert (filters_moved(one, one), largest_difference(one, one)) == (0, 0)


def test_two_filters_that_change_places_are_counted_and_the_difference_is_relative_to_the_largest_score():
    one, two = attribution(4.0, 3.0, 2.0, -1.0), attribution(4.0, 2.0, 3.0, -1.0)
    assert (filters_moved(one, two), largest_difference(one, two)) == (2, 0.25)
