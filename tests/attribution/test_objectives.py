# SPDX-License-Identifier: Apache-2.0
"""Objectives are values: each one's scores against a computation by hand, its completeness, and what is refused."""

import json
import sys
import threading
import types
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from filterlens import FAIG, GoalDirected, InputIG, Quadrature, Taylor
from filterlens.attribution.engine import Engine
from filterlens.attribution.faig import EndpointGradient
from filterlens.attribution.methods import attribute_with
from filterlens.attribution.objectives import (
    L1,
    LPIPS,
    PSNR,
    Charbonnier,
    Objective,
    OwnObjective,
    SquaredDistance,
    as_objective,
)
from filterlens.attribution.settings import AttributeSettings
from filterlens.degradations import Degradation
from filterlens.errors import FilterlensError, UsageError
from filterlens.work.processes import Alone
from filterlens.work.store import Store
from tests.attribution.small_networks import Curved, make_pair, photographs

DEGRADATIONS = ("blur:1", "noise:0.1")


def edges(output, reference):
    """Horizontal gradients' distance: no sum over pixels."""
    return ((output - reference).diff(dim=-1) ** 2).mean().sqrt()


def fourth(output, reference):
    return ((output - reference) ** 4).sum()


BY_HAND = {  # objective → its formula, written here
    "squared": (SquaredDistance(), lambda y, r: ((y - r) ** 2).sum()),
    "l1": (L1(), lambda y, r: (y - r).abs().sum()),
    "charbonnier": (Charbonnier(), lambda y, r: ((y - r) ** 2 + 1e-6).sqrt().sum()),
    "charbonnier, wide": (Charbonnier(0.1), lambda y, r: ((y - r) ** 2 + 0.01).sqrt().sum()),
    "psnr": (PSNR(), lambda y, r: -10 * torch.log(((y - r) ** 2).mean()) / np.log(10)),
    "psnr, cropped": (
        PSNR(crop=3),
        lambda y, r: -10 * torch.log(((y - r)[..., 3:-3, 3:-3] ** 2).mean()) / np.log(10),
    ),
    "own": (edges, edges),
    "own, additive": (OwnObjective(fourth, additive=True), fourth),
    "own, to the target": (OwnObjective(fourth, additive=True, to="target"), fourth),
    "l1 to the baseline": (L1("baseline"), lambda y, r: (y - r).abs().sum()),
}
KINKED = {"l1", "l1 to the baseline", "charbonnier"}  # the width of 1e-3 is a kink to few nodes


def interpolated(baseline, target, alpha):
    network = Curved().double()
    first, second = baseline.state_dict(), target.state_dict()
    network.load_state_dict({key: first[key] + alpha * (second[key] - first[key]) for key in first})
    return network


def by_hand(networks, inputs, truth, to, formula, nodes):
    """|∫ gradient dα · change| summed over each slice, by backward on fresh modules."""
    baseline, target = networks
    with torch.no_grad():
        reference = {"truth": truth, "target": target(inputs), "baseline": baseline(inputs)}[to]
    total = {}
    for alpha, weight in nodes:
        network = interpolated(baseline, target, alpha)
        formula(network(inputs), reference).backward()
        for name, parameter in network.named_parameters():
            total[name] = total.get(name, 0) + weight * parameter.grad
    first, second = baseline.state_dict(), target.state_dict()
    weights = {name: total[name] * (second[name] - first[name]) for name in ("first.weight", "second.weight")}
    return torch.cat([each.abs().sum((2, 3)).flatten() for each in weights.values()])


def gauss(count):
    return [(x / 2 + 0.5, w / 2) for x, w in zip(*np.polynomial.legendre.leggauss(count), strict=True)]


def degraded(image, text):
    return Degradation.parse(text).apply(image[None], 2, seed=0, resampler="bicubic")


