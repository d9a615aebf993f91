# SPDX-License-Identifier: Apache-2.0
import pytest

from filterlens.paper.experiment import Verdict
from filterlens.paper.experiments import goal_directed
from filterlens.paper.experiments.goal_directed import FAIG, GOAL, ONE_SHOT, GoalDirectedSettings
from filterlens.paper.judged import View
from filterlens.run.tables import Damage, Edit
from tests.paper.rows import judged_from_rows

SETTINGS = GoalDirectedSettings(pairs=1, percents=(5.0,), crops=2, steps=4)
KINDS = ("blur:1", "noise:0.1")


@pytest.fixture(scope="module")
def outcome(make_laboratory, tmp_path_factory):
    laboratory = make_laboratory(tmp_path_factory.mktemp("goal"), targets=1)
    laboratory.folder.mkdir(exist_ok=True)
    return goal_directed.run(laboratory, SETTINGS)


def test_both_forms_of_our_ranking_stand_beside_faig(outcome):
    (table,) = [each for each in outcome.tables if each.name.startswith("share")]
    assert [row[0] for row in table.rows] == [
        "FAIG", "FAIG without elimination", "random", "goal-directed, one shot", "goal-directed", "goal at 1 %",
    ]  # fmt: skip
    assert all(len(row) == 1 + len(KINDS) * 3 for row in table.rows)


def test_the_page_says_what_was_chosen_without_looking_at_judging_images(outcome):
    (choices,) = [each for each in outcome.tables if each.name.startswith("choices")]
    assert {row[1] for row in choices.rows} == set(KINDS)
    assert all("mu" in row[2] for row in choices.rows)


def test_the_pictures_show_inputs_that_do_not_need_the_function(outcome):
    stems = {panel.stem for panel in outcome.panels if panel.stem.startswith("pictures")}
    assert stems == {
        "pictures-tiny-blur-1-noise-0.1", "pictures-tiny-blur-1-clean",
        "pictures-tiny-noise-0.1-blur-1", "pictures-tiny-noise-0.1-clean",
    }  # fmt: skip


def fabricated(shares):
    """Removal or preservation: method → (own, other, clean), the same for both degradations and two images."""
    damages = []
    for method, (own, other, clean) in shares.items():
        for masked in KINDS:
            for kind in (*KINDS, "clean"):
                share = own if kind == masked else clean if kind == "clean" else other
                edit = Edit(method, 5.0, masked)
                for image in ("a", "b"):
                    damages.append((0, Damage(edit, kind, image, 0.0, 0.0, 30.0, 0.9, 1 - share, 1.0)))
    return View("tiny", 5.0, KINDS, judged_from_rows(damages, (), 50))


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [((0.96, 0.99, 0.91), Verdict.HOLDS), ((0.96, 0.99, 0.5), Verdict.PARTLY), ((0.9, 0.9, 0.5), Verdict.FAILS)],
)
def test_the_goal_is_reached_only_when_all_three_numbers_are(shares, verdict):
    view = fabricated({GOAL: shares, FAIG: (0.9, 0.8, -1.0)})
    claims = list(goal_directed._goals(view, SETTINGS))
    assert [claim.verdict for claim in claims] == [verdict, verdict]
    assert "FAIG −1.00" in claims[0].evidence


@pytest.mark.parametrize(
    ("faig", "verdict"),
    [((0.9, 0.8, -1.0), Verdict.HOLDS), ((0.96, 0.8, 0.95), Verdict.PARTLY), ((1.0, 1.0, 1.0), Verdict.FAILS)],
)
def test_being_more_selective_than_faig_can_fail(faig, verdict):
    view = fabricated({GOAL: (0.96, 0.99, 0.91), FAIG: faig})
    assert goal_directed._against_faig(view).verdict == verdict


def test_one_shot_has_a_label_of_its_own():
    assert goal_directed._label(ONE_SHOT) != goal_directed._label(GOAL)
