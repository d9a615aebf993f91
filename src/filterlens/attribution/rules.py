# SPDX-License-Identifier: Apache-2.0
"""The rule of an integral from the three settings that a user may give."""

from filterlens.attribution.adaptive import Adaptive
from filterlens.attribution.quadrature import RULES, Quadrature
from filterlens.errors import UsageError, unknown


def rule_from(
    name: str | None, nodes: int | None, tolerance: float | None, usual: Quadrature | Adaptive
) -> Quadrature | Adaptive:
    """Choose a rule.

    Args:
        name: ``adaptive`` or a fixed rule; with ``nodes`` alone Gauss-Legendre is meant, or the protocol's fixed rule.
        nodes: Of a fixed rule.
        tolerance: Of the adaptive one.
        usual: The protocol's rule.

    Raises:
        UsageError: An unknown rule, or a setting of the other kind of rule.
    """
    if name is not None and name not in (Adaptive.rule, *RULES):
        raise unknown("quadrature", name, (Adaptive.rule, *RULES))
    fixed = nodes is not None or name not in (None, Adaptive.rule)
    if fixed and tolerance is not None:
        raise UsageError("--tolerance is for adaptive nodes; with a fixed rule or --nodes it has no meaning.")
    if nodes is not None and name == Adaptive.rule:
        raise UsageError("--nodes is for fixed rules; adaptive ones take --tolerance.")
    if not fixed:
        return Adaptive() if tolerance is None else Adaptive(tolerance)
    like = usual if isinstance(usual, Quadrature) else Quadrature()
    return Quadrature(name or like.rule, like.nodes if nodes is None else nodes)
