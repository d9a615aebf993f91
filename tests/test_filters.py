# SPDX-License-Identifier: Apache-2.0
"""Filters: every one has one address and one index."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from filterlens import FilterlensError, FilterSpace, Selection, UsageError
from filterlens.models.architectures import build


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 5), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 1, groups=2), nn.Linear(4, 4), nn.Conv1d(2, 2, 3)
    )


@pytest.mark.parametrize(
    ("architecture", "scale", "layers", "filters"),
    [("srresnet", 2, 36, 151_936), ("srresnet", 4, 37, 168_320), ("srcnn-style", 2, 9, 156_224)],
)
def test_counts_are_those_of_the_paper(architecture, scale, layers, filters):
    space = FilterSpace(build(architecture, scale=scale))
    assert (len(space.layers), len(space)) == (layers, filters)


def test_one_percent_of_srresnet_is_1519_filters_as_in_the_reference():
    space = FilterSpace(build("srresnet", scale=2))
    assert len(Selection.top(space, torch.rand(len(space)), 1)) == 1519
    assert [len(Selection.top(space, torch.rand(len(space)), p)) for p in (3, 5, 10, 100)] == [
        4558,
        7596,
        15193,
        151936,
    ]


def test_index_and_address_are_inverse_for_any_kernel_and_groups():
    space = FilterSpace(network(), linear="none")
    assert len(space) == 3 * 8 + 6 * 4 + 2 * 2
    for index in range(len(space)):
        assert space.index(space.address(index)) == index
        assert space.index(str(space.address(index))) == index


def test_flat_index_is_layer_offset_plus_out_times_in_channels_plus_in():
    space = FilterSpace(network(), linear="none")
    assert space.index("2.weight[5, 3]") == 24 + 5 * 4 + 3
    assert str(space.address(24 + 23)) == "2.weight[5, 3]"


def test_pooling_sums_each_slice_and_spreading_undoes_the_addressing():
    module = network()
    space = FilterSpace(module, linear="none")
    weights = {name: parameter.detach() for name, parameter in module.named_parameters()}
    pooled = space.pool(weights)
    assert pooled[space.index("0.weight[7, 2]")] == pytest.approx(
        float(module[0].weight[7, 2].detach().sum()), rel=1e-5
    )
    spread = space.spread(torch.arange(len(space)))
    assert spread["4.weight"][1, 0].item() == space.index("4.weight[1, 0]")


def test_weights_that_are_no_filters_are_listed_not_dropped_silently():
    assert FilterSpace(network(), linear="none").left_out == ("1.weight", "3.weight")


def test_shared_weights_count_once():
    shared = nn.Conv2d(3, 3, 3)
    assert len(FilterSpace(nn.Sequential(shared, shared))) == 9


def test_derived_weights_are_refused_with_a_hint():
    with pytest.raises(FilterlensError, match=r"'0' is derived.*remove_parametrizations"):
        FilterSpace(nn.Sequential(weight_norm(nn.Conv2d(3, 3, 3))))


def test_a_network_without_convolutions_is_refused():
    with pytest.raises(FilterlensError, match="no convolution"):
        FilterSpace(nn.Linear(3, 3), linear="none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.weight[8, 0]", "8 × 3 filters"),
        ("0.wieght[1, 0]", "not a filter address"),
        ("00.weight[1, 0]", "Unknown layer '00'.*Did you mean '0'"),
    ],
)
def test_wrong_addresses_say_what_is_right(text, message):
    with pytest.raises(UsageError, match=message):
        FilterSpace(network(), linear="none").index(text)


def test_top_takes_the_highest_scores_and_breaks_ties_by_index():
    space = FilterSpace(nn.Conv2d(2, 5, 3))
    chosen = Selection.top(space, torch.tensor([0.0, 3, 1, 3, 2, 0, 0, 0, 0, 0]), 40)
    assert chosen.indices.tolist() == [1, 3, 4, 2]
    assert [str(each) for each in chosen.addresses()][:2] == ["weight[0, 1]", "weight[1, 1]"]


def test_selections_refuse_what_is_no_set_of_filters():
    space = FilterSpace(nn.Conv2d(2, 5, 3))
    for indices, message in (([0, 0], "twice"), ([10], "out of range"), ([-1], "out of range")):
        with pytest.raises(UsageError, match=message):
            Selection(space, torch.tensor(indices))
    with pytest.raises(UsageError, match="percentage"):
        Selection.top(space, torch.rand(10), 101)


def test_overlap_is_the_shared_part_of_the_first_set():
    space = FilterSpace(nn.Conv2d(2, 5, 3))
    first, second = Selection(space, torch.tensor([0, 1, 2, 3])), Selection(space, torch.tensor([3, 9]))
    assert first.overlap(second) == 0.25
    assert second.overlap(first) == 0.5
