# SPDX-License-Identifier: Apache-2.0
"""What every method keeps: the user's modules, the seed, the order of nothing."""

import pytest
import torch
from torch import nn

from filterlens import (
    FAIG,
    FilterlensError,
    GoalDirected,
    InputIG,
    LayerMatchedRandom,
    ModelPair,
    Taylor,
    UsageError,
)
from filterlens.attribution.faig import discriminate
from filterlens.attribution.methods import METHODS, attribute_with, refuse_idle
from filterlens.attribution.quadrature import RULES, Quadrature
from filterlens.attribution.settings import AttributeSettings
from filterlens.degradations import parse_degradations
from tests.attribution.small_networks import Curved, make_pair, photographs

DEGRADATIONS = ["blur:1", "noise:0.1"]


def footprint(module):
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    hooks = sum(len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks) for m in module.modules())
    flags = [(p.requires_grad, None if p.grad is None else p.grad.clone()) for p in module.parameters()]
    return state, hooks, flags, [m.training for m in module.modules()]


def same(first, second):
    return (
        all(torch.equal(first[0][name], second[0][name]) for name in first[0])
        and first[1] == second[1]
        and first[3] == second[3]
        and all(
            a[0] == b[0] and ((a[1] is None and b[1] is None) or torch.equal(a[1], b[1]))
            for a, b in zip(first[2], second[2], strict=True)
        )
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_leaves_the_users_modules_bit_identical(name):
    baseline, target, _ = make_pair()
    baseline.train()
    target.first.weight.requires_grad_(False)
    target.second.bias.grad = torch.ones_like(target.second.bias)
    before = footprint(baseline), footprint(target)
    attribute_with([name], ModelPair(baseline, target), photographs(), DEGRADATIONS)
    assert same(before[0], footprint(baseline)) and same(before[1], footprint(target))


def test_an_exception_inside_the_forward_leaves_everything_whole():
    class Failing(Curved):
        calls = 0

        def forward(self, x):
            Failing.calls += 1
            if Failing.calls > 5:
                raise RuntimeError("inside the forward")
            return super().forward(x)

    _, target, pair = make_pair(Failing)
    before = footprint(target), pair.target.clone(), pair.baseline.clone()
    with pytest.raises(FilterlensError, match=r"fails on an input of \(1, 3, .* inside the forward"):
        FAIG(pair).attribute(photographs(), DEGRADATIONS)
    assert same(before[0], footprint(target))
    assert torch.equal(before[1], pair.target) and torch.equal(before[2], pair.baseline)
    Failing.calls = -10_000
    FAIG(pair).attribute(photographs(), DEGRADATIONS)


def test_same_seed_same_scores_whatever_the_order_of_images_and_degradations():
    _, _, pair = make_pair()
    images = photographs(3)
    first = FAIG(pair, seed=4).attribute(images, DEGRADATIONS)
    second = FAIG(pair, seed=4).attribute(images.flip(0), DEGRADATIONS[::-1])
    third = FAIG(pair, seed=5).attribute(images, DEGRADATIONS)
    torch.testing.assert_close(first.of("blur:1"), second.of("blur:1"), rtol=1e-12, atol=0)
    assert not torch.allclose(first.of("blur:1"), third.of("blur:1"), rtol=1e-6)


def test_user_code_is_never_put_into_training_mode():
    class Dropping(Curved):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.9)

        def forward(self, x):
            return self.drop(super().forward(x))

    _, _, pair = make_pair(Dropping)
    images = photographs(1)
    scores = [FAIG(pair).attribute(images, DEGRADATIONS).of("blur:1") for _ in range(2)]
    assert torch.equal(*scores)


def test_with_two_degradations_mean_and_max_contrast_are_one_thing():
    _, _, pair = make_pair()
    images = photographs(1)
    mean, most = (FAIG(pair, contrast=each).attribute(images, DEGRADATIONS).of("blur:1") for each in ("mean", "max"))
    assert torch.equal(mean, most)


def test_three_degradations_are_discriminated_against_mean_or_max_of_the_others():
    values = torch.tensor([[5.0, 1.0], [2.0, 4.0], [0.0, 1.0]])
    assert torch.equal(discriminate(values, "mean"), torch.tensor([[4.0, -1.5], [-0.5, 3.0], [-3.5, -1.5]]))
    assert torch.equal(discriminate(values, "max"), torch.tensor([[3.0, -3.0], [-3.0, 3.0], [-5.0, -3.0]]))


