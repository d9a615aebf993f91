# SPDX-License-Identifier: Apache-2.0
"""What a single gradient, at the target, says of the filters: alone, and times the change of the weights."""

from collections.abc import Callable

from torch import Tensor

from filterlens.attribution.faig import FAIG
from filterlens.attribution.quadrature import Quadrature
from filterlens.attribution.units import Measurement, Unit


class Taylor(FAIG):
    """|∂L(θ, x)/∂θ_i · (θ_i − θ̄_i)|, pooled and discriminated exactly as FAIG; no path, one gradient."""

    name = "taylor"
    summary = "gradient at the target times change, discriminated as FAIG (one gradient instead of a path)"
    default_quadrature = Quadrature("right", 1)


class EndpointGradient(Taylor):
    """|∂L(θ, x)/∂θ_i|, pooled and discriminated exactly as FAIG: what the gradient says without path and change.

    The baseline plays no part in it, unless the objective names it.
    """

    name = "gradient"
    summary = "gradient at the target alone, discriminated as FAIG (neither a path nor the change)"

    def measure(self, unit: Unit, prepared: tuple[Tensor, ...], step: Callable[[], None]) -> Measurement:
        """Return the magnitudes of the gradient for one image with one degradation; nothing adds up to anything."""
        truth, inputs = prepared
        point = self.objective.network(self.pair)
        reference = truth if point is None else self.engine.output(point, inputs)
        _, gradient = self.engine.loss_and_gradient(self.pair.target, inputs, reference, self.objective.loss)
        step()
        return Measurement(self.magnitudes(gradient))
