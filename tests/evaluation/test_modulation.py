# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.editing.dial import modulated
from filterlens.evaluation.modulation import (
    AllWeights,
    FilterKnob,
    OutputBlend,
    best_strength,
    measure_knobs,
    preservation_at,
)
from filterlens.filters import Selection
from filterlens.metrics import psnr
from tests.attribution.small_networks import make_pair, photographs

INPUTS = {name: Degradation.parse(name) for name in ("blur:1", "clean")}
STRENGTHS = (0.0, 0.5, 1.0, 1.5)


@pytest.fixture(scope="module")
def pair():
    return make_pair()[2]


@pytest.fixture(scope="module")
def some(pair):
    return Selection(pair.space, torch.arange(0, len(pair.space), 3))


@pytest.fixture(scope="module")
def rows(pair, some):
    knobs = {
        "filters": (FilterKnob(some), ("blur:1",)),
        "all": (AllWeights(), tuple(INPUTS)),
        "blend": (OutputBlend(), tuple(INPUTS)),
    }
    sample = Sample("a", lambda: photographs(1)[0])
    found = measure_knobs(pair, knobs, sample, INPUTS, STRENGTHS)
    return {(row.knob, row.input, row.strength): row for row in found}


def test_every_number_is_what_the_formula_gives(pair, some, rows):
    truth = photographs(1)
    lowered = INPUTS["blur:1"].apply(truth, 2, seed=0)
    baseline, target = pair.run(pair.baseline, lowered), pair.run(pair.target, lowered)
    for strength in STRENGTHS:
        expected = {
            "filters": pair.run(modulated(pair, some, strength), lowered),
            "all": pair.run(pair.baseline + strength * pair.change, lowered),
            "blend": baseline + strength * (target - baseline),
        }
        for knob, output in expected.items():
            row = rows[knob, "blur:1", strength]
            assert row.psnr == pytest.approx(float(psnr(output, truth, crop=2)), abs=1e-4)
            assert row.to_baseline == pytest.approx(float((output - baseline).square().sum()), rel=1e-9, abs=1e-15)
            assert row.to_target == pytest.approx(float((output - target).square().sum()), rel=1e-9, abs=1e-15)
            assert row.scale == pytest.approx(float((target - baseline).square().sum()))


def test_knobs_are_tried_on_their_own_inputs_alone(rows):
    assert {key[1] for key in rows if key[0] == "filters"} == {"blur:1"}
    assert {key[1] for key in rows if key[0] == "all"} == set(INPUTS)
    assert len(rows) == (1 + 2 + 2) * len(STRENGTHS)


def test_at_one_every_knob_is_the_target_and_at_zero_all_weights_are_the_baseline(rows):
    assert all(row.to_target == 0 for key, row in rows.items() if key[2] == 1)
    assert rows["all", "clean", 0].to_baseline == rows["blend", "clean", 0].to_baseline == 0
    assert rows["filters", "blur:1", 0].to_baseline > 0


def test_a_blend_removes_by_one_minus_lambda_squared(rows):
    for strength in STRENGTHS:
        row = rows["blend", "blur:1", strength]
        assert 1 - row.to_baseline / row.scale == pytest.approx(1 - strength**2)
        assert 1 - row.to_target / row.scale == pytest.approx(1 - (1 - strength) ** 2)


def test_the_pair_stays_bit_identical(pair, some):
    before = pair.baseline.clone(), pair.target.clone()
    measure_knobs(pair, {"f": (FilterKnob(some), INPUTS)}, Sample("a", lambda: photographs(1)[0]), INPUTS, (0.3, 1.4))
    assert torch.equal(pair.baseline, before[0]) and torch.equal(pair.target, before[1])


@pytest.mark.parametrize("vertex", [0.83, 1.0, 1.13])
def test_the_best_strength_of_a_parabola_is_its_vertex_on_uneven_points(vertex):
    strengths = (0, 0.4, 0.7, 0.9, 1.0, 1.1, 1.35, 1.5)
    assert best_strength(strengths, 30 - (np.array(strengths) - vertex) ** 2) == pytest.approx(vertex)


def test_at_the_ends_of_the_range_the_best_strength_is_that_end():
    assert best_strength((0, 1, 1.5), (3, 2, 1)) == 0
    assert best_strength((0, 1, 1.5), (1, 2, 3)) == 1.5
    assert best_strength((0, 1, 1.5), (2, 2, 2)) == 0


@pytest.mark.parametrize("level", [0.0, 0.31, 0.5, 0.9, 0.999])
def test_between_points_a_blend_keeps_exactly_what_the_formula_says(level):
    down = (1, 0.75, 0.5, 0.25, 0)
    kept = preservation_at([1 - x**2 for x in down], [1 - (1 - x) ** 2 for x in down], level)
    assert kept == pytest.approx(1 - (1 - math.sqrt(1 - level)) ** 2)


def test_the_first_crossing_counts_and_none_where_there_is_none():
    assert preservation_at([0, 0.6, 0.4, 0.7], [1, 0.9, 0.5, 0.1], 0.6) == pytest.approx(0.9)
    assert preservation_at([0, 0.6, 0.4], [1, 0.9, 0.5], 0.61) is None
