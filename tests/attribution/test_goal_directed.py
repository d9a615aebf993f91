# SPDX-License-Identifier: Apache-2.0
"""Goal-directed ranking against formulas, brute force and a network whose filters' functions are known."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from filterlens import FAIG, ModelPair, UsageError
from filterlens.attribution.engine import Engine
from filterlens.attribution.goal import CHOICES, Choice, Goal, Pairing, Weights, one_shot, removal_and_disturbance
from filterlens.attribution.goal_directed import GoalDirected, at_mask, at_top, varied_crops
from filterlens.attribution.mask_optimisation import (
    Schedule,
    budgeted,
    joined,
    optimise_mask,
    rank_logits,
    through_budget,
)
from filterlens.data.samples import as_samples
from filterlens.degradations import Degradation
from filterlens.degradations.given import as_degradations
from filterlens.degradations.inputs import Inputs
from filterlens.evaluation.function_distance import preservation, removal
from filterlens.work.store import Store
from tests.attribution.small_networks import make_pair, photographs

DEGRADATIONS = ["blur:1", "noise:0.1"]
INPUTS = [*DEGRADATIONS, "clean"]
FEW = {"crops": 4, "start_crops": 2, "held_out": 2, "side": 12}
QUICK = FEW | {"schedule": Schedule(steps=12, share=0.2)}


class Detectors(nn.Module):
    """Four features that are there only where a checkerboard was blurred, four only where it is noisy, and a sum."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.scale = 1
        self.first = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect", bias=False)
        self.second = nn.Conv2d(4, 8, 1)
        self.last = nn.Conv2d(8, 3, 1, bias=False)
        signs = torch.tensor([1.0, -1.0, 1.0])
        checkerboard, stripes = torch.outer(signs, signs) / 9, torch.outer(torch.tensor([1.0, 2.0, 1.0]), signs) / 4
        stripes[:, 1] *= 2  # neither a flat image nor a checkerboard excites them
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            for channel, kernel in enumerate((checkerboard, -checkerboard, stripes, -stripes)):
                self.first.weight[channel, 0] = kernel
            self.second.weight[:4, :2] = -1
            self.second.bias[:4] = 0.1
            self.second.weight[4:, 2:] = 1
            self.last.weight.fill_(strength)

    def forward(self, x):
        return self.last(F.relu(self.second(F.relu(self.first(x)))))


def given(images) -> Inputs:
    return Inputs.of(as_samples(images), as_degradations([*DEGRADATIONS, "clean"]))


def pairings(pair, images, names=INPUTS):
    """Degrade whole images, and run both networks."""
    engine = Engine(pair, "fp32")
    return engine, [
        {name: Pairing.of(engine, Degradation.parse(name).apply(image[None], pair.scale, seed=0)) for name in names}
        for image in images
    ]


def test_filters_of_a_known_function_come_first():
    pair = ModelPair(Detectors(0.0).double(), Detectors(0.5).double())
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    image = (0.5 + 0.25 * (-1.0) ** (rows + columns)).double().expand(3, -1, -1)
    offset = pair.space.layer("last").offset
    known = {
        "blur:2": {offset + 8 * out + feature for out in range(3) for feature in range(4)},
        "noise:0.05": {offset + 8 * out + feature for out in range(3) for feature in range(4, 8)},
    }
    schedule = Schedule(steps=24, share=12.5 / len(pair.space))
    for method in (GoalDirected(pair, refine=False, **FEW), GoalDirected(pair, schedule=schedule, **FEW)):
        found = method.attribute(image[None], list(known))
        for degradation, filters in known.items():
            assert set(found.of(degradation).topk(12).indices.tolist()) == filters, (degradation, method.schedule)


