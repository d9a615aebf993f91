# SPDX-License-Identifier: Apache-2.0
"""Evaluation of knobs that dial a function: removal on its own input and preservation on the others, at each λ."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from filterlens.arguments import as_list, real_number, seed_number
from filterlens.data.samples import Sample
from filterlens.degradations import Degradation
from filterlens.editing.dial import modulated
from filterlens.evaluation.damage import Ends, judged_input
from filterlens.evaluation.function_distance import preservation, removal
from filterlens.filters import Selection
from filterlens.metrics import psnr
from filterlens.pair import ModelPair
from filterlens.pixels import require_finite


class Knob(Protocol):
    """Makes an output between those of baseline (λ = 0) and target (λ = 1), or beyond."""

    def output(self, pair: ModelPair, strength: float, ends: Ends, precision: str) -> Tensor:
        """Return HR ``(1, 3, H, W)``, not clipped."""
        ...


@dataclass(frozen=True, eq=False)
class FilterKnob:
    """The selected filters at θ̄ + λ(θ − θ̄), all others the target's (paper, controllable restoration)."""

    selection: Selection

    def output(self, pair: ModelPair, strength: float, ends: Ends, precision: str) -> Tensor:
        """Return F(θ(λ), x)."""
        return pair.run(modulated(pair, self.selection, strength), ends.lowered, precision)


class AllWeights:
    """All weights and biases at θ̄ + λ(θ − θ̄): deep network interpolation (Wang et al., CVPR 2019)."""

    def output(self, pair: ModelPair, strength: float, ends: Ends, precision: str) -> Tensor:
        """Return F(γ(λ), x)."""
        return pair.run(pair.at(strength), ends.lowered, precision)


class OutputBlend:
    """λ F(θ, x) + (1 − λ) F(θ̄, x): both networks run and their pictures are mixed."""

    def output(self, pair: ModelPair, strength: float, ends: Ends, precision: str) -> Tensor:
        """Return the mixture."""
        return torch.lerp(ends.baseline, ends.target, strength)


@dataclass(frozen=True)
class Dialled:
    """The output of one knob at one strength for one image of one input.

    Attributes:
        knob: Name of the knob.
        strength: λ.
        input: Name of the input's degradation.
        image: Name of the image.
        psnr: PSNR against the ground truth, in dB.
        to_baseline: ‖E − B‖²; 1 − to_baseline / scale is removal.
        to_target: ‖E − T‖²; 1 − to_target / scale is preservation.
        scale: ‖T − B‖².
    """

    knob: str
    strength: float
    input: str
    image: str
    psnr: float
    to_baseline: float
    to_target: float
    scale: float


@torch.no_grad()
def measure_knobs(
    pair: ModelPair,
    knobs: Mapping[str, tuple[Knob, Collection[str]]],
    sample: Sample,
    inputs: Mapping[str, Degradation],
    strengths: Sequence[float],
    *,
    seed: int = 0,
    precision: str = "fp32",
) -> list[Dialled]:
    """Dial every knob on one image.

    Args:
        pair: Baseline and target.
        knobs: Name → knob, and the names of the inputs on which it is tried.
        sample: HR image.
        inputs: Name → degradation.
        strengths: λ; at 1 every knob gives the target, which is not computed again.
        seed: Seed of the noise.
        precision: ``fp32`` or ``bf16``.
    """
    dialled = [real_number(strength, "strength") for strength in as_list(strengths, int, float)]
    seed = seed_number(seed)
    found: list[Dialled] = []
    for name, degradation in inputs.items():
        truth, ends = judged_input(pair, sample, degradation, name, seed=seed, precision=precision)
        for knob, (own, where) in knobs.items():
            for strength in dialled if name in where else ():
                output = ends.target if strength == 1 else own.output(pair, strength, ends, precision)
                require_finite(output, f"the knob '{knob}' at {strength:g}", sample.name, name)
                quality = float(psnr(output, truth, crop=pair.scale))
                to_baseline, _ = removal(output, ends.baseline, ends.target)
                distances = to_baseline, *preservation(output, ends.baseline, ends.target)
                found.append(Dialled(knob, strength, name, sample.name, quality, *distances))
    return found


def best_strength(strengths: Sequence[float], values: npt.ArrayLike) -> float:
    """Return the λ with the highest value: the vertex of the parabola through the best point and its neighbours.

    At an end of the range it is that end. ``strengths`` ascend.
    """
    x, y = np.asarray(strengths, dtype=np.float64), np.asarray(values, dtype=np.float64)
    best = int(y.argmax())
    if best in (0, len(x) - 1):
        return float(x[best])
    curvature, slope, _ = np.polyfit(x[best - 1 : best + 2] - x[best], y[best - 1 : best + 2], 2)
    return float(x[best] - slope / (2 * curvature)) if curvature < 0 else float(x[best])


def preservation_at(removals: Sequence[float], preservations: Sequence[float], level: float) -> float | None:
    """Return the preservation where a knob, turned down from λ = 1, first removes ``level``.

    Between two points the distances √(1 − R) to the baseline and √(1 − P) to the target change linearly, which is exact
    for a blend of outputs: there R = 1 − λ² and P = 1 − (1 − λ)².

    Args:
        removals: R in the order in which the knob is turned, from λ = 1 downwards; all at most 1.
        preservations: P at the same points, of any other input.
        level: The removal to reach.

    Returns:
        None where no point removes as much.
    """
    index = next((index for index, value in enumerate(removals) if value >= level), None)
    if index is None or index == 0:
        return None if index is None else preservations[0]
    (near, far), (before, after) = (
        [math.sqrt(1 - values[at]) for at in (index - 1, index)] for values in (removals, preservations)
    )
    part = (near - math.sqrt(1 - level)) / (near - far)
    return 1 - (before + part * (after - before)) ** 2
