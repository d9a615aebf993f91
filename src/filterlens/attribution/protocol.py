# SPDX-License-Identifier: Apache-2.0
"""How inputs are made and integrals taken: the default, and the reference implementation's choices."""

from dataclasses import dataclass, field

from filterlens.attribution.adaptive import Adaptive
from filterlens.attribution.quadrature import Quadrature
from filterlens.errors import unknown


@dataclass(frozen=True)
class Protocol:
    """A bundle of choices that decide the numbers.

    Attributes:
        name: ``default`` or ``reference``.
        resampler: Of the down-sampling.
        multiple: HR images are cut to multiples of the scale and of this.
        parameter_quadrature: On the parameter path (FAIG).
        input_quadrature: On the input path (IG).
        precision: What ``auto`` means under this protocol; None leaves it to the hardware.
    """

    name: str
    resampler: str = "bicubic"
    multiple: int = 1
    parameter_quadrature: Quadrature | Adaptive = field(default_factory=Adaptive)
    input_quadrature: Quadrature = field(default_factory=lambda: Quadrature("gauss-legendre", 8))
    precision: str | None = None


PROTOCOLS = {
    "default": Protocol("default"),
    # Bilinear although called bicubic; 100 nodes counted from the target; images cut to multiples of 12; float32.
    "reference": Protocol("reference", "bilinear", 12, Quadrature("right", 100), Quadrature("left", 100), "fp32"),
}


def protocol_named(name: str) -> Protocol:
    """Return a protocol by name; an unknown name is a UsageError."""
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
