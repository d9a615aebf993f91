# SPDX-License-Identifier: Apache-2.0
"""The control that keeps of a ranking only how much its filters changed."""

import pytest
import torch
from torch import nn

from filterlens import ModelPair, UsageError
from filterlens.attribution.image_free import MagnitudeMatchedRandom
from filterlens.attribution.result import Attribution

NAMES = ["blur:1", "noise:0.1"]


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Conv2d(3, 60, 3), nn.Conv2d(60, 60, 1), nn.Conv2d(60, 3, 3)) for _ in range(2)]
    return ModelPair(*networks, scale=1)


@pytest.fixture(scope="module")
def guide(pair):
    generator = torch.Generator().manual_seed(1)
    change = pair.pool(pair.change.abs())
    scores = {name: change * torch.rand(len(pair.space), generator=generator) for name in NAMES}
    return Attribution("guide", pair.space, scores)


def bin_of(pair, bins):
    """The bin of every filter, from the sorted change written out."""
    change = [
        (new - old).abs().sum((2, 3)).flatten()
        for old, new in zip(pair.unflatten(pair.baseline).values(), pair.unflatten(pair.target).values(), strict=True)
        if new.ndim == 4
    ]
    order = torch.argsort(torch.cat(change), descending=True, stable=True)
    size, rest = divmod(len(order), bins)
    numbers = torch.repeat_interleave(torch.arange(bins), torch.tensor([size + (i < rest) for i in range(bins)]))
    found = torch.empty_like(order)
    found[order] = numbers
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_percentage_has_as_many_filters_in_every_bin_as_the_guide(pair, guide, name):
    control = MagnitudeMatchedRandom(pair, like=guide, bins=100, seed=3).attribute([], NAMES)
    bins = bin_of(pair, 100)
    for percent in (0.5, 1, 3, 10, 50, 100):
        one, other = guide.select(name, percent), control.select(name, percent)
        counts = [bins[each.indices].bincount(minlength=100) for each in (one, other)]
        assert torch.equal(*counts)


def test_within_a_bin_the_choice_is_random(pair, guide):
    control = MagnitudeMatchedRandom(pair, like=guide, bins=100, seed=3).attribute([], NAMES)
    one, other = guide.select("blur:1", 1), control.select("blur:1", 1)
    assert one.overlap(other) < 0.5
    counts = bin_of(pair, 100)[one.indices].bincount(minlength=100).double()
    sizes = bin_of(pair, 100).bincount(minlength=100)
    draws = [
        guide.select("blur:1", 10).overlap(
            MagnitudeMatchedRandom(pair, like=guide, bins=100, seed=seed).attribute([], NAMES).select("blur:1", 10)
        )
        for seed in range(30)
    ]
    counts = bin_of(pair, 100)[guide.select("blur:1", 10).indices].bincount(minlength=100).double()
    expected = float((counts**2 / sizes).sum() / counts.sum())
    assert sum(draws) / len(draws) == pytest.approx(expected, abs=0.02)


def test_the_change_of_the_chosen_filters_is_that_of_the_guide(pair, guide):
    change = pair.pool(pair.change.abs())
    control = MagnitudeMatchedRandom(pair, like=guide, seed=0).attribute([], NAMES)
    for percent in (1, 10):
        one, other = (change[each.select("blur:1", percent).indices].mean() for each in (guide, control))
        assert float(other / one) == pytest.approx(1, abs=0.02)
    assert float(change[guide.select("blur:1", 1).indices].mean() / change.mean()) > 1.2, "else nothing is shown"


def test_seed_and_degradation_decide(pair, guide):
    first, again, other = (
        MagnitudeMatchedRandom(pair, like=guide, seed=seed).attribute([], NAMES).of("blur:1") for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(first.sort().values, guide.of("blur:1").sort().values)


def test_bins_are_never_so_small_that_nothing_is_shuffled(pair, guide):
    method = MagnitudeMatchedRandom(pair, like=guide, bins=10**6)
    assert min(len(members) for members in method.groups()) >= 10
    assert method.attribute([], NAMES).settings["bins"] == method.bins == len(pair.space) // 10


def test_wrong_use_is_refused(pair, guide):
    with pytest.raises(UsageError, match="0 bins"):
        MagnitudeMatchedRandom(pair, like=guide, bins=0)
    with pytest.raises(UsageError, match="degradation of the matched attribution 'jpeg:30'"):
        MagnitudeMatchedRandom(pair, like=guide).attribute([], ["jpeg:30"])
