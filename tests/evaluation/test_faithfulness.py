# SPDX-License-Identifier: Apache-2.0
"""Curves of removal and preservation, their area, and the fewest filters that remove a function."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from filterlens import ModelPair, Selection, UsageError, substitute
from filterlens.data.samples import as_samples
from filterlens.degradations import parse_degradations
from filterlens.evaluation.damage import ends_of, measure_damage, truth_of
from filterlens.evaluation.faithfulness import (
    Curve,
    Probe,
    Threshold,
    curves_of,
    measure_squares,
    smallest_removal,
)
from filterlens.run.tables import Edit
from tests.attribution.small_networks import Curved, Linear, make_pair, photographs

INPUTS = parse_degradations(["blur:1", "noise:0.1"])


def scores_of(pair, seed=0):
    return torch.rand(len(pair.space), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def curve(percents, values, masked="blur:1"):
    return Curve("any", masked, "blur:1", tuple(percents), tuple(values))


class Sum(nn.Module):
    """Eight filters whose outputs add up, so that removal is known for every set of them."""

    def __init__(self, weights, bias=0.0) -> None:
        super().__init__()
        self.scale = 1
        self.mix = nn.Conv2d(3, len(weights) // 3, 1)
        with torch.no_grad():
            self.mix.weight.copy_(torch.tensor(weights).view(-1, 3, 1, 1))
            self.mix.bias.fill_(bias)

    def forward(self, x):
        return self.mix(x)


def test_squares_are_those_of_the_damage_matrix():
    _, _, pair = make_pair()
    scores, samples = scores_of(pair), as_samples(photographs())
    squares = measure_squares(pair, {("any", "blur:1"): scores}, samples, INPUTS, percents=[5, 30])
    edits = {Edit("any", p, "blur:1"): Selection.top(pair.space, scores, p) for p in (5, 30)}
    damages, _ = measure_damage(pair, edits, samples, INPUTS)
    expected = {(d.edit, d.input, d.image): (d.residual, d.scale) for d in damages}
    assert len(squares) == len(expected) == 8
    for each in squares:
        assert (each.residual, each.scale) == pytest.approx(expected[each.edit, each.input, each.image])


def test_the_ends_are_computed_once_per_image_and_input(monkeypatch):
    _, _, pair = make_pair()
    runs = []
    original = type(pair).run
    monkeypatch.setattr(type(pair), "run", lambda self, *args: runs.append(1) or original(self, *args))
    rankings = {("a", "blur:1"): scores_of(pair), ("a", "noise:0.1"): scores_of(pair, 1)}
    measure_squares(pair, rankings, as_samples(photographs(3)), INPUTS, percents=[5, 10, 20])
    assert len(runs) == 3 * 2 * (2 + 2 * 3)


def test_curves_are_pooled_over_images_and_ascend_in_percent():
    _, _, pair = make_pair()
    squares = measure_squares(
        pair, {("a", "blur:1"): scores_of(pair)}, as_samples(photographs()), INPUTS, percents=[30, 5]
    )
    own, other = curves_of(squares)
    assert (own.input, other.input) == ("blur:1", "noise:0.1") and own.percents == other.percents == (5, 30)
    for each in (own, other):
        for percent, value in zip(each.percents, each.values, strict=True):
            rows = [s for s in squares if s.input == each.input and s.edit.percent == percent]
            assert value == pytest.approx(1 - sum(s.residual for s in rows) / sum(s.scale for s in rows))


def test_removing_every_filter_leaves_the_biases_of_the_target():
    _, _, pair = make_pair(Curved)
    samples = as_samples(photographs())
    squares = measure_squares(pair, {("a", "blur:1"): scores_of(pair)}, samples, INPUTS, percents=[100])
    edited = substitute(pair, Selection.top(pair.space, scores_of(pair), 100))
    (value,) = curves_of(squares)[0].values
    residual = scale = 0.0
    for sample in samples:
        end = ends_of(pair, truth_of(pair, sample), INPUTS["blur:1"], sample.name, "blur:1")
        with torch.no_grad():
            output = edited(end.lowered)
        residual += float((output - end.baseline).square().sum())
        scale += float((end.target - end.baseline).square().sum())
    assert value == pytest.approx(1 - residual / scale)
    assert value < 1, "the biases are not replaced"
    _, _, without = make_pair(Linear)
    squares = measure_squares(without, {("a", "blur:1"): scores_of(without)}, samples, INPUTS, percents=[100])
    assert [each.values for each in curves_of(squares)] == [(1.0,), (0.0,)]


def test_the_users_pair_stays_bit_identical():
    _, target, pair = make_pair()
    before = pair.target.clone(), pair.baseline.clone(), [p.clone() for p in target.parameters()]
    smallest_removal(pair, scores_of(pair), as_samples(photographs(1)), INPUTS["blur:1"])
    assert torch.equal(before[0], pair.target) and torch.equal(before[1], pair.baseline)
    assert all(torch.equal(a, b) for a, b in zip(before[2], target.parameters(), strict=True))


def test_the_area_is_the_integral_over_log_p():
    percents = np.geomspace(0.1, 20, 400)
    values = np.log(percents / 0.1) / np.log(200)
    assert curve(percents, values).area == pytest.approx(0.5)
    assert curve(percents, values**2).area == pytest.approx(1 / 3, abs=1e-5)
    coarse = curve([1, 10, 100], [0, 0.5, 0.6])
    assert coarse.area == pytest.approx((0.25 * math.log(10) + 0.55 * math.log(10)) / math.log(100))


def test_the_area_lies_between_0_and_1_whatever_breaks():
    assert curve([1, 10], [1.0, 1.0]).area == 1
    assert curve([1, 10], [-50.0, -900.0]).area == 0
    assert curve([1, 10], [-50.0, 1.0]).area == pytest.approx(0.5)
    assert curve([1], [0.3]).area == 0.3


def test_the_first_crossing_is_interpolated_in_log_p_and_a_fall_is_shown():
    rising = curve([1, 10], [0.5, 1.0])
    assert rising.reaches(0.75) == pytest.approx(10**0.5) and rising.fall == 0
    assert rising.reaches(0.2) == 1 and curve([1, 10], [0.1, 0.2]).reaches() is None
    falling = curve([1, 2, 5, 10], [0.2, 0.95, 0.7, 0.8])
    assert 1 < falling.reaches(0.9) < 2 and falling.fall == pytest.approx(0.25)


def test_the_threshold_is_the_fewest_filters_by_brute_force():
    _, _, pair = make_pair(Linear, change=0.5)
    samples, scores = as_samples(photographs()), scores_of(pair, 3)
    total = len(pair.space)
    squares = measure_squares(
        pair, {("a", "blur:1"): scores}, samples, {"blur:1": INPUTS["blur:1"]},
        percents=[100 * count / total for count in range(1, total + 1)],
    )  # fmt: skip
    values = curves_of(squares)[0].values
    for level in (0.2, 0.6, 0.95):
        found = smallest_removal(pair, scores, samples, INPUTS["blur:1"], level=level)
        assert found.reached is not None
        count = found.reached.filters
        assert found.reached.removal == pytest.approx(values[count - 1]) and values[count - 1] >= level
        assert count == 1 or values[count - 2] < level
        assert found.reached.percent == pytest.approx(100 * count / total)
        assert found.falls_again == any(values[p.filters - 1] < level for p in found.probes if p.filters > count)


def test_the_threshold_of_many_filters_is_bracketed_within_2_percent_and_few_forwards(monkeypatch):
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Conv2d(3, 150, 1, bias=False), nn.Conv2d(150, 3, 1)).double() for _ in range(2)]
    networks[1][1].load_state_dict(networks[0][1].state_dict())
    pair = ModelPair(*networks, scale=1)
    scores, runs = scores_of(pair), []
    original = type(pair).run
    monkeypatch.setattr(type(pair), "run", lambda self, *args: runs.append(1) or original(self, *args))
    found = smallest_removal(pair, scores, as_samples(photographs(1)), INPUTS["blur:1"], level=0.9)
    assert found.reached and found.below and found.below.removal < 0.9 <= found.reached.removal
    assert found.reached.filters <= max(found.below.filters + 1, 1.02 * found.below.filters)
    assert len(runs) == 2 + len(found.probes) <= 2 + 15


def test_a_function_that_sits_in_the_biases_is_never_removed():
    baseline, target = Sum([0.1] * 9), Sum([0.1] * 8 + [0.11], bias=3.0)
    pair = ModelPair(baseline, target)
    found = smallest_removal(pair, scores_of(pair), as_samples(photographs(1).float()), INPUTS["blur:1"])
    assert found.reached is None and found.below is not None and found.below.percent == 100
    assert not found.falls_again


def test_removal_that_falls_again_is_said():
    probes = Probe(1, 1.0, 0.2), Probe(2, 2.0, 0.95), Probe(8, 8.0, 0.7)
    assert Threshold(0.9, probes[1], probes[0], probes).falls_again
    assert not Threshold(0.9, probes[1], probes[0], probes[:2]).falls_again


def test_bfloat16_is_near_float32():
    torch.manual_seed(0)
    pair = ModelPair(Curved(), Curved())
    samples, scores = as_samples(photographs().float()), {("a", "blur:1"): scores_of(pair)}
    exact, rough = (
        curves_of(measure_squares(pair, scores, samples, INPUTS, percents=[10, 40], precision=each))
        for each in ("fp32", "bf16")
    )
    assert exact != rough
    assert rough[0].values == pytest.approx(exact[0].values, abs=0.03)


def test_wrong_use_is_refused():
    _, _, pair = make_pair()
    with pytest.raises(UsageError, match="0 is not a percentage"):
        measure_squares(pair, {("a", "blur:1"): scores_of(pair)}, [], INPUTS, percents=[0])
    with pytest.raises(
        UsageError, match="share of a function to remove = 90 is not legal: a number above 0 and below 1"
    ):
        smallest_removal(pair, scores_of(pair), [], INPUTS["blur:1"], level=90)
