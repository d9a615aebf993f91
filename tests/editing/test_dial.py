# SPDX-License-Identifier: Apache-2.0
"""The dial: what is replaced and what is not, and several functions at once, which are adapters bit by bit."""

import pytest
import torch

from filterlens import Adapter, FilterlensError, ModelPair, Selection, UsageError, adapt, modulate, substitute
from filterlens.editing.dial import dialled, filter_strengths, modulated, substituted
from filterlens.filters import FilterSpace
from filterlens.models.one_branch import SRResNet
from tests.attribution.small_networks import Linear, make_pair
from tests.small_srresnet import small_networks


@pytest.fixture(scope="module")
def pair():
    return ModelPair(*small_networks(features=8, blocks=2))


def everything(space):
    return Selection(space, torch.arange(len(space)))


def test_substituting_no_filter_is_the_target():
    _, _, pair = make_pair()
    assert torch.equal(substituted(pair, Selection.top(pair.space, torch.rand(len(pair.space)), 0)), pair.target)


def test_substituting_every_filter_and_bias_gives_the_baseline():
    _, _, pair = make_pair()
    assert torch.equal(substituted(pair, everything(pair.space), biases=True), pair.baseline)
    assert not torch.equal(substituted(pair, everything(pair.space)), pair.baseline)


def test_only_the_selected_slices_change():
    baseline, target, pair = make_pair()
    chosen = Selection.of(pair.space, ["first.weight[2, 1]", "second.weight[11, 3]"])
    edited = substitute(pair, chosen)
    expected = target.state_dict()
    expected = {name: value.clone() for name, value in expected.items()}
    expected["first.weight"][2, 1] = baseline.first.weight[2, 1]
    expected["second.weight"][11, 3] = baseline.second.weight[11, 3]
    for name, value in edited.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_strength_one_is_the_target_and_zero_is_substitution():
    _, _, pair = make_pair()
    chosen = Selection.top(pair.space, torch.rand(len(pair.space)), 30)
    assert torch.equal(modulated(pair, chosen, 1), pair.target)
    assert torch.equal(modulated(pair, chosen, 0), substituted(pair, chosen))


def test_strength_beyond_one_extrapolates_along_the_change():
    baseline, target, pair = make_pair()
    chosen = Selection.of(pair.space, ["first.weight[0, 0]"])
    edited = modulate(pair, chosen, 1.5)
    expected = baseline.first.weight[0, 0] + 1.5 * (target.first.weight[0, 0] - baseline.first.weight[0, 0])
    torch.testing.assert_close(edited.first.weight[0, 0], expected)


def test_a_selection_of_another_network_and_a_strength_that_is_no_number_are_refused():
    _, _, pair = make_pair()
    _, _, other = make_pair(Linear)
    with pytest.raises(FilterlensError, match="another network"):
        substitute(pair, everything(other.space))
    with pytest.raises(UsageError, match="Strength nan"):
        modulate(pair, everything(pair.space), float("nan"))


@pytest.mark.parametrize("strength", [float("inf"), True, "1", 1e308, -1e300])
def test_a_strength_that_takes_weights_beyond_all_numbers_is_refused(strength):
    pair = ModelPair(*(end.float() for end in make_pair()[:2]))
    baseline, target = pair.network(pair.baseline), pair.network(pair.target)
    adapter = Adapter.of(pair, [everything(pair.space)])
    words = r"Strength (inf|True|1) .*is not a number|(1e\+308|-1e\+300) takes .*beyond torch\.float32"
    for edit in (
        lambda: modulate(pair, everything(pair.space), strength),
        lambda: adapt(baseline, [(adapter, strength)]),
        lambda: adapt(target, [(adapter, strength)]),
    ):
        with pytest.raises(UsageError, match=words):
            edit()


def some(space, start, stop):
    order = torch.randperm(len(space), generator=torch.Generator().manual_seed(3))
    return Selection(space, order[start:stop])


@pytest.mark.parametrize("strength", [0.0, 0.05, 0.4, 1.0, 1.5])
def test_one_function_is_the_papers_modulation_bit_by_bit(pair, strength):
    chosen = some(pair.space, 0, 40)
    assert torch.equal(dialled(pair, [(chosen, strength)]), modulated(pair, chosen, strength))


@pytest.mark.parametrize(("first", "second"), [(0.0, 0.0), (0.3, 1.0), (1.5, 0.2), (1.2, 1.4), (0.1, 0.6), (1.0, 1.0)])
def test_two_functions_with_common_filters_are_two_adapters_bit_by_bit(pair, first, second):
    chosen = (some(pair.space, 0, 60), some(pair.space, 40, 90))
    adapters = [(Adapter.of(pair, [each]), strength) for each, strength in zip(chosen, (first, second), strict=True)]
    expected = adapt(pair.network(pair.target), adapters)
    flat = torch.cat([parameter.detach().flatten() for parameter in expected.parameters()])
    assert torch.equal(dialled(pair, list(zip(chosen, (first, second), strict=True))), flat)


def test_a_common_filter_adds_the_largest_push_up_and_down(pair):
    chosen = some(pair.space, 0, 10)
    strengths = filter_strengths(pair.space, [(chosen, 1.5), (chosen, 0.25), (chosen, 0.5)])
    assert strengths[chosen.indices].tolist() == [1 + 0.5 - 0.75] * 10
    assert (strengths[~chosen.mask] == 1).all()


def test_nothing_dialled_is_the_target_and_everything_at_zero_the_baselines_filters(pair):
    everything = Selection(pair.space, torch.arange(len(pair.space)))
    assert torch.equal(dialled(pair, []), pair.target)
    off = dialled(pair, [(everything, 0.0)])
    filters = pair.weight_mask(everything.mask)
    assert torch.equal(off[filters], pair.baseline[filters])
    assert torch.equal(off[~filters], pair.target[~filters])


def test_foreign_filters_and_infinite_strengths_are_refused(pair):
    foreign = FilterSpace(SRResNet(features=4, blocks=1))
    with pytest.raises(FilterlensError, match="of another network"):
        dialled(pair, [(Selection(foreign, torch.tensor([0])), 0.5)])
    with pytest.raises(UsageError, match="Strength nan"):
        dialled(pair, [(some(pair.space, 0, 3), float("nan"))])
