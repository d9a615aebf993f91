# SPDX-License-Identifier: Apache-2.0
"""Rules for the integral over the path, ∫₀¹ f(α) dα ≈ Σ w_k f(α_k)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from filterlens.arguments import is_whole
from filterlens.errors import UsageError, unknown

RULES = ("gauss-legendre", "midpoint", "trapezoid", "left", "right")


@dataclass(frozen=True)
class Quadrature:
    """A rule and its number of nodes on [0, 1].

    Attributes:
        rule: ``gauss-legendre`` (exact for polynomials up to degree 2n − 1), ``midpoint``, ``trapezoid``, ``left``
            (α = k/n) or ``right`` (α = (k + 1)/n). On the parameter path 0 is the baseline and 1 the target; the
            reference implementation counts k/100 *from the target*, which here is ``right`` with 100 nodes.
        nodes: How many gradients are computed per image and degradation.

    Example:
        >>> [round(alpha, 3) for alpha, _ in Quadrature("gauss-legendre", 2)]
        [0.211, 0.789]
    """

    rule: str = "gauss-legendre"
    nodes: int = 24

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise unknown("quadrature", self.rule, RULES)
        least = 2 if self.rule == "trapezoid" else 1
        most = (
            256 if self.rule == "gauss-legendre" else 10_000
        )  # computing a large Gauss rule takes longer than using it
        if not is_whole(self.nodes) or not least <= self.nodes <= most:
            raise UsageError(f"{self.nodes} nodes are not legal for '{self.rule}': from {least} to {most}.")

    def __iter__(self) -> Iterator[tuple[float, float]]:
        """Yield (α, weight); the weights sum to 1."""
        n, k = self.nodes, np.arange(self.nodes)
        uniform = np.full(n, 1 / n)
        if self.rule == "gauss-legendre":
            points, weights = np.polynomial.legendre.leggauss(n)
            alphas, weights = (points + 1) / 2, weights / 2
        elif self.rule == "midpoint":
            alphas, weights = (k + 0.5) / n, uniform
        elif self.rule == "trapezoid":
            alphas, weights = k / (n - 1), np.full(n, 1 / (n - 1))
            weights[[0, -1]] /= 2
        else:
            alphas, weights = (k + (self.rule == "right")) / n, uniform
        yield from zip(alphas.tolist(), weights.tolist(), strict=True)

    def __str__(self) -> str:
        return f"{self.rule}, {self.nodes} nodes"