@pytest.mark.parametrize("case", BY_HAND)
def test_scores_are_those_of_the_formula_along_the_path(case):
    objective, formula = BY_HAND[case]
    baseline, target, pair = make_pair()
    image, to = photographs(1)[0], as_objective(objective).to
    expected = [
        by_hand((baseline, target), degraded(image, text), image[None], to, formula, gauss(6)) for text in DEGRADATIONS
    ]
    found = FAIG(pair, objective=objective, quadrature=Quadrature("gauss-legendre", 6)).attribute(image, DEGRADATIONS)
    torch.testing.assert_close(found.of("blur:1"), expected[0] - expected[1], rtol=1e-5, atol=1e-12)
    if case != "own, to the target" and case != "l1 to the baseline":
        expected = [
            by_hand((baseline, target), degraded(image, text), image[None], to, formula, [(1, 1)])
            for text in DEGRADATIONS
        ]
        scores = Taylor(pair, objective=objective).attribute(image, DEGRADATIONS).of("noise:0.1")
        torch.testing.assert_close(scores, expected[1] - expected[0], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("case", BY_HAND)
def test_attributions_sum_to_the_change_of_the_objective(case):
    objective, formula = BY_HAND[case]
    baseline, target, pair = make_pair(change=1.0)
    image = photographs(1)[0]
    nodes = 256 if case in KINKED else 24
    found = FAIG(pair, objective=objective, quadrature=Quadrature("gauss-legendre", nodes))
    completeness = found.attribute(image, DEGRADATIONS).completeness[0]
    inputs, to = degraded(image, "blur:1"), as_objective(objective).to
    with torch.no_grad():
        ends = target(inputs), baseline(inputs)
        reference = {"truth": image[None], "target": ends[0], "baseline": ends[1]}[to]
        change = float(formula(ends[0], reference) - formula(ends[1], reference))
    assert abs(change) > 1e-6
    assert completeness.attributed == pytest.approx(change, rel=1e-3 if case in KINKED else 1e-5)
    assert completeness.loss_target - completeness.loss_baseline == pytest.approx(change, rel=1e-9)


@pytest.mark.parametrize("objective", [L1(), PSNR(), edges, OwnObjective(fourth, additive=True), fourth])
def test_memory_changes_no_score(objective):
    _, _, pair = make_pair()
    image = photographs(1, 96, 120)[0]
    notes = []
    whole = FAIG(pair, objective=objective, nodes=3).attribute(image, DEGRADATIONS)

    class Progress:
        def note(self, text):
            notes.append(text)

        def bar(self, *_):
            from filterlens.progress import SILENT

            return SILENT.bar("", 1)

    small = FAIG(pair, objective=objective, nodes=3, memory=1e-6).attribute(image, DEGRADATIONS, progress=Progress())
    torch.testing.assert_close(small.of("blur:1"), whole.of("blur:1"), rtol=1e-9, atol=1e-12)
    name = as_objective(objective).name
    said = [note for note in notes if "is no sum over pixels" in note]
    assert len(said) == (0 if as_objective(objective).additive else 1)
    assert all(f"the objective '{name}'" in note for note in said)


def test_what_is_no_sum_is_never_cut(monkeypatch):
    _, _, pair = make_pair()
    seen = []

    def looking(output, reference):
        seen.append(tuple(output.shape[-2:]))
        return edges(output, reference)

    FAIG(pair, objective=looking, nodes=2, memory=1e-6).attribute(photographs(1, 96, 120)[0], DEGRADATIONS)
    assert set(seen) == {(96, 120)}


@pytest.mark.parametrize("memory", [None, 1e-6])
@pytest.mark.parametrize("method", [FAIG, EndpointGradient])
def test_a_mean_that_is_said_to_be_a_sum_is_refused_where_it_could_do_harm(memory, method):
    _, _, pair = make_pair()
    objective = OwnObjective(nn.MSELoss(), additive=True)
    ranking = method(pair, objective=objective, memory=memory)
    image = photographs(1, 96, 120)[0]
    if memory is None and method is EndpointGradient:  # nothing is cut
        ranking.attribute(image, DEGRADATIONS)
        return
    with pytest.raises(UsageError, match=r"'MSELoss' is no sum over pixels: [\d.e-]+ for an image, [\d.e-]+ for its"):
        ranking.attribute(image, DEGRADATIONS)


@pytest.mark.parametrize("objective", [PSNR(), lambda y, r: -PSNR().loss(y, r)], ids=["psnr", "below zero"])
def test_adaptive_nodes_meet_their_tolerance_in_decibels(objective):
    _, _, pair = make_pair(change=1.0)
    found = FAIG(pair, objective=objective, tolerance=0.001).attribute(photographs(1)[0], DEGRADATIONS)
    for each in found.completeness:
        change = each.loss_target - each.loss_baseline
        assert (each.loss_target > 0) == isinstance(objective, PSNR)
        assert abs(each.attributed - change) < 0.001 * max(abs(change), 0.42)
        assert each.nodes > 2


class LazyError(Exception):
    """What a user's function raises."""


def failing(output, reference):
    raise LazyError("no such\nthing")


def scalar(value):
    def constant(output, reference):
        return value

    return constant


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (scalar(None), "'.*constant' returns None, a NoneType. Return a tensor"),
        (scalar(3.5), "returns 3.5, a float. Return a tensor"),
        (lambda y, r: y - r, r"returns a tensor of \(1, 3, 36, 28\) in torch.float64. Return the sum or the mean"),
        (lambda y, r: (y > r).sum(), r"returns a tensor of \(\) in torch.int64"),
        (lambda y, r: (y - r).detach().sum(), "which has no gradient. Compute it from the output by PyTorch"),
        (lambda y, r: (y - r).sum() * float("nan"), "is nan for the output of the baseline"),
        (lambda y, r: (y * 0 - 1).log().sum(), "is nan for the output of the baseline"),
        (lambda y, r: (y - y).sum().sqrt() + y.sum(), "is finite, but not its gradient"),
        (failing, r"fails on outputs \(1, 3, 36, 28\) with LazyError: no such$"),
        (lambda y: y.sum(), r"with TypeError: .*takes 1 positional argument but 2 were given"),
    ],
)
def test_a_function_that_is_no_objective_is_refused_in_a_line_that_quotes_it(function, message):
    _, _, pair = make_pair()
    with pytest.raises(FilterlensError, match=message) as raised:
        FAIG(pair, objective=function).attribute(photographs(1)[0], DEGRADATIONS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda pair: FAIG(pair, objective=3), r"objective 3 is not legal\. Legal: truth, target, baseline, an obj"),
        (lambda pair: FAIG(pair, objective=nn.L1Loss), "objective <class '.*L1Loss'> is not legal"),
        (lambda pair: FAIG(pair, objective="truht"), r"Unknown objective 'truht'\. Did you mean 'truth'\?"),
        (lambda pair: FAIG(pair, loss="l2"), r"Unknown loss 'l2'\. Did you mean 'l1'\?"),
        (lambda pair: FAIG(pair, objective=L1(), loss="psnr"), "loss = psnr contradicts the objective l1"),
        (lambda pair: FAIG(pair, objective=edges, loss="l1"), "'edges' is a loss of its own: leave out loss = l1"),
        (lambda pair: FAIG(pair, objective="target", loss="psnr"), "PSNR to the target is infinite at the target"),
        (lambda pair: PSNR(to="baseline"), "PSNR to the baseline is infinite"),
        (lambda pair: L1("trth"), r"Unknown objective 'trth'"),
        (lambda pair: Charbonnier(0), "epsilon"),
        (lambda pair: LPIPS("resnet"), "Unknown LPIPS network 'resnet'"),
        (lambda pair: OwnObjective(3), r"3 is no function \(output, reference\) -> scalar"),
        (lambda pair: OwnObjective(edges, additive="yes"), "additive = 'yes' is not legal"),
        (lambda pair: InputIG(pair, objective=edges), "objective = edges means nothing to ig"),
        (lambda pair: InputIG(pair, loss="l1"), "loss = l1 means nothing to ig"),
        (lambda pair: GoalDirected(pair, objective=L1()), "loss = l1 means nothing to goal-directed"),
        (
            lambda pair: attribute_with(["ig"], pair, [], DEGRADATIONS, AttributeSettings(objective=edges)),
            "--objective edges means nothing to ig",
        ),
        (
            lambda pair: FAIG(pair, objective=PSNR(crop=20)).attribute(photographs(1)[0], DEGRADATIONS),
            r"Nothing of \(1, 3, 36, 28\) is left with 20 border pixels cropped",
        ),
    ],
)
def test_wrong_objectives_name_the_value_and_what_is_legal(call, message):
    _, _, pair = make_pair()
    with pytest.raises(UsageError, match=message):
        call(pair)


