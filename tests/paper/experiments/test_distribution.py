# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from torch import nn

from filterlens.attribution.faig import FAIG
from filterlens.diagnosis.distribution import distribution as counted
from filterlens.diagnosis.distribution import mean_depth, uniformity
from filterlens.evaluation.statistics import draw_counts
from filterlens.filters import FilterSpace, Selection
from filterlens.paper.experiment import Verdict
from filterlens.paper.experiments import distribution
from filterlens.paper.experiments.distribution import (
    DistributionSettings,
    Places,
    group_shares,
    image_scores,
    places_of,
    tick_map,
    ticks,
)
from filterlens.report.figures import LIGHT, png

BLUR, NOISE = "blur:1", "noise:0.1"
SETTINGS = DistributionSettings(percent=5.0, draws=60)
SPACE = FilterSpace(nn.Sequential(*(nn.Conv2d(10, 10, 3) for _ in range(5))))  # 5 layers of 100 filters


@pytest.fixture(scope="module")
def places(laboratory):
    return places_of(laboratory, "tiny", 5.0, 60)


def test_the_mean_of_the_scores_of_single_images_is_faigs_score(laboratory):
    model = laboratory.targets("tiny")[0]
    whole = laboratory.attribute(model, ["faig"], laboratory.finding)["faig"]
    single = image_scores(laboratory, model).mean(0)
    for number, kind in enumerate((BLUR, NOISE)):
        torch.testing.assert_close(single[number].float(), whole.of(kind))


def test_the_scores_of_single_images_share_their_measurements_with_other_experiments(laboratory, monkeypatch):
    model = laboratory.targets("tiny")[0]
    laboratory.attribute(model, ["faig"], laboratory.finding)
    monkeypatch.setattr(FAIG, "measure", None)
    assert len(image_scores(laboratory, model)) == len(laboratory.finding)


def test_the_shares_of_a_draw_are_those_of_the_ranking_by_the_weighted_mean():
    scores = torch.rand(3, 2, len(SPACE), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counts = torch.from_numpy(draw_counts(3, 20, seed=4) / 3)
    found = group_shares(SPACE.layer_index, len(SPACE.layers), scores, counts, 7.0)
    for row in (0, 7, 19):
        for kind in range(2):
            weighted = sum(float(weight) * score for weight, score in zip(counts[row], scores[:, kind], strict=True))
            shares = [layer.share for layer in counted(Selection.top(SPACE, weighted, 7.0))]
            np.testing.assert_allclose(found[row, kind], shares, atol=1e-12)


def test_depth_and_distance_are_those_of_the_selections_averaged_over_target_models(places):
    for kind in (BLUR, NOISE):
        chosen = [each[kind] for each in places.selections]
        depth, distance = places.depth(kind), places.distance(kind)
        assert depth.mean == pytest.approx(np.mean([mean_depth(each) for each in chosen]))
        assert depth.sd == pytest.approx(np.std([mean_depth(each) for each in chosen], ddof=1))
        assert distance.mean == pytest.approx(np.mean([uniformity(each, draws=10).distance for each in chosen]))
        assert depth.low <= depth.mean <= depth.high


def test_a_difference_is_paired_over_images_and_target_models(places):
    same = places.depth_difference(BLUR, BLUR)
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    both = [places.depth(kind).mean for kind in (BLUR, NOISE)]
    assert places.depth_difference(BLUR, NOISE).mean == pytest.approx(both[0] - both[1])


def test_ticks_lie_where_the_filters_are():
    selection = Selection.of(SPACE, ["0.weight[0, 0]", "0.weight[9, 9]", "3.weight[5, 0]"])
    rows = ticks(selection)
    assert rows[0] == pytest.approx([0.005, 0.995]) and rows[3] == pytest.approx([0.505])
    assert rows[1] == rows[2] == rows[4] == []
    panel = tick_map("stem", "title", selection)
    assert "0 2, 3 1" in panel.alt and png(panel, LIGHT).startswith(b"\x89PNG")


def places_in(**layers):
    """Build places in which the found filters of blur and noise lie in given layers: numbers per layer."""
    selections, shares = {}, {}
    for kind, counts in zip((BLUR, NOISE), layers.values(), strict=True):
        indices = [number * 100 + each for number, count in enumerate(counts) for each in range(count)]
        selections[kind] = Selection(SPACE, torch.tensor(indices))
        shares[kind] = np.array([counts]) / sum(counts)
    draws = {kind: np.repeat(each, 30, axis=0) for kind, each in shares.items()}
    return Places("tiny", SPACE, [selections], shares, draws, 2)


BACK, FRONT, EVEN = (0, 0, 2, 9, 9), (9, 9, 2, 0, 0), (4, 4, 4, 4, 4)
HOLDS, PARTLY, FAILS = Verdict.HOLDS, Verdict.PARTLY, Verdict.FAILS


@pytest.mark.parametrize(
    ("blur", "noise", "verdicts"),  # back part, uniform, more uniform, deeper
    [
        (BACK, EVEN, [HOLDS, HOLDS, HOLDS, HOLDS]),
        (FRONT, BACK, [FAILS, FAILS, FAILS, FAILS]),
        (EVEN, (10, 0, 0, 0, 10), [FAILS, PARTLY, FAILS, FAILS]),  # as deep as chance, and not uniform
        (BACK, FRONT, [HOLDS, FAILS, FAILS, HOLDS]),
    ],
)
def test_the_claims_can_hold_and_fail(blur, noise, verdicts):
    claims = list(distribution.claims_of(places_in(blur=blur, noise=noise)))
    assert [claim.verdict for claim in claims] == verdicts


def test_the_page_has_a_row_per_layer_and_a_map_per_degradation(laboratory):
    outcome = distribution.run(laboratory, SETTINGS)
    tables = {table.name: table for table in outcome.tables}
    space = laboratory.targets("tiny")[0].pair.space
    assert [row[0] for row in tables["layers-tiny"].rows] == [layer.name for layer in space.layers]
    assert sum(row[3].mean for row in tables["layers-tiny"].rows) == pytest.approx(1)
    assert [panel.stem for panel in outcome.panels] == ["ticks-tiny-blur-1", "ticks-tiny-noise-0.1", "shares-tiny"]
    assert all(png(panel, LIGHT).startswith(b"\x89PNG") for panel in outcome.panels)


def test_with_elimination_the_two_sets_are_disjoint_and_the_page_says_what_they_share_without(laboratory):
    outcome = distribution.run(laboratory, SETTINGS)
    (overlaps,) = [table for table in outcome.tables if table.name == "overlap"]
    assert [row[1] for row in overlaps.rows] == ["FAIG", "FAIG without elimination"]
    assert overlaps.rows[0][3].mean == 0
    assert overlaps.rows[1][4] == pytest.approx(0.05, abs=0.001)
