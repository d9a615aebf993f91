# SPDX-License-Identifier: Apache-2.0
"""Several functions dialled at once: the same as modulation for one, and as adapters for many."""

import pytest
import torch

from filterlens.editing.adapt import adapt
from filterlens.editing.adapter import Adapter
from filterlens.editing.modulate import modulated
from filterlens.errors import FilterlensError, UsageError
from filterlens.filters import FilterSpace, Selection
from filterlens.jobs.studio.dialling import dialled, filter_strengths
from filterlens.models.srresnet import SRResNet


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
