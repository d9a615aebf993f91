# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from filterlens.editing.dial import substituted
from filterlens.evaluation.function_distance import removal
from filterlens.evaluation.stability import Agreement, agreement_of
from filterlens.paper.experiment import Verdict
from filterlens.paper.experiments.trust import page
from filterlens.paper.experiments.trust.measure import (
    Cascade,
    Change,
    Stability,
    TrustSettings,
    area_under,
    image_scores,
    measure_stability,
    reaches,
    removal_of,
)
from filterlens.paper.experiments.trust.page import curve_claims, randomisation_claims, stability_claims
from filterlens.report.figures import LIGHT, png

KINDS = ("blur:1", "noise:0.1")
SETTINGS = TrustSettings(
    percent=5, stable_methods=("faig", "ig"), checked=1, noise_seeds=(1,), fine=6, nodes=(2,), randomised_nodes=3,
    randomised_methods=("faig", "change-absolute"), depths=(0.01, 0.5), curve_methods=("faig", "random"),
    curve_percents=(1, 5, 20),
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(laboratory):
    return page.run(laboratory, SETTINGS)


@pytest.fixture(scope="module")
def tables(outcome):
    return {table.name: table for table in outcome.tables}


def test_the_mean_of_the_scores_per_image_is_the_ranking_from_all_images(laboratory):
    model = laboratory.target("tiny")
    for method in ("faig", "faig-no-elimination", "ig", "taylor"):
        whole = laboratory.attribute(model, [method], laboratory.finding)[method]
        each = image_scores(laboratory, model, method, laboratory.finding)
        for kind in KINDS:
            assert torch.allclose(
                each[kind].mean(0), whole.of(kind), rtol=1e-4, atol=1e-6 * float(whole.of(kind).max())
            )


def test_disjoint_images_are_compared_as_by_hand_and_target_models_too(laboratory):
    stability = measure_stability(laboratory, SETTINGS, "tiny")
    by_hand = []
    for model in laboratory.targets("tiny"):
        first, second = (
            laboratory.attribute(model, ["faig"], [sample])["faig"].of("blur:1") for sample in laboratory.finding
        )
        by_hand.append(agreement_of(first, second, 5))
    assert stability.halves.agreements["blur:1"] == tuple(by_hand)
    models = [laboratory.attribute(m, ["faig"], laboratory.finding)["faig"] for m in laboratory.targets("tiny")]
    (between,) = (change for change in stability.changes if change.what.startswith("target models"))
    assert between.agreements["noise:0.1"] == (agreement_of(*(each.of("noise:0.1") for each in models), 5),)


def test_every_kind_of_change_is_there_and_finer_nodes_agree_better(tables):
    rows = {row[0]: row for row in tables["stability-tiny"].rows if row[1] == "FAIG"}
    starts = [name.split(":")[0] for name in rows]
    assert starts[:4] == ["images", "target models", "noise", "quadrature"]
    adaptive, coarse = (row for name, row in rows.items() if name.startswith("quadrature"))
    assert adaptive[3].mean > 0.9 and adaptive[4].mean > coarse[4].mean


def test_the_change_of_weights_ignores_randomised_layers_and_faig_does_not(tables):
    rows = tables["randomised-tiny"].rows
    assert all(row[3:7] == pytest.approx((1, 1, 1, 1)) for row in rows if row[2] == "absolute change")
    faig = [row for row in rows if row[2] == "FAIG" and row[0] == "weights"]
    assert len(faig) == 2 and all(row[4] < 0.99 for row in faig)
    control = [row for row in rows if row[0] == "control"]
    assert len(control) == 2 and all(row[4] < 0.9 for row in control)


def test_a_point_of_the_curve_is_what_editing_by_hand_gives(laboratory, tables):
    values = []
    for model in laboratory.targets("tiny"):
        selection = laboratory.attribute(model, ["faig"], laboratory.finding)["faig"].select("noise:0.1", 5)
        sums = np.zeros(2)
        for sample in laboratory.judging("tiny"):
            lowered = laboratory.inputs["noise:0.1"].apply(sample.truth(2), 2, seed=0)
            vectors = substituted(model.pair, selection), model.pair.baseline, model.pair.target
            sums += removal(*(model.pair.run(vector, lowered) for vector in vectors))
        values.append(1 - sums[0] / sums[1])
    table = tables["faithfulness-tiny-noise-0.1"]
    row = next(row for row in table.rows if row[0] == "FAIG")
    assert row[table.columns.index("5 %")] == pytest.approx(np.mean(values))


def test_the_figures_can_be_drawn_and_a_second_run_reads_from_disk(laboratory, outcome, monkeypatch):
    assert all(png(panel, LIGHT).startswith(b"\x89PNG") for panel in outcome.panels)
    monkeypatch.setattr("filterlens.paper.judged.measure_damage", None)
    monkeypatch.setattr("filterlens.attribution.faig.FAIG.measure", None)
    assert page.run(laboratory, SETTINGS).tables == outcome.tables


def test_a_single_image_leaves_the_claim_on_images_open(laboratory, monkeypatch):
    monkeypatch.setattr(laboratory, "finding", laboratory.finding[:1])
    stability = measure_stability(laboratory, SETTINGS, "tiny")
    assert [claim.verdict for claim in stability_claims("tiny", stability)] == [Verdict.OPEN]


def agreement(overlap):
    return Agreement(overlap, overlap, 0.01)


def fabricated(images, numerics):
    """Stability with the given overlaps of blur and noise between halves of four images, and between numerics."""
    change = Change("images: disjoint halves of 2", "faig", {k: (agreement(images[k]),) for k in KINDS})
    one = Change("images: 1 against 3 others", "faig", {k: (agreement(0.5), agreement(0.7)) for k in KINDS})
    numeric = Change("precision", "faig", {k: (agreement(numerics[k]),) for k in KINDS}, numeric=True)
    return Stability(KINDS, 1.0, 4, (change, numeric), {"faig": {1: one, 2: change}})


@pytest.mark.parametrize(
    ("images", "numerics", "verdicts"),
    [
        ((0.85, 0.9), (0.99, 0.98), ["holds", "holds"]),
        ((0.85, 0.6), (0.8, 0.7), ["holds in part", "holds in part"]),
        ((0.7, 0.6), (0.5, 0.5), ["does not hold", "does not hold"]),
    ],
)
def test_claims_on_stability_can_hold_and_fail(images, numerics, verdicts):
    stability = fabricated(*(dict(zip(KINDS, each, strict=True)) for each in (images, numerics)))
    claims = list(stability_claims("tiny", stability))
    assert [claim.verdict.value for claim in claims] == verdicts
    assert "1 against 3 images: blur:1 60 % (50 to 70)" in claims[0].evidence


@pytest.mark.parametrize(
    ("left", "verdict"),
    [((0.2, 0.3), Verdict.HOLDS), ((0.2, 0.6), Verdict.PARTLY), ((0.9, 0.6), Verdict.FAILS)],
)
def test_the_claim_on_randomisation_is_judged_in_the_longest_cascade(left, verdict):
    stability = fabricated(dict.fromkeys(KINDS, 0.8), dict.fromkeys(KINDS, 1.0))
    cascades = [
        Cascade("weights", layers, 8, method, 1.0, {k: agreement(v) for k, v in zip(KINDS, values, strict=True)}, 0.1)
        for layers, method, values in (
            (1, "faig", (0.95, 0.95)), (6, "faig", left), (6, "change-absolute", (1, 1)),
        )
    ]  # fmt: skip
    cascades.append(Cascade("control", 6, 8, "random-layer-matched", 1.0, dict.fromkeys(KINDS, agreement(0.11)), None))
    (claim,) = randomisation_claims("tiny", cascades, stability)
    assert claim.verdict is verdict
    assert "last 6 of 8 layers" in claim.evidence and "the last 1 alone: blur:1 95 %" in claim.evidence
    assert "only the layers 11 %" in claim.evidence


def removal_like(method, kind, values, percents=(0.1, 1, 10)):
    scales = np.array([1.0, 3.0])[:, None]  # of two images that agree
    residual, scale = np.broadcast_arrays((1 - np.array(values)) * scales, scales)
    return removal_of(method, kind, percents, residual[None], scale[None], 0.9, 100)


def test_the_area_is_the_integral_over_log_p():
    percents = np.geomspace(0.1, 20, 400)
    values = np.log(percents / 0.1) / np.log(200)
    assert area_under(percents, values) == pytest.approx(0.5)
    assert area_under(percents, values**2) == pytest.approx(1 / 3, abs=1e-5)
    coarse = area_under([1, 10, 100], [0, 0.5, 0.6])
    assert coarse == pytest.approx((0.25 * math.log(10) + 0.55 * math.log(10)) / math.log(100))


def test_the_area_lies_between_0_and_1_whatever_breaks():
    assert area_under([1, 10], [1.0, 1.0]) == 1
    assert area_under([1, 10], [-50.0, -900.0]) == 0
    assert area_under([1, 10], [-50.0, 1.0]) == pytest.approx(0.5)
    assert area_under([1], [0.3]) == 0.3
    assert math.isnan(area_under([1, 10], [0.5, math.nan]))  # baseline and target do not differ


def test_the_first_crossing_is_interpolated_in_log_p_and_a_fall_is_shown():
    assert reaches([1, 10], [0.5, 1.0], 0.75) == pytest.approx(10**0.5)
    assert reaches([1, 10], [0.5, 1.0], 0.2) == 1 and reaches([1, 10], [0.1, 0.2], 0.9) is None
    assert removal_like("faig", "blur:1", (0.5, 1.0), (1, 10)).fall == 0
    falling = removal_like("faig", "blur:1", (0.2, 0.95, 0.7, 0.8), (1, 2, 5, 10))
    assert 1 < falling.needed.mean < 2 and falling.fall == pytest.approx(0.25)


def test_the_area_is_over_the_logarithm_and_its_interval_is_a_point_where_images_agree():
    found = removal_like("faig", "blur:1", (0, 0.5, 1))
    assert found.area.mean == pytest.approx((0.25 + 0.75) / 2)
    assert (found.area.low, found.area.high) == pytest.approx((0.5, 0.5))
    assert found.needed.mean == pytest.approx(10**0.8)  # 0.9 lies four fifths between 1 % and 10 %


def test_target_models_are_averaged_and_one_that_never_reaches_the_level_leaves_it_open():
    weak, strong = (np.array([[1 - v for v in values]] * 2) for values in ((0, 0.5), (0.5, 1)))

    def joined(*models):
        residual = np.stack(models)
        return removal_of("faig", "blur:1", (1, 10), residual, np.ones_like(residual), 0.9, 100)

    both = joined(weak, strong)
    assert both.mean == pytest.approx((0.25, 0.75)) and both.area.mean == pytest.approx(0.5)
    assert both.area.sd == pytest.approx(np.std([0.25, 0.75], ddof=1))
    assert both.needed is None and joined(strong, strong).needed.mean == pytest.approx(10**0.8)


@pytest.mark.parametrize(
    ("faig", "verdicts"),
    [((0.5, 0.95, 0.9), ["holds", "holds"]), ((0.1, 0.2, 0.3), ["does not hold", "does not hold"])],
)
def test_claims_on_the_curves_can_hold_and_fail(faig, verdicts):
    removals = [removal_like(m, k, v) for k in KINDS for m, v in (("faig", faig), ("ig", (0.3, 0.6, 0.91)))]
    claims = list(curve_claims("tiny", removals))
    assert [claim.verdict.value for claim in claims] == verdicts
    if verdicts[0] != "holds":
        assert "reaches 0.30 at most" in claims[0].evidence and "not by 10 %" in claims[1].evidence


def test_where_no_method_removes_enough_none_needs_the_fewest():
    removals = [removal_like(m, "blur:1", (0.1, 0.2, 0.3)) for m in ("faig", "random")]
    assert list(curve_claims("tiny", removals))[1].verdict is Verdict.FAILS
