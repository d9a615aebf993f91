# SPDX-License-Identifier: Apache-2.0
"""Adapters: the filters of a function on either network, alone and together, against the formula."""

import copy

import pytest
import torch

from filterlens import Adapter, FilterlensError, FilterSpace, ModelPair, Selection, UsageError, adapt
from filterlens.editing.adapter import weights_hash
from filterlens.editing.dial import modulated
from tests.attribution.small_networks import Curved, Linear, make_pair


def some(space, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Selection(space, torch.randperm(len(space), generator=generator)[:count])


def flat(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def values_at(network, address):
    parameter, place = address.split("[")
    out, column = map(int, place.rstrip("]").split(","))
    return dict(network.named_parameters())[parameter].detach()[out, column]


@pytest.mark.parametrize("strength", [-0.5, 0.0, 0.3, 0.8, 1.0, 1.1])
def test_on_the_target_it_is_the_papers_modulation_bit_by_bit(strength):
    _, target, pair = make_pair()
    chosen = some(pair.space, 17)
    edited = adapt(target, [(Adapter.of(pair, [chosen]), strength)])
    assert torch.equal(flat(edited), modulated(pair, chosen, strength))


@pytest.mark.parametrize("strength", [-0.5, 0.0, 0.3, 0.8, 1.0, 1.1])
def test_on_the_baseline_only_its_filters_move_along_the_same_path(strength):
    baseline, target, pair = make_pair()
    chosen = some(pair.space, 17)
    edited = adapt(baseline, [(Adapter.of(pair, [chosen]), strength)])
    expected = {name: value.clone() for name, value in baseline.state_dict().items()}
    for address in chosen.addresses():
        name, at = f"{address.layer}.weight", (address.out_channel, address.in_channel)
        old, new = baseline.state_dict()[name][at], target.state_dict()[name][at]
        expected[name][at] = old + strength * (new - old)
    for name, value in edited.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=1e-15)
        if strength in (0.0, 1.0):
            assert torch.equal(value, expected[name])


def test_every_filter_at_strength_1_on_the_baseline_is_the_target_but_for_biases():
    baseline, target, pair = make_pair()
    everything = Selection(pair.space, torch.arange(len(pair.space)))
    edited = adapt(baseline, [(Adapter.of(pair, [everything]), 1.0)])
    for name, value in edited.state_dict().items():
        assert torch.equal(value, (target if name.endswith("weight") else baseline).state_dict()[name])


def test_the_users_networks_stay_bit_identical():
    baseline, target, pair = make_pair()
    before = flat(baseline), flat(target)
    edited = adapt(baseline, [(Adapter.of(pair, [some(pair.space, 9)]), 0.7)])
    assert edited is not baseline and edited.training == baseline.training
    assert torch.equal(flat(baseline), before[0]) and torch.equal(flat(target), before[1])
    assert not torch.equal(flat(edited), before[0])


def test_disjoint_adapters_add_up_in_any_order():
    baseline, _, pair = make_pair()
    both = some(pair.space, 20)
    first, second = (Adapter.of(pair, [Selection(pair.space, part)]) for part in both.indices.split(10))
    together = flat(adapt(baseline, [(first, 0.8), (second, 1.1)]))
    assert torch.equal(together, flat(adapt(baseline, [(second, 1.1), (first, 0.8)])))
    one_by_one = flat(adapt(baseline, [(first, 0.8)])) + flat(adapt(baseline, [(second, 1.1)])) - flat(baseline)
    torch.testing.assert_close(together, one_by_one)


@pytest.mark.parametrize(
    ("network", "strengths", "effective"),
    [
        ("baseline", (0.0, 0.0), 0.0),
        ("baseline", (1.0, 0.0), 1.0),
        ("baseline", (1.0, 1.0), 1.0),  # not 2: the same difference is there once
        ("baseline", (0.8, 1.1), 1.1),
        ("baseline", (-0.5, 1.0), 0.5),
        ("target", (1.0, 1.0), 1.0),
        ("target", (0.0, 1.0), 0.0),
        ("target", (0.0, 0.0), 0.0),  # not -1
        ("target", (0.5, 1.25), 0.75),
    ],
)
def test_a_shared_filter_gets_the_largest_push_up_and_down(network, strengths, effective):
    baseline, target, pair = make_pair()
    addresses = ["first.weight[2, 1]", "first.weight[4, 0]", "second.weight[11, 3]"]
    first = Adapter.of(pair, [Selection.of(pair.space, addresses[:2])])
    second = Adapter.of(pair, [Selection.of(pair.space, addresses[1:])])
    base = {"baseline": baseline, "target": target}[network]
    edited = adapt(base, list(zip((first, second), strengths, strict=True)))
    for address, strength in zip(addresses, (strengths[0], effective, strengths[1]), strict=True):
        old, new = values_at(baseline, address), values_at(target, address)
        torch.testing.assert_close(values_at(edited, address), old + strength * (new - old), rtol=1e-6, atol=1e-9)


def test_the_same_adapter_twice_is_the_same_as_once():
    baseline, _, pair = make_pair()
    adapter = Adapter.of(pair, [some(pair.space, 9)])
    assert torch.equal(flat(adapt(baseline, [(adapter, 0.7)] * 2)), flat(adapt(baseline, [(adapter, 0.7)])))


def test_two_targets_of_one_baseline_work_together_unless_they_share_a_filter():
    baseline, target, pair = make_pair()
    _, other, _ = make_pair(seed=4)
    second_pair = ModelPair(baseline, other)
    first = Adapter.of(pair, [Selection.of(pair.space, ["first.weight[0, 0]"])])
    apart = Adapter.of(second_pair, [Selection.of(pair.space, ["first.weight[0, 1]"])])
    clash = Adapter.of(second_pair, [Selection.of(pair.space, ["first.weight[0, 0]"])])
    edited = adapt(baseline, [(first, 1), (apart, 1)])
    assert torch.equal(values_at(edited, "first.weight[0, 0]"), values_at(target, "first.weight[0, 0]"))
    assert torch.equal(values_at(edited, "first.weight[0, 1]"), values_at(other, "first.weight[0, 1]"))
    with pytest.raises(FilterlensError, match=r"different values for the same filter of 'first\.weight'"):
        adapt(baseline, [(first, 1), (clash, 1)])


def test_a_base_that_is_neither_end_is_refused_unless_told_to():
    _, target, pair = make_pair()
    adapter = Adapter.of(pair, [some(pair.space, 9)])
    another = copy.deepcopy(target)
    with torch.no_grad():
        another.first.bias += 1  # filters are the target's, another bias makes it another network
        another.first.weight += 1e-4
    with pytest.raises(FilterlensError, match=r"'deblur' belongs to another base: the hash .* target"):
        adapt(another, [(adapter, 0)], names=["deblur"])
    removed = flat(adapt(another, [(adapter, 0)], any_base=True)) - flat(another)
    torch.testing.assert_close(removed, modulated(pair, adapter.selection(pair.space), 0) - pair.target)
    assert torch.equal(flat(adapt(another, [(adapter, 1)], any_base=True)), flat(another))


def test_another_architecture_is_refused_even_when_told_to():
    _, _, pair = make_pair()
    adapter = Adapter.of(pair, [some(pair.space, 9)])
    with pytest.raises(FilterlensError, match="which the base does not have"):
        adapt(Linear().double(), [(adapter, 1)], any_base=True)
    wider = Curved().double()
    wider.second = torch.nn.Conv2d(8, 12, 3, padding=1, groups=2).double()
    with pytest.raises(FilterlensError, match=r"shape \(12, 4, 5, 5\), but the base's is \(12, 4, 3, 3\)"):
        adapt(wider, [(Adapter.of(pair, [Selection.of(pair.space, ["second.weight[0, 0]"])]), 1)], any_base=True)


def test_strengths_that_are_no_numbers_and_empty_adapters_are_refused():
    baseline, _, pair = make_pair()
    with pytest.raises(UsageError, match="Strength nan of adapter 1"):
        adapt(baseline, [(Adapter.of(pair, [some(pair.space, 3)]), float("nan"))])
    with pytest.raises(UsageError, match="adapter would be empty"):
        Adapter.of(pair, [some(pair.space, 0)])
    with pytest.raises(FilterlensError, match="another network"):
        Adapter.of(pair, [some(FilterSpace(Linear()), 3)])


def test_several_selections_are_one_set_and_come_back_by_index():
    _, _, pair = make_pair()
    first, second = some(pair.space, 10, 1), some(pair.space, 10, 2)
    adapter = Adapter.of(pair, [first, second])
    assert torch.equal(adapter.selection(pair.space).mask, first.mask | second.mask)
    assert len(adapter) == int((first.mask | second.mask).sum()) < 20
    with pytest.raises(FilterlensError, match="another network"):
        adapter.selection(FilterSpace(Linear()))


def test_the_hash_knows_values_names_and_shapes_but_no_file_format():
    baseline, target, _ = make_pair()
    assert weights_hash(baseline) == weights_hash(copy.deepcopy(baseline)) != weights_hash(target)
    half = copy.deepcopy(baseline).half()
    assert weights_hash(half) == weights_hash(copy.deepcopy(half).float())
    norm = torch.nn.BatchNorm2d(3)
    before = weights_hash(norm)
    norm.running_mean += 1
    assert weights_hash(norm) == before


def test_the_card_names_the_pair_by_hash():
    baseline, target, pair = make_pair()
    adapter = Adapter.of(pair, [some(pair.space, 3)], {"degradations": ["blur:2"]})
    assert adapter.card["degradations"] == ["blur:2"]
    assert (adapter.weights_of("baseline"), adapter.weights_of("target")) == (
        weights_hash(baseline),
        weights_hash(target),
    )


def test_filters_whose_numbers_lie_apart_are_refused(monkeypatch):
    _, _, pair = make_pair()
    known = FilterSpace.spread

    def turned(space, values):
        return {name: each.transpose(0, 1).reshape(each.shape) for name, each in known(space, values).items()}

    monkeypatch.setattr(FilterSpace, "spread", turned)
    with pytest.raises(FilterlensError, match=r"'first\.weight' are no consecutive numbers"):
        Adapter.of(pair, [Selection(pair.space, torch.tensor([0]))])
