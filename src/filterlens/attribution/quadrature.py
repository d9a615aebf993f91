# SPDX-License-Identifier: Apache-2.0
"""Rules for the integral over the path, ∫₀¹ f(α) dα ≈ Σ w_k f(α_k), with fixed or adaptive nodes.

Between two neighbouring nodes the integral of the summed integrand is known exactly: it is the difference of the losses
there. So every piece of the path has a known completeness error, and the next node goes where it is largest. The
weights for the unevenly spaced nodes integrate the smoothest interpolant (kernel quadrature, Matérn 5/2).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from filterlens.arguments import is_finite, is_whole
from filterlens.errors import UsageError, unknown

Array = npt.NDArray[np.float64]
RULES = ("gauss-legendre", "midpoint", "trapezoid", "left", "right")
LENGTH = 1.0  # of the kernel, the whole path; a half or a third of it gave the same rankings
JITTER = 1e-10
_FINE = 16


@dataclass(frozen=True)
class Quadrature:
    """A rule and its number of nodes on [0, 1].

    Attributes:
        rule: ``gauss-legendre`` (exact for polynomials up to degree 2n − 1), ``midpoint``, ``trapezoid``, ``left``
            (α = k/n) or ``right`` (α = (k + 1)/n). On the parameter path 0 is the baseline and 1 the target; the
            reference implementation counts k/100 *from the target*, which here is ``right`` with 100 nodes.
        nodes: Number of gradients per image and degradation.

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


@dataclass(frozen=True)
class Adaptive:
    """A rule that adds nodes per image and degradation until a further node makes no relevant difference.

    Attributes:
        tolerance: Limit at which to stop: the completeness errors of all pieces of the path, added without
            cancellation, are less than this share of the span of the loss on it, **and** the last node changed less
            than this share of the top 1 % of the filters.
        first: Number of Gauss-Legendre nodes at the start.
        most: Largest number of nodes.
    """

    tolerance: float = 0.01
    first: int = 6
    most: int = 32

    def __post_init__(self) -> None:
        if not (is_finite(self.tolerance) and 0 < self.tolerance < 1):
            raise UsageError(f"Tolerance {self.tolerance} is not legal: a share above 0 and below 1, for example 0.01.")
        if not (is_whole(self.first) and is_whole(self.most) and 2 <= self.first < self.most <= 64):
            raise UsageError(
                f"{self.first} first and {self.most} most nodes are not legal: 2 ≤ first < most ≤ 64, "
                "for example 6 and 32."
            )

    rule = "adaptive"

    @property
    def nodes(self) -> int:
        """The usual number of nodes, for progress bars."""
        return self.first + 4

    def start(self) -> list[float]:
        """Return the first nodes."""
        return [alpha for alpha, _ in Quadrature("gauss-legendre", self.first)]

    def __str__(self) -> str:
        return f"adaptive, tolerance {self.tolerance:g}"


def kernel_weights(nodes: Array) -> Array:
    """Return w with Σ w_k f(α_k) ≈ ∫₀¹ f(α) dα for distinct nodes ``(n,)`` in [0, 1]."""
    return _solve(nodes, _integrals(nodes, np.array([0.0, 1.0]))[0])


def piecewise_errors(nodes: Array, slopes: Array, losses: Array) -> Array:
    """Return by how much the interpolated slope misses the change of the loss on every piece of the path.

    Args:
        nodes: Ascending, ``(n,)``.
        slopes: dL/dα at the nodes, ``(n,)``.
        losses: L at 0, at the nodes, and at 1, ``(n + 2,)``.

    Returns:
        ``(n + 1,)``, signed; their sum is the completeness error of the whole path.
    """
    edges = np.concatenate(([0.0], nodes, [1.0]))
    return _integrals(nodes, edges) @ _solve(nodes, slopes) - np.diff(losses)


def next_node(nodes: Array, slopes: Array, losses: Array) -> float:
    """Return the middle of the piece with the largest error; arguments as for :func:`piecewise_errors`."""
    edges = np.concatenate(([0.0], nodes, [1.0]))
    errors = np.abs(piecewise_errors(nodes, slopes, losses))
    widths = np.diff(edges)
    floor = 1e-4 * float(losses.max() - losses.min()) + np.finfo(np.float64).tiny
    worst = int(np.argmax(errors + floor * widths))  # without any error, the widest piece
    return float((edges[worst] + edges[worst + 1]) / 2)


def _kernel(x: Array, y: Array) -> Array:
    r = np.sqrt(5) * np.abs(x[:, None] - y[None]) / LENGTH
    result: Array = (1 + r + r**2 / 3) * np.exp(-r)
    return result


def _solve(nodes: Array, right: Array) -> Array:
    matrix = _kernel(nodes, nodes) + JITTER * np.eye(len(nodes))
    result: Array = np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)
    return result


def _integrals(nodes: Array, edges: Array) -> Array:
    """Return ∫ k(α, node) dα over every piece between neighbouring edges: ``(pieces, nodes)``."""
    points, weights = np.polynomial.legendre.leggauss(_FINE)
    breaks = np.unique(np.concatenate((edges, nodes)))  # the kernel is smooth between nodes
    left, widths = breaks[:-1], np.diff(breaks)
    fine = left[:, None] + widths[:, None] * (points + 1) / 2
    parts = (_kernel(fine.ravel(), nodes).reshape(*fine.shape, -1) * weights[:, None] / 2).sum(1) * widths[:, None]
    owner = np.searchsorted(edges, left, side="right") - 1
    return np.stack([parts[owner == piece].sum(0) for piece in range(len(edges) - 1)])
