# SPDX-License-Identifier: Apache-2.0
"""FAIG against computations written here from the paper's formulas, by other means than the engine's."""

import numpy as np
import pytest
import torch
from torch import nn

from filterlens import FAIG, InputIG, Quadrature, RelativeChange, Taylor
from filterlens.attribution.image_free import AbsoluteChange
from filterlens.degradations import Degradation
from tests.attribution.small_networks import Curved, Linear, make_pair, photographs

DEGRADATIONS = ("blur:1", "noise:0.1")


def degraded(image, text, scale=2, resampler="bicubic"):
    return Degradation.parse(text).apply(image.unsqueeze(0), scale, seed=0, resampler=resampler)


def gradients_of_network(baseline, target, alpha, inputs, truth):
    """Load the interpolated state dict into a fresh module and call backward, as the reference implementation does."""
    network = Curved().double()
    first, second = baseline.state_dict(), target.state_dict()
    network.load_state_dict({key: first[key] + alpha * (second[key] - first[key]) for key in first})
    ((network(inputs) - truth) ** 2).sum().backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def faig_by_hand(baseline, target, inputs, truth, nodes):
    total = {}
    for alpha, weight in nodes:
        for name, gradient in gradients_of_network(baseline, target, alpha, inputs, truth).items():
            total[name] = total.get(name, 0) + weight * gradient
    change = {
        name: p.detach() - dict(baseline.named_parameters())[name].detach() for name, p in target.named_parameters()
    }
    return {name: total[name] * change[name] for name in total}


def filters_by_hand(per_weight):
    rows = []
    for name in ("first.weight", "second.weight"):
        weight = per_weight[name]
        for out_channel in range(weight.shape[0]):
            for in_channel in range(weight.shape[1]):
                rows.append(weight[out_channel, in_channel].abs().sum())
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("rule", "nodes"),
    [
        ("gauss-legendre", [(x / 2 + 0.5, w / 2) for x, w in zip(*np.polynomial.legendre.leggauss(5), strict=True)]),
        ("left", [(k / 5, 1 / 5) for k in range(5)]),
        ("right", [(1 - k / 5, 1 / 5) for k in range(5)]),
        ("midpoint", [((k + 0.5) / 5, 1 / 5) for k in range(5)]),
        ("trapezoid", [(0, 1 / 8), (0.25, 1 / 4), (0.5, 1 / 4), (0.75, 1 / 4), (1, 1 / 8)]),
    ],
)
def test_faig_equals_the_formula_computed_by_backward_on_fresh_modules(rule, nodes):
    baseline, target, pair = make_pair()
    images = photographs()
    found = FAIG(pair, quadrature=Quadrature(rule, 5)).attribute(images, DEGRADATIONS)
    expected = 0
    for image in images:
        own = filters_by_hand(faig_by_hand(baseline, target, degraded(image, "blur:1"), image[None], nodes))
        other = filters_by_hand(faig_by_hand(baseline, target, degraded(image, "noise:0.1"), image[None], nodes))
        expected = expected + (own - other) / len(images)
    torch.testing.assert_close(found.of("blur:1"), expected, rtol=1e-5, atol=1e-12)


def test_a_linear_networks_attribution_has_the_closed_form():
    baseline, target, pair = make_pair(Linear, change=1.0)
    image = photographs(1)[0]
    first, second = baseline.mix.weight[:, :, 0, 0], target.mix.weight[:, :, 0, 0]

    def closed(text):
        x = degraded(image, text, scale=1)[0].flatten(1)
        residual = (first + second) / 2 @ x - image.flatten(1)
        return (2 * residual @ x.T * (second - first)).abs().flatten()

    found = FAIG(pair, quadrature=Quadrature("midpoint", 1)).attribute(image, DEGRADATIONS)
    torch.testing.assert_close(found.of("blur:1"), closed("blur:1") - closed("noise:0.1"), rtol=1e-9, atol=0)
    assert found.completeness_gap < 1e-12