def test_without_elimination_scores_are_the_magnitudes_of_one_degradation():
    _, _, pair = make_pair()
    images = photographs()
    plain = FAIG(pair, eliminate=False).attribute(images, DEGRADATIONS)
    full = FAIG(pair).attribute(images, DEGRADATIONS)
    torch.testing.assert_close(plain.of("blur:1") - plain.of("noise:0.1"), full.of("blur:1"))
    assert (plain.of("blur:1") >= 0).all()


def test_a_single_degradation_is_discriminated_against_the_clean_input():
    _, _, pair = make_pair()
    images = photographs(1)
    alone = FAIG(pair).attribute(images, ["noise:0.1"])
    explicit = FAIG(pair).attribute(images, ["noise:0.1", "clean"])
    assert alone.degradations == ("noise:0.1",)
    assert torch.equal(alone.of("noise:0.1"), explicit.of("noise:0.1"))


def test_layer_matched_random_has_as_many_filters_in_every_layer():
    _, _, pair = make_pair()
    guide = FAIG(pair).attribute(photographs(), DEGRADATIONS)
    control = LayerMatchedRandom(pair, like=guide, seed=3).attribute([], DEGRADATIONS)
    for percent in (5, 20, 50):
        one, other = guide.select("blur:1", percent), control.select("blur:1", percent)
        layers = [pair.space.layer_index[each.indices].bincount(minlength=2) for each in (one, other)]
        assert torch.equal(*layers)
        assert one.overlap(other) < 1


def test_random_scores_depend_on_seed_and_degradation():
    _, _, pair = make_pair()
    first, again, other = (
        attribute_with(["random"], pair, [], DEGRADATIONS, AttributeSettings(seed=seed))["random"] for seed in (1, 1, 2)
    )
    assert torch.equal(first.of("blur:1"), again.of("blur:1"))
    assert not torch.equal(first.of("blur:1"), other.of("blur:1"))
    assert not torch.equal(first.of("blur:1"), first.of("noise:0.1"))


def test_asking_for_several_methods_equals_asking_for_each():
    _, _, pair = make_pair()
    images = photographs(1)
    together = attribute_with(list(METHODS), pair, images, DEGRADATIONS)
    assert list(together) == list(METHODS)
    for name in METHODS:
        if not name.endswith("-matched"):
            alone = attribute_with([name], pair, images, DEGRADATIONS)[name]
            assert torch.equal(alone.of("blur:1"), together[name].of("blur:1")), name


@pytest.mark.parametrize("rule", RULES)
def test_weights_of_every_rule_sum_to_one_and_integrate_a_line(rule):
    nodes = list(Quadrature(rule, 50))
    assert sum(weight for _, weight in nodes) == pytest.approx(1)
    assert sum(weight * alpha for alpha, weight in nodes) == pytest.approx(0.5, abs=0.011)


def test_gauss_legendre_is_exact_to_degree_2n_minus_1():
    nodes = list(Quadrature("gauss-legendre", 4))
    for degree in range(8):
        assert sum(w * a**degree for a, w in nodes) == pytest.approx(1 / (degree + 1), rel=1e-13)
    assert sum(w * a**8 for a, w in nodes) != pytest.approx(1 / 9, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda pair: FAIG(pair, objective="truht"), "Did you mean 'truth'"),
        (lambda pair: FAIG(pair, contrast="median"), "Unknown contrast 'median'"),
        (lambda pair: FAIG(pair, protocol="refrence"), "Did you mean 'reference'"),
        (lambda pair: FAIG(pair, precision="fp16"), "Unknown precision 'fp16'"),
        (lambda pair: Quadrature("gauss", 4), "Did you mean 'gauss-legendre'"),
        (lambda pair: Quadrature("trapezoid", 1), "1 nodes are not legal"),
        (lambda pair: attribute_with(["fiag"], pair, [], DEGRADATIONS), "Did you mean 'faig'"),
        (lambda pair: FAIG(pair).attribute([], DEGRADATIONS), "There are no images"),
        (lambda pair: FAIG(pair).attribute(photographs(), []), "No degradation"),
        (lambda pair: FAIG(pair).attribute(photographs(), ["blur:1", "blur:1.0"]), "given twice"),
        (lambda pair: FAIG(pair).attribute(torch.rand(2, 5, 30, 30), DEGRADATIONS), r"5, 30, 30"),
    ],
)
def test_wrong_use_names_the_value_and_what_is_legal(call, message):
    _, _, pair = make_pair()
    with pytest.raises((UsageError, FilterlensError), match=message):
        call(pair)


