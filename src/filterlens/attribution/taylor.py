# SPDX-License-Identifier: Apache-2.0
"""Gradient at the endpoint times change: the first-order Taylor estimate, FAIG with a single node at the target."""

from filterlens.attribution.faig import FAIG
from filterlens.attribution.quadrature import Quadrature


class Taylor(FAIG):
    """|∂L(θ, x)/∂θ_i · (θ_i − θ̄_i)|, pooled and discriminated exactly as FAIG; no path, one gradient."""

    name = "taylor"
    summary = "gradient at the target times change, discriminated as FAIG (one gradient instead of a path)"
    default_quadrature = Quadrature("right", 1)
