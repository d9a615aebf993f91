# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from filterlens.data.samples import as_samples
from filterlens.degradations import Degradation
from filterlens.editing.dial import substituted
from filterlens.evaluation.function_distance import function_distance, removal
from filterlens.paper.experiment import Verdict
from filterlens.paper.experiments import masking
from filterlens.paper.experiments.masking import MaskingSettings
from filterlens.paper.judged import View, judge, selections_of
from filterlens.run.tables import Damage, Edit
from tests.paper.rows import judged_from_rows

METHODS = ("faig", "ig", "change-relative", "random")
SETTINGS = MaskingSettings(percents=(5.0,), methods=METHODS)


@pytest.fixture(scope="module")
def outcome(laboratory):
    return masking.run(laboratory, SETTINGS)


@pytest.fixture(scope="module")
def judged(laboratory):
    models = laboratory.targets("tiny")
    edited = [
        (model, selections_of(laboratory.attribute(model, ["faig"], laboratory.finding), (5.0,), ("blur:1",)))
        for model in models
    ]
    return judge(laboratory, edited, laboratory.judging("tiny"))


def test_the_table_is_what_editing_and_measuring_by_hand_gives(laboratory, folders, judged):
    means, shares = [], []
    for model in laboratory.targets("tiny"):
        selection = laboratory.attribute(model, ["faig"], laboratory.finding)["faig"].select("blur:1", 5)
        distances, residual, scale = [], 0.0, 0.0
        for sample in as_samples(folders[1]):
            lowered = Degradation.parse("blur:1").apply(sample.truth(2), 2, seed=0)
            vectors = model.pair.baseline, model.pair.target, substituted(model.pair, selection)
            baseline, target, edited = (model.pair.run(vector, lowered) for vector in vectors)
            distances.append(float(function_distance(edited, target)))
            part = removal(edited, baseline, target)
            residual, scale = residual + part[0], scale + part[1]
        means.append(np.mean(distances))
        shares.append(1 - residual / scale)
    edit = Edit("faig", 5.0, "blur:1")
    assert judged.distance(edit, "blur:1").mean == pytest.approx(np.mean(means))
    assert judged.distance(edit, "blur:1").sd == pytest.approx(np.std(means, ddof=1))
    assert judged.share(edit, "blur:1").mean == pytest.approx(np.mean(shares))


def test_every_table_has_a_row_per_method_and_both_ways_are_there(outcome):
    names = [table.name for table in outcome.tables]
    assert {name.split("-")[2] for name in names if name.startswith("own")} == {"held", "same"}
    assert all(len(table.rows) == len(METHODS) for table in outcome.tables if not table.name.startswith("networks"))
    assert [row[0] for row in outcome.tables[0].rows] == ["baseline", "target"]


def test_a_second_run_reads_everything_from_disk(laboratory, outcome, monkeypatch):
    monkeypatch.setattr("filterlens.paper.judged.measure_damage", None)
    assert masking.run(laboratory, SETTINGS).tables == outcome.tables


def fabricated(distances):
    """Build a view in which method → (own damage, cross damage)."""
    damages = []
    for method, (own, cross) in distances.items():
        for kind in ("blur:1", "noise:0.1"):
            for seen in ("blur:1", "noise:0.1"):
                edit = Edit(method, 1.0, kind)
                value = own if seen == kind else cross
                damages.append((0, Damage(edit, seen, "a", value, value, 30.0, 0.9, 0.1, 1.0)))
    return View("tiny", 1.0, ("blur:1", "noise:0.1"), judged_from_rows(damages, (), 100))


@pytest.mark.parametrize(
    ("own", "verdict"),
    [((4, 3, 2, 1), Verdict.HOLDS), ((3, 4, 2, 1), Verdict.PARTLY), ((1, 2, 3, 4), Verdict.FAILS)],
)
def test_the_claim_of_the_order_can_hold_and_fail(own, verdict):
    view = fabricated({method: (value, 0) for method, value in zip(METHODS, own, strict=True)})
    assert masking._order(view).verdict == verdict


@pytest.mark.parametrize(("cross", "verdict"), [(1, Verdict.HOLDS), (2, Verdict.FAILS)])
def test_the_claim_of_specific_filters_can_hold_and_fail(cross, verdict):
    assert masking._own_above_cross(fabricated({"faig": (4, cross)})).verdict == verdict


def test_methods_that_the_claims_need_are_asked_for_before_any_work():
    with pytest.raises(ValueError, match="ig, random must be among the methods"):
        MaskingSettings(methods=("faig", "change-relative"))
