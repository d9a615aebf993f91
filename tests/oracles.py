# SPDX-License-Identifier: Apache-2.0
"""Scores by hand: a Gauss-Legendre sum over the path, with plain autograd on plain modules."""

import copy
import math

import torch
from torch import nn


def gauss_legendre(count):
    """Return nodes and weights on [0, 1]: eigenvalues of the Jacobi matrix (Golub and Welsch 1969)."""
    beside = torch.tensor([k / math.sqrt(4 * k * k - 1) for k in range(1, count)], dtype=torch.float64)
    values, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return ((values + 1) / 2).tolist(), vectors[0].square().tolist()


def faig_by_hand(baseline, target, images, truth, *, call=None, loss=None, magnitudes=False):
    """Return Σ over each convolution's filter of ∫ ∂L/∂θ dα · (θ − θ̄), ``(filters,)`` float64.

    Args:
        baseline: Network before.
        target: Network after, of the same class.
        images: LR images.
        truth: HR images.
        call: Function (network, images) → output.
        loss: Function (output, truth) → scalar; the sum of squares by default.
        magnitudes: Whether the sum is over absolute values.
    """
    call = call or (lambda network, x: network(x))
    loss = loss or (lambda output, reference: (output - reference).square().sum())
    ends = [[each.detach().double() for each in network.parameters()] for network in (baseline, target)]
    middle = copy.deepcopy(target).double().eval().requires_grad_(True)
    weights = list(middle.parameters())
    totals = [torch.zeros_like(each) for each in weights]
    for alpha, weight in zip(*gauss_legendre(16), strict=True):
        with torch.no_grad():
            for each, low, high in zip(weights, *ends, strict=True):
                each.copy_(low + alpha * (high - low))
        gradients = torch.autograd.grad(loss(call(middle, images.clone()), truth), weights, allow_unused=True)
        for total, gradient in zip(totals, gradients, strict=True):
            total.add_(0 if gradient is None else gradient, alpha=weight)
    shares = {id(each): total * (high - low) for each, total, low, high in zip(weights, totals, *ends, strict=True)}
    convolutions = [each for each in middle.modules() if isinstance(each, nn.Conv2d)]
    found = [shares[id(each.weight)] for each in convolutions]
    return torch.cat([(each.abs() if magnitudes else each).sum((2, 3)).flatten() for each in found])
