# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from filterlens.evaluation.statistics import Estimate
from filterlens.paper.experiment import is_above, is_below
from filterlens.paper.judged import others_of
from filterlens.run.tables import Damage, Edit
from tests.paper.rows import judged_from_rows

BLUR, NOISE = "blur:1", "noise:0.1"
FIRST, SECOND = Edit("first", 1.0, BLUR), Edit("second", 1.0, BLUR)


def judged_from(rows, seeds=1):
    """Build what was judged: edit → kind → per image (distance, residual, scale); the same for every seed."""
    damages = []
    for edit, kinds in rows.items():
        for kind, images in kinds.items():
            for seed in range(seeds):
                for number, (distance, residual, scale) in enumerate(images):
                    damage = Damage(edit, kind, str(number), distance, distance, 30.0, 0.9, residual, scale)
                    damages.append((seed, damage))
    return judged_from_rows(damages, (), 300)


def random_rows(seed):
    numbers = np.random.default_rng(seed).uniform(0.1, 1, size=(2, 5, 3)).tolist()
    return {BLUR: numbers[0], NOISE: numbers[1]}


def test_selectivity_is_removal_plus_preservation_less_one_pooled_over_images():
    rows = random_rows(0)
    found = judged_from({FIRST: rows}).selectivity(FIRST, [NOISE])
    own, other = np.array(rows[BLUR]), np.array(rows[NOISE])
    removal = 1 - own[:, 1].sum() / own[:, 2].sum()
    preservation = 1 - other[:, 1].sum() / other[:, 2].sum()
    assert found.mean == pytest.approx(removal + preservation - 1)
    assert found.low < found.mean < found.high


@pytest.mark.parametrize(("own", "other"), [(1.0, 0.0), (0.0, 1.0)], ids=["nothing replaced", "everything replaced"])
def test_neither_leaving_the_network_alone_nor_replacing_all_of_it_is_selective(own, other):
    rows = {FIRST: {BLUR: [(0, own, 1.0)] * 2, NOISE: [(0, other, 1.0)] * 2}}
    assert judged_from(rows).selectivity(FIRST, [NOISE]).mean == pytest.approx(0)


def test_the_ideal_edit_has_selectivity_one_and_a_broken_network_less_than_zero():
    ideal = {FIRST: {BLUR: [(0, 0.0, 1.0)] * 2, NOISE: [(0, 0.0, 1.0)] * 2}}
    broken = {FIRST: {BLUR: [(9, 9.0, 1.0)] * 2, NOISE: [(9, 9.0, 1.0)] * 2}}
    assert judged_from(ideal).selectivity(FIRST, [NOISE]).mean == 1
    assert judged_from(broken).selectivity(FIRST, [NOISE]).mean < 0


def test_a_gain_is_paired_so_that_equal_edits_differ_by_exactly_nothing():
    rows = random_rows(1)
    judged = judged_from({FIRST: rows, SECOND: rows}, seeds=2)
    for gain in (judged.selectivity_gain(FIRST, SECOND, [NOISE]), judged.distance_gain(FIRST, SECOND, BLUR)):
        assert (gain.mean, gain.low, gain.high) == (0, 0, 0)


def test_a_gain_is_the_difference_of_both_values():
    judged = judged_from({FIRST: random_rows(1), SECOND: random_rows(2)})
    gain = judged.selectivity_gain(FIRST, SECOND, [NOISE])
    values = [judged.selectivity(edit, [NOISE]).mean for edit in (FIRST, SECOND)]
    assert gain.mean == pytest.approx(values[0] - values[1])
    distances = [judged.distance(edit, BLUR).mean for edit in (FIRST, SECOND)]
    assert judged.distance_gain(FIRST, SECOND, BLUR).mean == pytest.approx(distances[0] - distances[1])


def test_a_single_image_and_target_model_have_no_interval():
    rows = {FIRST: {kind: each[:1] for kind, each in random_rows(3).items()}}
    found = judged_from(rows).selectivity(FIRST, [NOISE])
    assert found.low is None and found.high is None


def test_an_interval_that_holds_zero_is_neither_above_nor_below():
    assert not is_above(Estimate(1, -0.1, 2)) and not is_below(Estimate(-1, -2, 0.1))
    assert is_above(Estimate(1, 0.1, 2)) and is_below(Estimate(-1, -2, -0.1))
    assert is_above(Estimate(1)) and is_below(Estimate(1), 2)


def test_what_must_stay_is_every_other_degradation_or_else_the_clean_input():
    assert others_of(BLUR, [BLUR, NOISE]) == [NOISE]
    assert others_of(BLUR, [BLUR]) == ["clean"]