def by_hand(pair, network, crops, own, mu, half):
    """r − μ Σ p in plain autograd, with Gauss-Legendre nodes written out."""
    root = 0.6**0.5 / 2
    gauss = [(0.5 - root, 5 / 18), (0.5, 8 / 18), (0.5 + root, 5 / 18)]
    near = [(0.5 + alpha / 2, weight / 2) for alpha, weight in gauss]
    nodes = near if half else near + [(alpha / 2, weight / 2) for alpha, weight in gauss]
    ends = pair.unflatten(pair.baseline), pair.unflatten(pair.target)
    score = torch.zeros(len(pair.space), dtype=torch.float64)
    for name, pairing in [item for crop in crops for item in crop.items()]:
        reference = pairing.baseline if name == own else pairing.target
        total = {key: torch.zeros_like(value) for key, value in ends[0].items()}
        for alpha, weight in nodes:
            point = {key: (old + alpha * (ends[1][key] - old)).requires_grad_(True) for key, old in ends[0].items()}
            loss = (functional_call(network, point, (pairing.inputs,)) - reference).square().sum()
            gradients = torch.autograd.grad(loss, list(point.values()))
            for key, gradient in zip(point, gradients, strict=True):
                total[key] += weight * gradient * (ends[0][key] - ends[1][key])
        slices = torch.cat([total[f"{layer}.weight"].sum((2, 3)).flatten() for layer in ("first", "second")])
        share = slices / slices.abs().sum() / len(crops)
        score += -share if name == own else -(2 * mu if name == "clean" else mu) * share.abs()
    return score


def score_of(engine, crops, own, choice):
    """The one-shot score from the means over the crops."""
    found = [
        {name: removal_and_disturbance(engine, each, lambda: None) for name, each in crop.items()} for crop in crops
    ]
    removed, disturbed = (
        {name: torch.stack([crop[name][which] for crop in found]).mean(0) for name in found[0]} for which in (0, 1)
    )
    return one_shot(removed[own], {name: each for name, each in disturbed.items() if name != own}, choice)


@pytest.mark.parametrize(("mu", "part"), [(1.0, "half"), (4.0, "whole")])
def test_the_one_shot_score_is_removal_less_disturbance(mu, part):
    _, target, pair = make_pair()
    engine, crops = pairings(pair, photographs(2, 16, 14))
    for own in DEGRADATIONS:
        expected = by_hand(pair, target, crops, own, mu, part == "half")
        torch.testing.assert_close(score_of(engine, crops, own, Choice(mu, part)), expected, rtol=1e-9, atol=1e-12)


def test_without_refinement_the_score_is_the_candidate_that_does_best_on_crops_kept_aside():
    _, _, pair = make_pair()
    method = GoalDirected(pair, refine=False, **FEW)
    found = method.attribute(photographs(), DEGRADATIONS).of("noise:0.1")
    discovery, aside = method._crops(given(photographs()))
    first = Inputs(discovery.degradations, {name: each[:2] for name, each in discovery.samples.items()})
    crops = method._goal_on(first)("noise:0.1").crops
    goal = method._goal_on(aside)("noise:0.1")
    candidates = [score_of(method.engine, crops, "noise:0.1", choice) for choice in CHOICES]
    values = [goal.value(at_top(pair, scores, 1)) for scores in candidates]
    torch.testing.assert_close(found, candidates[values.index(min(values))])


