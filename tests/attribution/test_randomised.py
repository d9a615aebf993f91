# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from filterlens.attribution.faig import FAIG
from filterlens.attribution.randomised import KINDS, from_the_last, randomised, remaining
from filterlens.errors import UsageError
from filterlens.pair import ModelPair
from tests.attribution.small_networks import Linear, make_pair, photographs


def parts(pair, vector):
    return pair.unflatten(vector)


@pytest.mark.parametrize("kind", KINDS)
def test_other_layers_the_baseline_and_the_pair_itself_stay_bit_identical(kind):
    _, _, pair = make_pair()
    before = pair.baseline.clone(), pair.target.clone()
    new = randomised(pair, ["second"], kind=kind)
    assert torch.equal(pair.baseline, before[0]) and torch.equal(pair.target, before[1])
    assert torch.equal(new.baseline, pair.baseline) and new.space == pair.space
    old, changed = parts(pair, pair.target), parts(new, new.target)
    assert all(torch.equal(changed[name], old[name]) for name in ("first.weight", "first.bias"))
    assert not torch.equal(changed["second.weight"], old["second.weight"])


def test_shuffled_weights_are_the_same_numbers_in_another_order():
    _, _, pair = make_pair()
    old, new = (parts(each, each.target) for each in (pair, randomised(pair, ["first"])))
    for name in ("first.weight", "first.bias"):
        assert not torch.equal(new[name], old[name])
        assert torch.equal(new[name].flatten().sort().values, old[name].flatten().sort().values)


def test_shuffled_changes_are_the_same_changes_in_another_order():
    _, _, pair = make_pair()
    new = randomised(pair, ["first"], kind="changes")
    for name in ("first.weight", "first.bias"):
        old_change, new_change = (parts(each, each.change)[name].flatten() for each in (pair, new))
        assert not torch.allclose(old_change, new_change)
        assert torch.allclose(old_change.sort().values, new_change.sort().values, atol=1e-15)


def test_the_seed_and_the_layer_decide_the_shuffle_and_not_the_other_layers():
    _, _, pair = make_pair()
    alone, both = randomised(pair, ["second"]), randomised(pair, ["first", "second"])
    assert torch.equal(parts(alone, alone.target)["second.weight"], parts(both, both.target)["second.weight"])
    assert torch.equal(alone.target, randomised(pair, ["second"]).target)
    assert not torch.equal(alone.target, randomised(pair, ["second"], seed=1).target)


def test_a_nameless_layer_without_bias_can_be_shuffled():
    torch.manual_seed(0)
    pair = ModelPair(*(torch.nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in "ab"), scale=1)
    new = randomised(pair, [""])
    assert torch.equal(new.target.sort().values, pair.target.sort().values) and not torch.equal(new.target, pair.target)


def test_a_ranking_by_change_stays_while_faig_of_the_remaining_filters_moves():
    _, _, pair = make_pair()
    new, images = randomised(pair, ["second"]), list(photographs())
    left = remaining(pair.space, ["second"])
    assert torch.equal(pair.pool(pair.change.abs())[left], new.pool(new.change.abs())[left])
    scores = [FAIG(each).attribute(images, ["blur:2", "noise:0.1"]).of("blur:2")[left] for each in (pair, new)]
    assert not torch.allclose(*scores)


def test_cascades_begin_at_the_last_layer_and_never_take_all():
    _, _, pair = make_pair()
    assert from_the_last(pair.space, [0.01, 0.3, 0.99]) == [("second",)]
    space = ModelPair(
        *(torch.nn.Sequential(*[torch.nn.Conv2d(3, 3, 1) for _ in range(8)]) for _ in "ab"), scale=1
    ).space
    assert from_the_last(space, [0.75, 0.01, 0.25, 0.99]) == [
        ("7",), ("6", "7"), ("2", "3", "4", "5", "6", "7"), ("1", "2", "3", "4", "5", "6", "7"),
    ]  # fmt: skip


def test_the_remaining_filters_are_those_of_the_other_layers():
    _, _, pair = make_pair()
    left = remaining(pair.space, ["first"])
    assert left.sum() == pair.space.layer("second").count
    assert {pair.space.address(int(index)).layer for index in left.nonzero()} == {"second"}


def test_bad_input_is_refused():
    _, _, pair = make_pair()
    with pytest.raises(UsageError, match="weightz"):
        randomised(pair, ["first"], kind="weightz")
    with pytest.raises(UsageError, match="layer 'third'"):
        randomised(pair, ["third"])
    with pytest.raises(UsageError, match="No layer"):
        randomised(pair, [])
    with pytest.raises(UsageError, match="no shares"):
        from_the_last(pair.space, [0.5, 1])
    with pytest.raises(UsageError, match="single layer"):
        from_the_last(make_pair(Linear)[2].space, [0.5])
