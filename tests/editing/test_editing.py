# SPDX-License-Identifier: Apache-2.0
"""Editing: what is replaced, what is not, and what stays whole."""

import pytest
import torch

from filterlens import Adapter, FilterlensError, ModelPair, Selection, UsageError, adapt, modulate, substitute
from filterlens.editing.modulate import modulated
from filterlens.editing.substitute import substituted
from tests.attribution.small_networks import Linear, make_pair


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