def test_completeness_gap_falls_as_nodes_grow_and_counts_biases():
    _, _, pair = make_pair(change=1.0)
    gaps = [
        FAIG(pair, quadrature=Quadrature("gauss-legendre", nodes))
        .attribute(photographs(1), DEGRADATIONS)
        .completeness_gap
        for nodes in (1, 2, 4, 16)
    ]
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3]
    assert gaps[3] < 1e-9
    assert gaps[0] > 1e-4


def test_two_rankings_are_exact_negatives():
    _, _, pair = make_pair()
    found = FAIG(pair).attribute(photographs(3), DEGRADATIONS)
    assert torch.equal(found.of("blur:1"), -found.of("noise:0.1"))


def test_taylor_is_gradient_at_the_target_times_change():
    baseline, target, pair = make_pair()
    image = photographs(1)[0]
    expected = [
        filters_by_hand(faig_by_hand(baseline, target, degraded(image, text), image[None], [(1, 1)]))
        for text in DEGRADATIONS
    ]
    torch.testing.assert_close(Taylor(pair).attribute(image, DEGRADATIONS).of("blur:1"), expected[0] - expected[1])


def test_input_ig_equals_the_formula():
    _, target, pair = make_pair()
    image = photographs(1)[0]
    start, end = degraded(image, "clean"), degraded(image, "noise:0.1")
    total = {}
    for k in range(7):
        network = Curved().double()
        network.load_state_dict(target.state_dict())
        network(start + k / 7 * (end - start)).sum().backward()
        for name, parameter in network.named_parameters():
            total[name] = total.get(name, 0) + parameter.grad / 7
    found = InputIG(pair, quadrature=Quadrature("left", 7)).attribute(image, DEGRADATIONS)
    torch.testing.assert_close(found.of("noise:0.1"), filters_by_hand(total))


def test_changes_equal_their_formulas():
    baseline, target, pair = make_pair()
    old, new = dict(baseline.named_parameters()), dict(target.named_parameters())
    absolute = filters_by_hand({name: (new[name] - old[name]).detach() for name in old})
    before = filters_by_hand({name: old[name].detach() for name in old})
    torch.testing.assert_close(AbsoluteChange(pair).attribute([], DEGRADATIONS).of("blur:1"), absolute)
    torch.testing.assert_close(RelativeChange(pair).attribute([], DEGRADATIONS).of("noise:0.1"), absolute / before)


def test_reference_protocol_is_bilinear_100_nodes_from_the_target_on_images_cut_to_12():
    baseline, target, pair = make_pair()
    image = photographs(1, height=40, width=31)[0]
    cut = image[:, :36, :24]
    nodes = [(1 - k / 100, 1 / 100) for k in range(100)]
    expected = [
        filters_by_hand(faig_by_hand(baseline, target, degraded(cut, text, resampler="bilinear"), cut[None], nodes))
        for text in DEGRADATIONS
    ]
    found = FAIG(pair, protocol="reference").attribute(image, DEGRADATIONS)
    torch.testing.assert_close(found.of("blur:1"), expected[0] - expected[1], rtol=1e-5, atol=1e-12)
    assert found.settings["precision"] == "fp32"


@pytest.mark.parametrize(("objective", "which"), [("target", "target"), ("baseline", "baseline")])
def test_other_objectives_measure_the_distance_to_a_networks_own_output(objective, which):
    baseline, target, pair = make_pair()
    image = photographs(1)[0]
    network: nn.Module = {"target": target, "baseline": baseline}[which]
    nodes = [(x / 2 + 0.5, w / 2) for x, w in zip(*np.polynomial.legendre.leggauss(24), strict=True)]
    magnitudes = []
    for text in DEGRADATIONS:
        inputs = degraded(image, text)
        with torch.no_grad():
            own = network(inputs)
        magnitudes.append(filters_by_hand(faig_by_hand(baseline, target, inputs, own, nodes)))
    found = FAIG(pair, objective=objective, quadrature=Quadrature("gauss-legendre", 24)).attribute(image, DEGRADATIONS)
    torch.testing.assert_close(found.of("blur:1"), magnitudes[0] - magnitudes[1], rtol=1e-5, atol=1e-12)
    ends = found.completeness[0].loss_target, found.completeness[0].loss_baseline
    assert ends[("target", "baseline").index(which)] == 0
