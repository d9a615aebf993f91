# SPDX-License-Identifier: Apache-2.0
"""Degradations of growing strength: those a network was trained for, beyond the trained value, and others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from filterlens.degradations import Degradation
from filterlens.degradations.pipeline import CLEAN

SweepName = Literal["blur", "noise", "anisotropic", "motion", "poisson", "jpeg", "chain+jpeg"]


@dataclass(frozen=True)
class Sweep:
    """One kind of degradation at several strengths.

    Attributes:
        name: Of the kind.
        axis: What the strength is, with its unit.
        inputs: Strength → written degradation, in the order of the strengths; strength 0 is the clean input.
        log: Whether strengths spread over a logarithmic axis.
    """

    name: str
    axis: str
    inputs: Mapping[float, str]
    log: bool = False

    def trained(self, degradations: Sequence[str]) -> float | None:
        """Return the strength for which the network was trained, if this kind is one of those."""
        return next((strength for strength, text in self.inputs.items() if text in degradations), None)


@dataclass(frozen=True)
class _Kind:
    written: str
    axis: str
    strengths: tuple[float, ...]
    log: bool = False


_KINDS: dict[SweepName, _Kind] = {
    "blur": _Kind("blur:{:g}", "σ of the blur, HR pixels", (0, 0.5, 1, 1.5, 2, 2.5, 3, 4)),
    "noise": _Kind("noise:{:g}", "σ of the noise, of the range", (0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)),
    "anisotropic": _Kind("blur:{:g},sigma_y=0.7,angle=30", "long σ of a flat blur (short: 0.7)", (1, 2, 3, 4)),
    "motion": _Kind("motion:{:g},angle=30", "length of the motion, HR pixels", (3, 5, 9, 15, 21)),
    "poisson": _Kind("poisson:{:g}", "photons at white (fewer: noisier)", (10, 30, 100, 300, 1000), log=True),
    "jpeg": _Kind("jpeg:{:g}", "JPEG quality", (10, 30, 50, 70, 90)),
    "chain+jpeg": _Kind("{chain}+jpeg:{:g}", "JPEG quality after all trained degradations", (10, 30, 50, 70, 90)),
}  # fmt: skip
DEFAULT_STRENGTHS: dict[SweepName, tuple[float, ...]] = {name: kind.strengths for name, kind in _KINDS.items()}


def sweeps_of(strengths: Mapping[SweepName, Sequence[float]], degradations: Sequence[str]) -> list[Sweep]:
    """Return the sweeps with canonical inputs.

    Args:
        strengths: Kind → its strengths; 0 is the clean input.
        degradations: What the network was trained for; all of them together, but for JPEG, are the chain.

    Raises:
        UsageError: A strength is not legal, or the trained degradations cannot be joined.
    """
    chain = "+".join(text for text in degradations if Degradation.parse(text).jpeg is None)
    sweeps = []
    for name, values in strengths.items():
        kind = _KINDS[name]
        written = kind.written.replace("{chain}+", f"{chain}+" if chain else "")
        inputs = {value: str(Degradation.parse(written.format(value))) if value else CLEAN for value in sorted(values)}
        sweeps.append(Sweep(name, kind.axis, inputs, kind.log))
    return sweeps


def inputs_of(sweeps: Sequence[Sweep]) -> list[str]:
    """Return every input of all sweeps once."""
    return list(dict.fromkeys(text for sweep in sweeps for text in sweep.inputs.values()))
