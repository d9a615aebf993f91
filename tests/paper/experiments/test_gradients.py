# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch.func import functional_call

from filterlens.attribution.faig import EndpointGradient
from filterlens.degradations import Degradation
from filterlens.pair import ModelPair
from filterlens.paper.experiment import Verdict
from filterlens.paper.experiments import gradients
from filterlens.paper.experiments.gradients import LABELS, GradientSettings
from filterlens.paper.judged import View, judge, selections_of
from filterlens.run.tables import Damage, Edit
from tests.attribution.small_networks import make_pair, photographs
from tests.paper.rows import judged_from_rows

BLUR, NOISE = "blur:1", "noise:0.1"
SETTINGS = GradientSettings(percent=5.0, judge_images=None)


@pytest.fixture(scope="module")
def outcome(laboratory):
    return gradients.run(laboratory, SETTINGS)


def magnitudes_by_autograd(target, image, degradation):
    """|∂L/∂θ| summed over every filter's slice, computed on the user's module itself."""
    truth = image.unsqueeze(0)
    lowered = Degradation.parse(degradation).apply(truth, target.scale, seed=0)
    parameters = {name: value.detach().clone().requires_grad_() for name, value in target.named_parameters()}
    loss = (functional_call(target, parameters, (lowered,)) - truth).square().sum()
    loss.backward()
    weights = [value.grad for name, value in parameters.items() if name.endswith("weight")]
    return torch.cat([weight.abs().flatten(2).sum(2).flatten() for weight in weights])


def test_the_endpoint_gradient_is_what_autograd_gives_at_the_target():
    _, target, pair = make_pair()
    images = photographs()
    found = EndpointGradient(pair).attribute(images, [BLUR, NOISE]).of(BLUR)
    by_hand = sum(
        magnitudes_by_autograd(target, image, BLUR) - magnitudes_by_autograd(target, image, NOISE) for image in images
    )
    torch.testing.assert_close(found, by_hand / len(images))


def test_the_endpoint_gradient_asks_nothing_of_the_baseline():
    _, target, pair = make_pair()
    other, _, _ = make_pair(seed=7)
    scores = [
        EndpointGradient(each).attribute(photographs(1), [BLUR, NOISE]).of(BLUR)
        for each in (pair, ModelPair(other, target))
    ]
    assert torch.equal(*scores)


def test_every_score_is_in_every_table(outcome):
    assert len(outcome.tables) == 3
    for table in outcome.tables:
        assert [row[0] for row in table.rows] == list(LABELS.values())
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_faigs_row_is_what_masking_judges(laboratory, outcome):
    edited = [
        (model, selections_of(laboratory.attribute(model, ["faig"], laboratory.finding), (5.0,), (BLUR,)))
        for model in laboratory.targets("tiny")
    ]
    judged = judge(laboratory, edited, laboratory.judging("tiny"))
    row = outcome.tables[0].rows[list(LABELS).index("faig")]
    assert row[1].mean == pytest.approx(judged.distance(Edit("faig", 5.0, BLUR), BLUR).mean)


def test_with_elimination_sets_of_two_degradations_are_disjoint_and_faig_finds_all_of_its_own(outcome):
    rows = {row[0]: row[1:] for row in outcome.tables[2].rows}
    assert rows[LABELS["faig"]][0].mean == 0
    assert rows[LABELS["change-relative"]][0].mean == 1
    assert [cell.mean for cell in rows[LABELS["faig"]][-2:]] == [1, 1]


def test_a_second_run_reads_everything_from_disk(laboratory, outcome, monkeypatch):
    monkeypatch.setattr("filterlens.paper.judged.measure_damage", None)
    monkeypatch.setattr(EndpointGradient, "measure", None)
    assert gradients.run(laboratory, SETTINGS).tables == outcome.tables


def view_of(numbers, laboratory):
    """Build a view in which score → (own distance, cross distance, own residual, cross residual), scale 1."""
    damages = []
    for method, (own, cross, own_residual, cross_residual) in numbers.items():
        for masked in (BLUR, NOISE):
            for kind in (BLUR, NOISE):
                edit, is_own = Edit(method, 5.0, masked), masked == kind
                distance, residual = (own, own_residual) if is_own else (cross, cross_residual)
                for image in "ab":
                    damage = Damage(edit, kind, image, distance, distance, 30.0, 0.9, residual, 1.0)
                    damages.append((0, damage))
    found = [gradients.rankings(laboratory, laboratory.targets("tiny")[0])]
    return View("tiny", 5.0, (BLUR, NOISE), judged_from_rows(damages, (), 50), found)


STRONG, WEAK, BROKEN = (4.0, 0.1, 0.1, 0.1), (2.0, 0.5, 0.5, 0.3), (9.0, 9.0, 3.0, 3.0)


@pytest.mark.parametrize(
    ("faig", "rival", "cross", "beats"),
    [
        (STRONG, WEAK, Verdict.HOLDS, Verdict.HOLDS),
        (WEAK, STRONG, Verdict.FAILS, Verdict.FAILS),
        (STRONG, BROKEN, Verdict.HOLDS, Verdict.PARTLY),  # a broken network has more own damage, and no selectivity
    ],
)
def test_the_claims_can_hold_and_fail(laboratory, faig, rival, cross, beats):
    view = view_of({method: faig if method == "faig" else rival for method in LABELS}, laboratory)
    claims = gradients.claims_of(view)
    assert claims[0].verdict == cross
    assert [claim.verdict for claim in claims[1:]] == [beats] * 3
