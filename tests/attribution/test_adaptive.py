# SPDX-License-Identifier: Apache-2.0
"""Adaptive nodes against scipy, against dense fixed rules, and on functions that are hard in one place."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from filterlens import FAIG, Quadrature, UsageError
from filterlens.attribution.goal import Weights
from filterlens.attribution.mask_optimisation import Schedule
from filterlens.attribution.quadrature import (
    Adaptive,
    kernel_weights,
    next_node,
    piecewise_errors,
)
from filterlens.attribution.settings import AttributeSettings
from tests.attribution.small_networks import Linear, make_pair, photographs

NODES = np.array([0.05, 0.2, 0.45, 0.5, 0.8, 0.97])


def matern(r):
    """The Matérn 5/2 kernel of length 1, from its textbook definition."""
    return (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r)


def interpolant(values):
    """The function that kernel quadrature integrates, built here by other means."""
    coefficients = np.linalg.lstsq(matern(np.abs(NODES[:, None] - NODES)), values, rcond=None)[0]
    return lambda x: float(matern(np.abs(x - NODES)) @ coefficients)


def peak(x):
    """A function that is flat but for one narrow peak at 0.67, and its antiderivative."""
    return 1 / (1 + ((x - 0.67) / 0.02) ** 2), 0.02 * np.arctan((x - 0.67) / 0.02)


def test_kernel_weights_integrate_the_interpolant():
    for values in (np.sin(5 * NODES), NODES**3, np.ones(6)):
        expected, _ = quad(interpolant(values), 0, 1, points=NODES.tolist())
        assert kernel_weights(NODES) @ values == pytest.approx(expected, rel=1e-6)


def test_kernel_weights_integrate_smooth_functions_on_gauss_nodes():
    for n, error in ((6, 2e-3), (12, 1e-4), (32, 1e-6)):
        nodes = np.array([alpha for alpha, _ in Quadrature("gauss-legendre", n)])
        assert kernel_weights(nodes) @ np.exp(nodes) == pytest.approx(np.e - 1, rel=error)


def test_piecewise_errors_are_the_interpolants_integral_less_the_change_of_the_loss():
    slopes, losses = np.cos(4 * NODES), np.sin(4 * np.concatenate(([0], NODES, [1]))) / 4 + 7
    edges = np.concatenate(([0], NODES, [1]))
    function = interpolant(slopes)
    expected = [
        quad(function, a, b)[0] - (d - c) for a, b, c, d in zip(edges, edges[1:], losses, losses[1:], strict=False)
    ]
    np.testing.assert_allclose(piecewise_errors(NODES, slopes, losses), expected, atol=1e-8)


def test_the_next_nodes_gather_where_the_integrand_is_hard():
    nodes = np.array(Adaptive().start())
    for _ in range(12):
        slopes, losses = peak(nodes)[0], peak(np.concatenate(([0], nodes, [1])))[1]
        nodes = np.sort([*nodes, next_node(nodes, slopes, losses)])
    assert (np.abs(nodes - 0.67) < 0.1).sum() >= 7
    adaptive_error = abs(kernel_weights(nodes) @ peak(nodes)[0] - np.subtract(*peak(np.array([1, 0]))[1]))
    gauss_error = abs(
        sum(weight * peak(alpha)[0] for alpha, weight in Quadrature("gauss-legendre", len(nodes)))
        - np.subtract(*peak(np.array([1, 0]))[1])
    )
    assert adaptive_error < gauss_error / 10


def test_without_errors_the_widest_piece_is_halved():
    nodes = np.array([0.1, 0.2, 0.9])
    assert next_node(nodes, np.zeros(3), np.zeros(5)) == pytest.approx(0.55)


def test_adaptive_scores_approach_those_of_a_dense_rule_and_report_nodes_and_gap():
    _, _, pair = make_pair(change=1.0)
    images = photographs(2)
    dense = FAIG(pair, quadrature=Quadrature("gauss-legendre", 64)).attribute(images, ["blur:1", "noise:0.1"])
    errors, nodes = [], []
    for tolerance in (0.3, 1e-5):
        found = FAIG(pair, quadrature=Adaptive(tolerance)).attribute(images, ["blur:1", "noise:0.1"])
        errors.append(float((found.of("blur:1") - dense.of("blur:1")).abs().max() / dense.of("blur:1").abs().max()))
        nodes.append([entry.nodes for entry in found.completeness])
        assert all(entry.change is not None and entry.change <= tolerance for entry in found.completeness)
    assert errors[1] < 1e-4 and errors[1] < errors[0]
    assert max(nodes[0]) < min(nodes[1])
    assert found.completeness_gap < 1e-5


def test_a_simple_path_takes_the_fewest_nodes():
    _, _, pair = make_pair(Linear)  # a squared linear function: the integrand is a straight line
    found = FAIG(pair).attribute(photographs(1), ["noise:0.1", "blur:1"])
    assert [entry.nodes for entry in found.completeness] == [7, 7]
    assert found.completeness_gap < 1e-4


def test_nodes_stop_at_the_most():
    _, _, pair = make_pair(change=1.0)
    found = FAIG(pair, quadrature=Adaptive(1e-12, first=2, most=4)).attribute(photographs(1), ["noise:0.1", "blur:1"])
    assert [entry.nodes for entry in found.completeness] == [4, 4]
    assert found.settings["tolerance"] == 1e-12


def rule_from(name, nodes, tolerance, usual):
    """The rule from the three settings."""
    return AttributeSettings.of({"quadrature": name, "nodes": nodes, "tolerance": tolerance}).rule(usual)


@pytest.mark.parametrize("arguments", [(0,), (1,), (-0.1,), (0.01, 1), (0.01, 8, 8), (0.01, 5, 100)])
def test_illegal_settings_are_refused(arguments):
    with pytest.raises(UsageError, match="not legal"):
        Adaptive(*arguments)


def test_a_rule_from_what_the_user_gives():
    usual, reference = Adaptive(), Quadrature("right", 100)
    assert rule_from(None, None, 0.05, usual) == Adaptive(0.05)
    assert rule_from("adaptive", None, None, reference) == Adaptive()
    assert rule_from(None, 8, None, usual) == Quadrature("gauss-legendre", 8)
    assert rule_from(None, 8, None, reference) == Quadrature("right", 8)
    assert rule_from("left", None, None, reference) == Quadrature("left", 100)
    with pytest.raises(UsageError, match="Did you mean 'adaptive'"):
        rule_from("adaptiv", None, None, usual)
    with pytest.raises(UsageError, match="--tolerance is for adaptive"):
        rule_from(None, 8, 0.1, usual)
    with pytest.raises(UsageError, match="--nodes is for fixed"):
        rule_from("adaptive", 8, None, usual)


def test_scores_do_not_depend_on_the_users_default_type():
    _, _, pair = make_pair()
    plain = FAIG(pair).attribute(photographs(1), ["noise:0.1", "blur:1"])
    torch.set_default_dtype(torch.float64)
    try:
        other = FAIG(pair).attribute(photographs(1), ["noise:0.1", "blur:1"])
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(plain.of("blur:1"), other.of("blur:1"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rule_from(None, 0, None, Adaptive()), "0 nodes are not legal"),
        (lambda: rule_from(None, -3, None, Adaptive()), "-3 nodes are not legal"),
        (lambda: Quadrature("midpoint", 2.5), "2.5 nodes are not legal"),
        (lambda: Quadrature("midpoint", True), "True nodes are not legal"),
        (lambda: rule_from(None, None, float("nan"), Adaptive()), "tolerance = nan: Input should be a finite number"),
        (lambda: rule_from(None, None, -0.1, Adaptive()), "Tolerance -0.1 is not legal"),
        (lambda: Adaptive("0.1"), "Tolerance 0.1 is not legal"),
        (lambda: Adaptive(0.1, first=2.0), "2.0 first and 32 most nodes are not legal"),
        (lambda: Schedule(steps=0), "steps = 0 is not legal"),
        (lambda: Schedule(share=1), "share of the filters = 1 is not legal"),
        (lambda: Weights(own=float("nan")), "weight of 'own' = nan is not legal"),
    ],
)
def test_numbers_that_decide_scores_are_checked(make, words):
    with pytest.raises(UsageError, match=words):
        make()


@pytest.mark.parametrize(
    "setting", [{"seed": -1}, {"seed": 1.5}, {"memory": 0}, {"memory": float("nan")}, {"memory": True}]
)
def test_conditions_of_a_method_are_checked(setting):
    with pytest.raises(UsageError, match=r"(seed|memory in GiB) = .* is not legal"):
        FAIG(make_pair()[2], **setting)