def test_one_objective_has_one_record_however_it_is_written():
    _, _, pair = make_pair()
    assert AttributeSettings(objective=SquaredDistance("target")) == AttributeSettings(objective="target")
    assert AttributeSettings(objective=L1) == AttributeSettings(loss="l1") == AttributeSettings(objective=L1())
    assert AttributeSettings(objective=Charbonnier(to="target")).model_dump()["loss"] == "charbonnier"
    assert isinstance(AttributeSettings(objective=Charbonnier(0.1)).objective, Charbonnier)
    assert "loss" not in FAIG(pair).record()
    assert FAIG(pair, loss="l1", objective="target").record()["loss"] == {"name": "l1"}
    assert FAIG(pair, objective=Charbonnier(0.1)).record()["loss"] == {"name": "charbonnier", "epsilon": 0.1}
    record = FAIG(pair, objective=OwnObjective(edges, name="edge distance")).record()
    assert record["objective"] == "truth"
    assert json.loads(json.dumps(record["loss"])) == record["loss"]
    facts = {"name": "edge distance", "additive": False, "module": __name__, "qualified_name": "edges", "stable": True}
    assert facts.items() <= record["loss"].items()
    assert len(record["loss"]["source_hash"]) == 64


def test_another_function_of_the_same_name_is_another_objective():
    def power(exponent):
        return lambda output, reference: (output - reference).abs().pow(exponent).sum()

    _, _, pair = make_pair()
    records = [FAIG(pair, objective=power(exponent)).record() for exponent in (2, 3, 2)]
    assert records[0] == records[2] != records[1]


@dataclass(frozen=True)
class Power(Objective):
    """A class of a user's own."""

    exponent: int = 4
    name = "power"
    additive = True

    def loss(self, output, reference):
        return ((output - reference) ** self.exponent).sum()