@pytest.mark.parametrize(
    ("methods", "given", "message"),
    [
        (["goal-directed"], {"objective": "target"}, r"--objective target means nothing to goal-directed\. .* faig"),
        (["goal-directed"], {"contrast": "max"}, "--contrast max means nothing to goal-directed"),
        (["goal-directed"], {"quadrature": "left"}, "--quadrature left means nothing to goal-directed"),
        (["ig"], {"tolerance": 0.1}, "--tolerance 0.1 means nothing to ig"),
        (["ig", "random"], {"quadrature": "adaptive"}, "--quadrature adaptive means nothing to ig, random"),
        (["ig"], {"objective": "baseline"}, "--objective baseline means nothing to ig"),
        (["taylor"], {"nodes": 3}, "--nodes 3 means nothing to taylor"),
        (["change-absolute", "random"], {"contrast": "max"}, "--contrast max means nothing to change-absolute, random"),
    ],
)
def test_a_setting_that_no_method_takes_is_refused(methods, given, message):
    with pytest.raises(UsageError, match=message):
        attribute_with(methods, make_pair()[2], photographs(1), DEGRADATIONS, AttributeSettings(**given))


@pytest.mark.parametrize(
    ("methods", "given"),
    [
        (list(METHODS), {}),
        (["goal-directed"], {"objective": "truth", "contrast": "mean", "seed": 3, "memory": 1.0, "precision": "fp32"}),
        (["goal-directed", "taylor"], {"objective": "target"}),
        (["ig", "faig-no-elimination"], {"tolerance": 0.1}),
        (["ig"], {"quadrature": "left", "nodes": 3}),
        (["random-layer-matched"], {"objective": "target"}),  # the filters that it matches are FAIG's
    ],
)
def test_a_setting_that_one_of_the_methods_takes_is_taken(methods, given):
    refuse_idle(AttributeSettings(**given), methods)


def test_every_method_gets_the_settings_that_it_takes():
    pair, images = make_pair()[2], photographs(1)
    both = attribute_with(["faig", "ig"], pair, images, DEGRADATIONS, AttributeSettings(tolerance=0.2, seed=1))
    assert both["faig"].settings["tolerance"] == 0.2 and both["ig"].settings["nodes"] == 8
    fixed = attribute_with(["faig", "ig", "taylor"], pair, images, DEGRADATIONS, AttributeSettings(nodes=3))
    assert [each.settings["nodes"] for each in fixed.values()] == [3, 3, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda pair: GoalDirected(pair, objective="target"),
            "objective = target means nothing to goal-directed, which takes channels, memory",
        ),
        (lambda pair: InputIG(pair, tolerance=0.1), "tolerance = 0.1 means nothing to ig"),
        (lambda pair: InputIG(pair, quadrature="adaptive"), "quadrature = adaptive means nothing to ig"),
        (
            lambda pair: Taylor(pair, quadrature=Quadrature()),
            "gauss-legendre, 24 nodes means nothing to taylor",
        ),
        (lambda pair: FAIG(pair, objectve="target"), r"faig: Unknown setting 'objectve'\. Did you mean 'objective'"),
        (lambda pair: FAIG(pair, quadrature=Quadrature(), nodes=3), "has its own nodes"),
    ],
)
def test_a_setting_that_a_method_does_not_take_is_refused_in_python_too(make, message):
    with pytest.raises(UsageError, match=message):
        make(make_pair()[2])


def test_bf16_keeps_the_top_of_the_ranking():
    torch.manual_seed(0)
    baseline, target = Curved(), Curved()
    pair = ModelPair(baseline, target)
    images = photographs().float()
    exact = FAIG(pair, precision="fp32").attribute(images, DEGRADATIONS)
    rough = FAIG(pair, precision="bf16").attribute(images, DEGRADATIONS)
    assert rough.settings["precision"] == "bf16"
    assert not torch.equal(exact.of("blur:1"), rough.of("blur:1"))
    assert exact.select("blur:1", 20).overlap(rough.select("blur:1", 20)) > 0.8


def test_degradation_names_are_canonical():
    assert list(parse_degradations(["noise:0.10", "blur:2.0"])) == ["noise:0.1", "blur:2"]
