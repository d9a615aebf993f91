# SPDX-License-Identifier: Apache-2.0
from itertools import permutations

import pytest
import torch

from filterlens.attribution.result import Attribution
from filterlens.errors import UsageError
from filterlens.paper.experiment import Verdict
from filterlens.paper.experiments.three_degradations import page
from filterlens.paper.experiments.three_degradations.measure import ThreeDegradationsSettings, contrasts, methods_of
from filterlens.paper.experiments.three_degradations.page import (
    above_rivals,
    goal_directed,
    mean_against_maximum,
    own_above_cross,
    sets_are_apart,
)
from filterlens.paper.judged import View
from filterlens.paper.laboratory import Laboratory
from filterlens.report.figures import LIGHT, png
from filterlens.run.tables import Damage, Edit, Quality
from tests.paper.conftest import tiny_pair
from tests.paper.rows import judged_from_rows

THREE = ("blur:1", "noise:0.1", "jpeg:30")
SETTINGS = ThreeDegradationsSettings(
    pair="tiny", degradations=THREE, percents=(5.0,), methods=("faig", "faig-max", "random"), nodes=2, patches=1,
    images=1, calibration_images=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(laboratory):
    return page.run(laboratory, SETTINGS)


@pytest.mark.parametrize(("name", "contrast"), [("faig", "mean"), ("faig-max", "max")])
def test_both_contrasts_from_one_measurement_are_those_of_the_method(laboratory, name, contrast):
    model = laboratory.target("tiny")
    mine = contrasts(laboratory, model, laboratory.finding, THREE)[name]
    settings = {"contrast": contrast}
    theirs = laboratory.attribute(model, ["faig"], laboratory.finding, THREE, **settings)["faig"]
    assert mine.degradations == theirs.degradations
    for kind in THREE:
        assert torch.equal(mine.of(kind), theirs.of(kind))
    assert mine.settings["contrast"] == contrast


def test_the_matrix_has_a_row_per_method_and_degradation(outcome):
    tables = {table.name: table for table in outcome.tables}
    damage = tables["damage-5"]
    assert damage.columns[2:] == ("blur:1 input", "noise:0.1 input", "jpeg:30 input", "clean input")
    assert [row[1] for row in damage.rows] == list(THREE) * 3
    assert len(tables["overlap-sets"].rows) == len(tables["depth"].rows) == 9
    assert all(len(row) == len(table.columns) for table in outcome.tables for row in table.rows)


def test_all_seven_kinds_of_input_are_told(outcome):
    (table,) = [table for table in outcome.tables if table.name == "confusion"]
    assert [row[0] for row in table.rows][:4] == ["clean", *THREE]
    assert len(table.rows) == 7


def test_figures_can_be_drawn(outcome):
    stems = [panel.stem for panel in outcome.panels]
    assert stems[:3] == ["damage-faig", "share-faig", "layers"]
    assert len(set(stems)) == len(stems)
    assert all(png(panel, LIGHT).startswith(b"\x89PNG") for panel in outcome.panels)


def test_a_second_run_reads_everything_from_disk(laboratory, outcome, monkeypatch):
    monkeypatch.setattr("filterlens.paper.overlaps.input_magnitudes", None)
    monkeypatch.setattr("filterlens.paper.judged.measure_damage", None)
    assert page.run(laboratory, SETTINGS).claims == outcome.claims


def test_a_pair_that_does_not_ship_is_named_with_those_that_do(common, tmp_path):
    settings = SETTINGS.model_copy(update={"pair": "srresnet-x2-k9"})
    with pytest.raises(UsageError, match=r"'srresnet-x2-k9'.*srcnn-style-x2, srresnet-x2"):
        page.run(Laboratory(tmp_path, common), settings)


def test_faig_comes_first_and_a_typo_is_refused():
    wanted = ThreeDegradationsSettings(methods=("random", "goal-directed"))
    assert methods_of(wanted) == ["faig", "random", "goal-directed"]
    with pytest.raises(UsageError, match="'fiag'"):
        methods_of(ThreeDegradationsSettings(methods=("fiag",)))


def fabricated(own=4.0, cross=1.0, removed=0.9, kept=0.9, **methods):
    """Damages of FAIG and of other methods: method → the same numbers, where they differ."""
    damages, qualities = [], []
    for method, changes in {"faig": {}, **methods}.items():
        numbers = {"own": own, "cross": cross, "removed": removed, "kept": kept} | changes
        for masked in THREE:
            for kind in THREE:
                same, edit = masked == kind, Edit(method, 1.0, masked)
                distance = numbers["own"] if same else numbers["cross"]
                residual = 1 - (numbers["removed"] if same else numbers["kept"])
                for image in "ab":
                    row = Damage(edit, kind, image, distance, distance, 30.0, 0.9, residual, 1.0)
                    damages.append((0, row))
    for network, kind in [(network, kind) for network in ("baseline", "target") for kind in THREE]:
        level = 30.0 if network == "target" else 25.0
        qualities += [(0, Quality(network, kind, image, level, 0.9)) for image in "ab"]
    return View("tiny", 1.0, THREE, judged_from_rows(damages, qualities, 100))


@pytest.mark.parametrize(("cross", "verdict"), [(1.0, Verdict.HOLDS), (2.0, Verdict.FAILS)])
def test_the_claim_of_own_filters_can_hold_and_fail(cross, verdict):
    claim = own_above_cross(fabricated(cross=cross))
    assert claim.verdict == verdict
    assert "removal 0.90 of a function worth 5.0 dB" in claim.evidence


@pytest.mark.parametrize(("value", "verdict"), [(1.0, Verdict.HOLDS), (5.0, Verdict.FAILS)])
def test_the_claim_against_random_filters_can_hold_and_fail(value, verdict):
    view = fabricated(random={"own": value})
    assert above_rivals(view, ["random"]).verdict == verdict


@pytest.mark.parametrize(("kept", "verdict"), [(0.5, Verdict.HOLDS), (0.9, Verdict.HOLDS), (0.99, Verdict.FAILS)])
def test_the_mean_loses_only_to_a_maximum_that_keeps_more(kept, verdict):
    claim = mean_against_maximum(fabricated(**{"faig-max": {"kept": kept}}))
    assert claim.verdict == verdict
    assert f"which keep 0.90 and {kept:.2f} of the others" in claim.evidence


@pytest.mark.parametrize(("kept", "verdict"), [(0.99, Verdict.HOLDS), (0.9, Verdict.FAILS)])
def test_the_goal_directed_ranking_must_be_better(kept, verdict):
    view = fabricated(**{"goal-directed": {"kept": kept}})
    assert goal_directed(view).verdict == verdict


def ranked(common):
    """Three degradations whose top 10 % share ``common`` filters each."""
    space = tiny_pair().space
    count = len(space) // 10
    scores = {}
    for place, kind in enumerate(THREE):
        values = torch.rand(len(space), generator=torch.Generator().manual_seed(1))
        values[:common] += 10
        start = common + place * count
        values[start : start + count - common] += 5
        scores[kind] = values
    return Attribution("faig", space, scores), count


@pytest.mark.parametrize(("times", "verdict"), [(0, Verdict.HOLDS), (1, Verdict.HOLDS), (5, Verdict.FAILS)])
def test_sets_are_apart_where_they_share_no_more_than_chance_gives(times, verdict):
    space = tiny_pair().space
    chance = (len(space) // 10) ** 2 / len(space)
    found, count = ranked(round(times * chance))
    view = View("tiny", 10.0, THREE, judged_from_rows([], []), [{"faig": found}])
    assert sets_are_apart(view).verdict == verdict
    for first, second in permutations(THREE, 2):
        (both,) = view.overlaps(view.edit("faig", first), view.edit("faig", second))
        assert (both.common, both.first) == (round(times * chance), count)