class MeanPower(Power):
    """Says that it is a sum, and is none."""

    def loss(self, output, reference):
        return super().loss(output, reference) / output.numel()


def test_a_class_of_ones_own_counts_with_its_code_and_fields():
    _, _, pair = make_pair()
    image, rule = photographs(1)[0], Quadrature("gauss-legendre", 3)
    found = FAIG(pair, objective=Power(to="target"), quadrature=rule).attribute(image, DEGRADATIONS)
    same = OwnObjective(fourth, additive=True, to="target")
    expected = FAIG(pair, objective=same, quadrature=rule).attribute(image, DEGRADATIONS)
    torch.testing.assert_close(found.of("blur:1"), expected.of("blur:1"), rtol=1e-9, atol=0)
    hashes = [each.facts["source_hash"] for each in (Power(), Power(3), MeanPower(), Power())]
    assert len(set(hashes)) == 3 and hashes[0] == hashes[3]
    assert all(each.facts["stable"] for each in (Power(), MeanPower()))
    with pytest.raises(UsageError, match="'power' is no sum over pixels"):
        FAIG(pair, objective=MeanPower()).attribute(image, DEGRADATIONS)


def test_several_processes_share_nothing_that_cannot_be_hashed():
    lock = threading.Lock()

    def locked(output, reference):
        with lock:
            return (output - reference).abs().sum()

    class Two(Alone):
        size = 2

    _, _, pair = make_pair()
    assert FAIG(pair, objective=locked, nodes=1).attribute(photographs(1)[0], DEGRADATIONS).settings["loss"]["process"]
    with pytest.raises(UsageError, match=r"'test_several.*locked' uses what cannot be hashed, so several processes"):
        FAIG(pair, objective=locked).attribute(photographs(1)[0], DEGRADATIONS, store=Store(processes=Two()))


def test_lpips_sees_rgb_in_minus_one_to_one(monkeypatch):
    class Judge(nn.Module):
        """Stands in for the package, whose weights are elsewhere."""

        def __init__(self, net, verbose):
            super().__init__()
            torch.manual_seed(len(net))
            self.convolution = nn.Conv2d(3, 4, 3)
            self.dropout = nn.Dropout()

        def forward(self, first, second):
            difference = self.convolution(self.dropout(first)).tanh() - self.convolution(second).tanh()
            return difference.square().mean((1, 2, 3), keepdim=True)

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=Judge))
    judge = Judge("alex", False).double().eval()
    baseline, target, pair = make_pair()
    image = photographs(1)[0]
    formula = lambda y, r: judge(y * 2 - 1, r * 2 - 1).sum()  # noqa: E731
    expected = [
        by_hand((baseline, target), degraded(image, text), image[None], "truth", formula, gauss(6))
        for text in DEGRADATIONS
    ]
    found = FAIG(pair, loss="lpips", nodes=6).attribute(image, DEGRADATIONS)
    torch.testing.assert_close(found.of("blur:1"), expected[0] - expected[1], rtol=1e-5, atol=1e-12)
    with pytest.raises(UsageError, match="LPIPS compares RGB images, and the network returns 1 channels"):
        LPIPS().loss(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8))


def test_lpips_that_is_not_there_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(UsageError, match=r"The objective 'lpips' needs the package lpips \(.*\): pip install lpips\."):
        LPIPS("vgg").loss(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))

    def offline(net, verbose):
        raise OSError("no route")

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=offline))
    with pytest.raises(UsageError, match=r"LPIPS cannot load the weights of 'squeeze' \(no route\)"):
        LPIPS("squeeze").loss(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))


def test_the_gradient_alone_takes_objectives_too():
    baseline, target, pair = make_pair()
    image = photographs(1)[0]
    magnitudes = []
    for text in DEGRADATIONS:
        network = interpolated(baseline, target, 1)
        edges(network(degraded(image, text)), image[None]).backward()
        weights = [network.first.weight, network.second.weight]
        magnitudes.append(torch.cat([each.grad.abs().sum((2, 3)).flatten() for each in weights]))
    found = EndpointGradient(pair, objective=edges).attribute(image, DEGRADATIONS)
    torch.testing.assert_close(found.of("blur:1"), magnitudes[0] - magnitudes[1], rtol=1e-5, atol=1e-12)


def test_an_engine_takes_any_loss_as_before():
    _, _, pair = make_pair()
    inputs, truth = degraded(photographs(1)[0], "blur:1"), photographs(1)
    objective = SquaredDistance()
    first = Engine(pair, "fp32").loss_and_gradient(pair.target, inputs, truth, objective)
    second = Engine(pair, "fp32").loss_and_gradient(pair.target, inputs, truth, objective.loss)
    assert torch.equal(first[1], second[1]) and torch.equal(first[0], second[0])
