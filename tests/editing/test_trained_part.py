# SPDX-License-Identifier: Apache-2.0
"""Training compact values is training the whole network with the gradients of all other weights at zero."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F

from filterlens.editing.low_rank import Factors, LowRank, ranks_for
from filterlens.editing.trained_part import AllFilters, LastLayers, SelectedFilters, weights_in
from filterlens.errors import FilterlensError, UsageError
from filterlens.execution.hardware import autocast
from filterlens.filters import FilterLayer, FilterSpace, Selection
from filterlens.models.architectures import build
from tests.attribution.small_networks import Linear, make_pair, photographs

RATE, STEPS = 1e-2, 3


@pytest.fixture(scope="module")
def pair():
    return make_pair()[2]


@pytest.fixture
def scattered(pair):
    """Filters of both layers: of 3x3 and of 5x5 kernels, of both groups, the very first filter among them."""
    return Selection(pair.space, torch.tensor([71, 0, 13, 24, 40, 50]), "some")


def batches():
    truth = photographs(count=2, height=32, width=24)
    lowered = F.avg_pool2d(truth, 2)
    return [(truth.roll(step, 3), lowered.roll(step, 3)) for step in range(STEPS)]


def train_compactly(trainable):
    optimizer = torch.optim.Adam(trainable.parameters(), lr=RATE, betas=(0.9, 0.99))
    for truth, lowered in batches():
        optimizer.zero_grad()
        F.l1_loss(trainable(lowered), truth).backward()
        optimizer.step()
    return optimizer


def train_masked(network, masks):
    """Ordinary Adam on every parameter, the gradients of the frozen weights set to zero by hand."""
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, betas=(0.9, 0.99))
    for truth, lowered in batches():
        optimizer.zero_grad()
        F.l1_loss(network(lowered), truth).backward()
        for name, parameter in network.named_parameters():
            parameter.grad *= masks[name]
        optimizer.step()
    return network


def masks_of(network, addresses, biases):
    masks = {name: torch.zeros_like(value) for name, value in network.named_parameters()}
    for layer, out_channel, in_channel in addresses:
        masks[f"{layer}.weight"][out_channel, in_channel] = 1
    for name in masks:
        masks[name] += float(biases and name.endswith("bias"))
    return masks


@pytest.mark.parametrize("biases", [False, True])
def test_compact_steps_equal_ordinary_adam_with_zeroed_gradients(pair, scattered, biases):
    # 24 filters in `first` (3 wide); `second` has 4 input channels per group, so filter 24 + 4·out + in
    addresses = [("second", 11, 3), ("first", 0, 0), ("first", 4, 1), ("second", 0, 0), ("second", 4, 0)]
    addresses += [("second", 6, 2)]
    network = make_pair()[0]
    expected = train_masked(network, masks_of(network, addresses, biases)).state_dict()
    trainable = SelectedFilters(scattered, biases=biases).trainable(pair, seed=0)
    train_compactly(trainable)
    found = pair.network(trainable.merged(pair)).state_dict()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert not torch.equal(found["first.weight"], make_pair()[0].first.weight)


def test_frozen_weights_stay_bit_identical_and_every_selected_filter_moves(pair, scattered):
    trainable = SelectedFilters(scattered).trainable(pair, seed=0)
    train_compactly(trainable)
    after, selected = trainable.merged(pair), pair.weight_mask(scattered.mask)
    assert torch.equal(after[~selected], pair.baseline[~selected])
    assert (after != pair.baseline)[selected].all()


def test_the_optimiser_holds_exactly_the_trained_numbers(pair, scattered):
    trainable = SelectedFilters(scattered).trainable(pair, seed=0)
    optimizer = train_compactly(trainable)
    trained = 2 * 9 + 4 * 25
    moments = [value for state in optimizer.state.values() for key, value in state.items() if key != "step"]
    assert [moment.numel() for moment in moments] == [trained, trained]
    assert trainable.trained_weights == trained
    assert {name: value.numel() for name, value in trainable.state_dict().items()} == {"values": trained}


def test_layers_without_trained_weights_get_no_gradient(pair):
    trainable = LastLayers(50).trainable(pair, seed=0)
    assert list(trainable.weights()) == ["second.weight"]
    assert not any(parameter.requires_grad for parameter in trainable._frozen[0].parameters())


def test_an_untrained_adapter_is_the_baseline_and_the_pair_stays_as_it_was(pair, scattered):
    before, target = pair.baseline.clone(), pair.target.clone()
    images = photographs()
    for part in (SelectedFilters(scattered), AllFilters(), LastLayers(100), LowRank(400)):
        trainable = part.trainable(pair, seed=3)
        torch.testing.assert_close(trainable(images), pair.run(pair.baseline, images), rtol=0, atol=1e-12)
        assert torch.equal(trainable.merged(pair), before)
        train_compactly(trainable)
    assert torch.equal(pair.baseline, before) and torch.equal(pair.target, target)


def test_all_filters_leave_biases_frozen_unless_asked(pair):
    weights, biases = 8 * 3 * 9 + 12 * 4 * 25, 8 + 12
    assert AllFilters().trainable(pair, 0).trained_weights == weights
    assert AllFilters(biases=True).trainable(pair, 0).trained_weights == weights + biases


@pytest.mark.parametrize(
    ("count", "filters", "weights"), [(25, 1, 25), (130, 5, 125), (1208, 48, 1200), (1209, 49, 1209)]
)
def test_last_layers_are_taken_filter_by_filter_from_the_back(pair, count, filters, weights):
    part = LastLayers(count)
    assert part.selection(pair.space).indices.tolist() == list(range(71, 71 - filters, -1))
    assert part.trainable(pair, 0).trained_weights == weights


def test_a_low_rank_network_is_the_baseline_plus_the_product(pair):
    trainable = LowRank(400).trainable(pair, seed=0)
    train_compactly(trainable)
    after, before = (pair.unflatten(vector) for vector in (trainable.merged(pair), pair.baseline))
    factors = ranks_for(pair.space.layers, 400)
    for each, a, b in zip([f for f in factors if f.rank], trainable.a, trainable.b, strict=True):
        change = (after[each.parameter] - before[each.parameter]).flatten(1)
        torch.testing.assert_close(change, b @ a, rtol=0, atol=1e-12)
        assert torch.linalg.matrix_rank(change, rtol=1e-9) == each.rank
    for name in ("first.bias", "second.bias"):
        assert torch.equal(after[name], before[name])
    assert trainable.trained_weights == sum(f.rank * (f.rows + f.columns) for f in factors) <= 400


def test_low_rank_factors_start_by_seed(pair):
    first, again, other = (LowRank(400).trainable(pair, seed).a[0] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_ranks_come_as_close_to_the_granted_number_as_they_can():
    layers = FilterSpace(build("srresnet", scale=2)).layers
    factors = ranks_for(layers, 13_671)  # 1519 filters of 3x3
    # brute force over how many of each kind of layer get rank 1: 32 + conv_hr alike, first, upconv, last
    sums = {640 * n + 91 * a + 832 * b + 579 * c for n in range(34) for a in (0, 1) for b in (0, 1) for c in (0, 1)}
    assert sum(each.rank * each.cost for each in factors) == max(total for total in sums if total <= 13_671) == 13_662
    body = [index for index, each in enumerate(factors) if each.cost == 640 and each.rank]
    gaps = [second - first for first, second in itertools.pairwise(body)]
    assert max(gaps) <= 3  # spread over the depth


def test_ranks_grow_in_step_and_end_at_full_rank():
    layers = [
        FilterLayer("a", 4, 2, (3, 3), 0),
        FilterLayer("b", 2, 4, (1, 1), 8),
    ]  # 22 and 6 per rank, 4 and 2 at most
    assert [each.rank for each in ranks_for(layers, 28)] == [1, 1]
    assert [each.rank for each in ranks_for(layers, 35)] == [1, 2]
    assert [each.rank for each in ranks_for(layers, 10_000)] == [4, 2]
    assert Factors.of(layers[0]).cost == 4 + 18


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (LastLayers(24), "24 trained weights are fewer than the last filter has .25."),
        (LowRank(30), "30 trained weights are too few for a low-rank adapter: rank 1 of the cheapest layer has 35"),
    ],
)
def test_too_few_weights_are_refused(pair, part, message):
    with pytest.raises(UsageError, match=message):
        part.trainable(pair, 0)


def test_an_empty_or_foreign_selection_is_refused(pair):
    with pytest.raises(UsageError, match="No filter is selected"):
        SelectedFilters(Selection(pair.space, torch.tensor([], dtype=torch.int64))).trainable(pair, 0)
    other = make_pair(Linear)[2]
    with pytest.raises(FilterlensError, match="of another network"):
        SelectedFilters(Selection(other.space, torch.tensor([0]))).trainable(pair, 0)


def test_gradients_under_bfloat16_reach_every_trained_number(pair, scattered):
    single = copy.copy(pair)
    single._network = copy.deepcopy(pair._network).float()
    single.baseline, single.target = pair.baseline.float(), pair.target.float()
    for part in (SelectedFilters(scattered), LowRank(400)):
        trainable = part.trainable(single, seed=0)
        with autocast(torch.device("cpu"), "bf16"):
            output = trainable(photographs().float())
        output.float().square().mean().backward()
        assert all(
            parameter.grad is not None and parameter.grad.isfinite().all() for parameter in trainable.parameters()
        )


def test_weights_are_counted_with_every_layers_kernel():
    space = make_pair()[2].space
    assert weights_in(Selection(space, torch.tensor([0, 23, 24, 71]))) == 2 * 9 + 2 * 25
