# SPDX-License-Identifier: Apache-2.0
"""Modules with several names, weights in several modules, and networks that are careless with what they get."""

import pytest
import torch
from torch import nn

from filterlens import FAIG, Adapter, FilterlensError, ModelPair, Selection, SquaredDistance, adapt, substitute
from filterlens.attribution.per_sample import _all_at_once, _one_by_one
from filterlens.attribution.result import save_attributions
from filterlens.execution.rematerialise import rematerialised
from filterlens.models.checkpoints import save_network
from tests.attribution.small_networks import photographs
from tests.odd_networks import Careless, Plain, Repeated, Tied, Transposed, TwoNames, ends

KINDS = [TwoNames, Tied, Transposed, Repeated, Careless]
FILTERS = {TwoNames: 18 + 36 + 18, Tied: 18 + 36 + 18, Transposed: 18 + 18, Repeated: 18 + 36 + 18, Careless: 36}


def named(network):
    return dict(network.named_parameters(remove_duplicate=False))


def footprint(network):
    return {name: (value, value.detach().clone()) for name, value in named(network).items()}


def is_whole(network, before):
    after = named(network)
    return after.keys() == before.keys() and all(
        after[name] is parameter and type(parameter) is nn.Parameter and torch.equal(parameter, value)
        for name, (parameter, value) in before.items()
    )


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


def test_shared_filters_count_once_and_the_integral_is_complete(kind):
    pair = ModelPair(*ends(kind))
    found = FAIG(pair).attribute(photographs(1), ["blur:1", "noise:0.1"])
    assert len(pair.space) == FILTERS[kind] and found.completeness_gap < 1e-3


def test_nothing_is_changed_by_running_differentiating_and_failing(kind):
    baseline, target = ends(kind)
    before = footprint(baseline), footprint(target)
    pair = ModelPair(baseline, target)
    own = footprint(pair._network)
    images = photographs(1, 12, 12).contiguous(memory_format=torch.channels_last)
    kept = images.clone()
    first = pair.run(pair.baseline, images)
    pair.differentiate(pair.target, images, lambda output: output.square().sum())
    with pytest.raises(ZeroDivisionError):
        pair.differentiate(pair.baseline, images, lambda output: 1 / 0)
    assert torch.equal(pair.run(pair.baseline, images), first) and torch.equal(images, kept)
    with torch.no_grad():
        torch.testing.assert_close(first, baseline(kept.clone()), rtol=1e-10, atol=1e-12)
    assert is_whole(baseline, before[0]) and is_whole(target, before[1]) and is_whole(pair._network, own)


def test_no_filter_is_the_target_and_all_with_biases_the_baseline(kind):
    baseline, target = ends(kind)
    pair = ModelPair(baseline, target)
    pair.differentiate(pair.target, photographs(1, 12, 12), lambda output: output.sum())
    every = Selection(pair.space, torch.arange(len(pair.space)))
    for selection, biases, end in ((Selection(pair.space, every.indices[:0]), False, target), (every, True, baseline)):
        edited, wanted = named(substitute(pair, selection, biases=biases)), named(end)
        assert edited.keys() == wanted.keys() and all(torch.equal(edited[name], wanted[name]) for name in wanted)


def test_blocks_that_are_computed_again_and_batches_give_the_same_gradients(kind):
    pair, images = ModelPair(*ends(kind)), photographs(2, 12, 12)
    plain = pair.differentiate(pair.target, images, lambda output: output.square().sum())[1]
    with rematerialised(pair.blocks):
        again = pair.differentiate(pair.target, images, lambda output: output.square().sum())[1]
    torch.testing.assert_close(again, plain)
    together, alone = (
        compute(pair, pair.target, images, torch.zeros_like(images), SquaredDistance(), "fp32")
        for compute in (_all_at_once, _one_by_one)
    )
    torch.testing.assert_close(together, alone)


def test_adapters_and_checkpoints_of_shared_weights_hold(kind, tmp_path):
    baseline, target = ends(kind)
    pair = ModelPair(baseline, target)
    every = Selection(pair.space, torch.arange(len(pair.space)))
    edited = adapt(target, [(Adapter.of(pair, [every]), 0.0)])
    wanted = named(substitute(pair, every))
    assert all(torch.equal(value, wanted[name]) for name, value in named(edited).items())
    save_network(tmp_path / "network.safetensors", target, "own", {"scale": 1}, {})
    save_attributions(tmp_path / "scores.safetensors", [FAIG(pair).attribute(photographs(1), ["blur:1"])])


def test_what_only_one_of_the_two_networks_shares_is_another_architecture():
    for first, second in ((True, False), (False, True)):
        side, other = ("baseline", "target") if first else ("target", "baseline")
        words = f"'middle.weight' and 'again.weight' are one weight in the {side}, but not in the {other}"
        with pytest.raises(FilterlensError, match=words):
            ModelPair(Tied(first), Tied(second))


def test_a_network_that_was_run_before_can_be_paired():
    baseline, target = ends(Careless)
    target(photographs(1, 12, 12))  # keeps an activation with its graph
    pair = ModelPair(baseline, target)
    assert target.kept.grad_fn is not None and pair.network(pair.target).kept.grad_fn is None


def test_an_instance_with_a_forward_of_its_own_keeps_it():
    network = nn.Sequential(*(Plain() for _ in range(4)))
    own = network[0].forward = lambda x: x + 1
    with rematerialised([network]):
        assert network[0].forward is not own
    assert network[0].forward is own and "forward" not in vars(network[1])