def test_the_gradient_is_the_derivative_of_the_goal():
    _, _, pair = make_pair()
    engine, crops = pairings(pair, photographs(2, 16, 14))
    goal = Goal(engine, crops, "blur:1", Weights())
    mask = torch.rand(len(pair.space), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradient = sum(goal.gradient(crop, at_mask(pair, mask)) for crop in range(2)) / 2
    for index in (0, 13, 40, len(mask) - 1):
        step = torch.zeros_like(mask)
        step[index] = 1e-5
        slope = (goal.value(at_mask(pair, mask + step)) - goal.value(at_mask(pair, mask - step))) / 2e-5
        assert float(gradient[index]) == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_the_goal_is_measured_as_removal_and_preservation_are():
    _, _, pair = make_pair()
    engine, crops = pairings(pair, photographs(2, 16, 14))
    point = at_mask(pair, (torch.arange(len(pair.space)) % 3 == 0).double())
    missing = Goal(engine, crops, "blur:1", Weights()).missing(point)
    for name, measure in (("blur:1", removal), ("noise:0.1", preservation), ("clean", preservation)):
        pairs = [measure(pair.run(point, c[name].inputs), c[name].baseline, c[name].target) for c in crops]
        assert missing[name] == pytest.approx(sum(a for a, _ in pairs) / sum(b for _, b in pairs), rel=1e-9)


def test_an_edge_of_the_mask_is_a_network_of_the_pair():
    _, _, pair = make_pair()
    ones, filters = torch.ones(len(pair.space)), pair.weight_mask(torch.ones(len(pair.space), dtype=torch.bool))
    assert torch.equal(at_mask(pair, 0 * ones), pair.target)
    assert torch.equal(at_mask(pair, ones), torch.where(filters, pair.baseline, pair.target))


def test_the_optimised_set_is_the_best_of_all_sets():
    generator = torch.Generator().manual_seed(2)
    columns = torch.randn(14, 9, generator=generator, dtype=torch.float64)
    goal = columns[:, [1, 4, 7]].sum(1) + 0.3 * torch.randn(14, generator=generator, dtype=torch.float64)
    start = rank_logits(-torch.arange(9.0))  # a misleading ranking
    found = optimise_mask(
        start, lambda step, m: 2 * columns.T @ (columns @ m - goal), Schedule(steps=120, share=3 / 9, sharpness=3)
    )
    best = min(itertools.combinations(range(9), 3), key=lambda s: float((columns[:, s].sum(1) - goal).square().sum()))
    assert set(found.topk(3).indices.tolist()) == set(best)


@pytest.mark.parametrize("spread", [0.0, 1.0, 300.0])
def test_weights_of_the_filters_add_up_to_the_budget(spread):
    logits = spread * torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for budget in (0.5, 3, 199):
        weights = budgeted(logits, budget)
        assert float(weights.sum()) == pytest.approx(budget, rel=1e-6)
        assert bool((weights[logits.argsort()].diff() >= 0).all())


def test_the_gradient_through_the_budget_is_that_of_the_weights_as_a_function_of_the_numbers():
    generator = torch.Generator().manual_seed(3)
    logits, slope = (torch.randn(12, generator=generator, dtype=torch.float64) for _ in range(2))
    gradient = through_budget(slope, budgeted(logits, 3))
    for index in range(12):
        step = torch.zeros(12, dtype=torch.float64)
        step[index] = 1e-5
        change = (budgeted(logits + step, 3) - budgeted(logits - step, 3)) / 2e-5
        assert float(gradient[index]) == pytest.approx(float(slope @ change), rel=1e-5, abs=1e-8)


def test_the_set_reaches_the_goal_better_than_faigs_on_the_crops_it_was_found_on():
    _, _, pair = make_pair()
    method = GoalDirected(pair, schedule=Schedule(steps=40, share=0.2), **FEW)
    images = photographs()
    found, faig = method.attribute(images, DEGRADATIONS), FAIG(pair).attribute(images, DEGRADATIONS)
    goal_of = method._goal_on(method._crops(given(images))[0])
    count = int(0.2 * len(pair.space))
    for own in DEGRADATIONS:
        goal = goal_of(own)
        ours, theirs = (goal.value(at_top(pair, each.of(own), count)) for each in (found, faig))
        assert ours < theirs


def test_same_scores_again_whatever_the_order_of_images_and_degradations():
    _, _, pair = make_pair()
    images = photographs(3)
    before = pair.target.clone(), pair.baseline.clone()
    first = GoalDirected(pair, seed=4, **QUICK).attribute(images, DEGRADATIONS)
    second = GoalDirected(pair, seed=4, **QUICK).attribute(images.flip(0), DEGRADATIONS[::-1])
    other = GoalDirected(pair, seed=5, **QUICK).attribute(images, DEGRADATIONS)
    assert all(torch.equal(first.of(name), second.of(name)) for name in DEGRADATIONS)
    assert not torch.equal(first.of("blur:1"), other.of("blur:1"))
    assert torch.equal(before[0], pair.target) and torch.equal(before[1], pair.baseline)


def test_only_outputs_of_the_two_networks_are_compared_with_never_a_ground_truth(monkeypatch):
    _, _, pair = make_pair()
    seen, original = [], Engine.loss_and_gradient

    def spied(self, vector, inputs, reference, loss):
        ends = [self.output(end, inputs) for end in (pair.target, pair.baseline)]
        seen.append(any(torch.equal(reference, end) for end in ends))
        return original(self, vector, inputs, reference, loss)

    monkeypatch.setattr(Engine, "loss_and_gradient", spied)
    GoalDirected(pair, **QUICK).attribute(photographs(1), DEGRADATIONS)
    assert seen and all(seen)


def test_a_shared_folder_gives_the_same_scores_and_resumes_without_a_pass(tmp_path, monkeypatch):
    _, _, pair = make_pair()
    alone = GoalDirected(pair, **QUICK).attribute(photographs(1), DEGRADATIONS)
    shared = GoalDirected(pair, **QUICK).attribute(photographs(1), DEGRADATIONS, store=Store(tmp_path))

    def forbidden(*arguments):
        raise AssertionError("computed again")

    monkeypatch.setattr(Engine, "loss_and_gradient", forbidden)
    again = GoalDirected(pair, **QUICK).attribute(photographs(1), DEGRADATIONS, store=Store(tmp_path))
    for name in DEGRADATIONS:
        assert torch.equal(alone.of(name), shared.of(name)) and torch.equal(alone.of(name), again.of(name))
    assert alone.settings == shared.settings == again.settings


def test_behind_the_optimised_set_the_one_shot_score_ranks():
    best, rest = torch.tensor([0.0, 9, 1, 8, 2, 3]), torch.tensor([1.0, 2, 3, 4, 5, 6])
    assert joined(best, rest, 2).argsort(descending=True).tolist() == [1, 3, 5, 4, 2, 0]
    assert torch.equal(joined(best, rest, 0), rank_logits(rest))


def test_what_was_chosen_is_on_record():
    _, _, pair = make_pair()
    chosen = GoalDirected(pair, **QUICK).attribute(photographs(1), DEGRADATIONS).settings["chosen_on_held_out_crops"]
    assert list(chosen) == DEGRADATIONS
    for choice in chosen.values():
        assert Choice(choice["mu"], choice["part"]) in CHOICES and choice["steps"] in (0, 3, 6, 9, 12)


@pytest.mark.parametrize("degradations", [["noise:0.1"], ["blur:1", "noise:0.1", "jpeg:30"], ["noise:0.1", "clean"]])
def test_any_number_of_degradations_and_what_is_kept_is_on_record(degradations):
    _, _, pair = make_pair()
    found = GoalDirected(pair, **QUICK).attribute(photographs(1), degradations)
    assert list(found.scores) == degradations
    assert found.settings["kept"] == sorted({*degradations, "clean"})
    assert found.settings["schedule"]["steps"] == 12 and found.settings["crops"] == 4


def test_crops_are_drawn_from_all_images_and_small_images_give_small_crops():
    samples = as_samples([torch.full((3, 30, 50), 0.2), torch.full((3, 9, 20), 0.7)])
    crops = varied_crops(samples, 12, 6, 2, key="a")
    shapes = [(tuple(crop.read().shape), round(float(crop.read().mean()), 3)) for crop in crops]
    assert sorted(shapes) == [((3, 8, 8), 0.7)] * 3 + [((3, 12, 12), 0.2)] * 3


def test_crops_show_an_image_turned_and_with_its_colors_exchanged():
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    crops = [crop.read() for crop in varied_crops(as_samples(image), 8, 40, 2, key="a")]
    assert all(torch.equal(crop.flatten().sort().values, image.flatten().sort().values) for crop in crops)
    assert len({crop.numpy().tobytes() for crop in crops}) > 20


@pytest.mark.parametrize("what", ["crops", "start_crops", "held_out", "side"])
def test_counts_below_one_are_refused(what):
    _, _, pair = make_pair()
    with pytest.raises(UsageError, match=f"{what}=0 is not legal"):
        GoalDirected(pair, **{what: 0})
