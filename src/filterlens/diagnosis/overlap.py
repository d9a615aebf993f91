# SPDX-License-Identifier: Apache-2.0
"""The overlap score: how many of the filters that serve one input are among those that serve a degradation.

OS(x, D) = |filter^D ∩ filter^x| / |filter^x| (paper, section on degradation prediction). filter^D is the top p % of a
ranking; filter^x is the top p % by the magnitudes of FAIG on the single input x. The magnitudes are taken as they are:
less the mean magnitudes of clean inputs, the overlap of blurred inputs rose and that of noisy ones fell, and no more
inputs were told rightly (both shipped pairs, 120 patches), so that nothing but the rankings is needed.

What the score cannot see: of the change of the shipped pairs on a noisy input nearly all is denoising, so blur beneath
noise of the trained strength leaves no trace in filter^x. Calibration finds this out, and verdicts say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from filterlens.arguments import is_whole
from filterlens.attribution.engine import Engine
from filterlens.attribution.objective import SquaredDistance
from filterlens.attribution.per_sample import patch_magnitudes
from filterlens.attribution.quadrature import Quadrature
from filterlens.diagnosis.patches import MOST_PATCHES, PATCH, cut_patches, patch_corners
from filterlens.errors import FilterlensError, UsageError
from filterlens.execution.hardware import resolve_precision
from filterlens.filters import Selection
from filterlens.pair import ModelPair
from filterlens.pixels import require_unit_range

LEAST_SIDE = 16  # LR pixels; on less, the magnitudes are those of the image's border


@dataclass(frozen=True)
class Reading:
    """How the filters of one input are found.

    Attributes:
        objective: ``target`` attributes the change of the network's own function, L(γ, x) = ‖F(γ, x) − F(θ, x)‖², and
            needs no ground truth; ``truth`` is the paper's objective, a diagnostic.
        nodes: Of the Gauss-Legendre rule on the path.
        precision: ``auto`` (bf16 where the hardware is fast at it), ``fp32`` or ``bf16``.
        whole: Judge the whole image instead of patches.
        patches: On how many patches of 64×64 LR pixels an image is judged at most.
    """

    objective: str = "target"
    nodes: int = 4
    precision: str = "auto"
    whole: bool = False
    patches: int = MOST_PATCHES

    def __post_init__(self) -> None:
        SquaredDistance(self.objective), Quadrature("gauss-legendre", self.nodes)
        resolve_precision(self.precision, torch.device("cpu"))
        if not is_whole(self.patches) or self.patches < 1:
            raise UsageError(f"{self.patches} patches are not legal: 1 or more.")


def input_magnitudes(
    pair: ModelPair, image: Tensor, truth: Tensor | None = None, reading: Reading | None = None
) -> Tensor:
    r"""Return the share of every filter in FAIG's magnitudes on one input: Σ_slice \|FAIG\|, divided by its total.

    An image larger than 64×64 LR pixels is judged on patches; each counts the same, whatever its contrast.

    Args:
        pair: Baseline and target.
        image: LR ``(1, 3, h, w)`` in [0, 1], as the network would get it.
        truth: HR ``(1, 3, h·s, w·s)``, for the objective ``truth`` alone.
        reading: How; the default needs no ground truth.

    Returns:
        ``(filters,)`` float64 on the CPU, with the sum 1.

    Raises:
        UsageError: The image has another shape or range, is too small, or its ground truth is missing.
        FilterlensError: The magnitudes are not finite or all zero.
    """
    reading = reading or Reading()
    _check_image(image)
    if reading.objective == "truth" and truth is None:
        raise UsageError("The objective 'truth' needs the ground truth of the image; 'target' needs none.")
    if truth is None:
        truth = image.new_zeros(1, 3, image.shape[-2] * pair.scale, image.shape[-1] * pair.scale)
    if reading.whole:
        return _share(_whole(pair, image, truth, reading))
    corners, scale = patch_corners(image.shape[-2], image.shape[-1], most=reading.patches), pair.scale
    inputs = cut_patches(image, corners)
    truths = cut_patches(truth, [(top * scale, left * scale) for top, left in corners], PATCH * scale)
    total = torch.zeros(len(pair.space), dtype=torch.float64)
    for magnitudes in _of_patches(pair, inputs, truths, reading):
        total += _share(magnitudes)
    return _share(total)


def overlap_scores(magnitudes: Tensor, selections: Mapping[str, Selection], percent: float) -> dict[str, float]:
    """Return OS(x, D) for every degradation D.

    Args:
        magnitudes: Of the input x, ``(filters,)``; its top ``percent`` % are filter^x.
        selections: Degradation → filter^D.
        percent: Share of the filters that both sets hold.
    """
    space = next(iter(selections.values())).space
    of_input = Selection.top(space, magnitudes, percent)
    return {name: of_input.overlap(selection) for name, selection in selections.items()}


def _check_image(image: Tensor) -> None:
    if image.ndim != 4 or image.shape[:2] != (1, 3):
        raise UsageError(f"An image must have the shape (1, 3, height, width), not {tuple(image.shape)}.")
    if not image.is_floating_point():
        raise UsageError(f"An image must be of floats in [0, 1], not {image.dtype}. Divide it by 255.")
    require_unit_range(image, "the image")
    height, width = image.shape[-2:]
    if min(height, width) < LEAST_SIDE:
        raise UsageError(
            f"An image of {width}x{height} LR pixels is too small to be judged: at least {LEAST_SIDE}x{LEAST_SIDE}."
        )


def _of_patches(pair: ModelPair, inputs: Tensor, truths: Tensor, reading: Reading) -> Tensor:
    return patch_magnitudes(
        pair,
        inputs,
        truths,
        objective=SquaredDistance(reading.objective),
        quadrature=Quadrature("gauss-legendre", reading.nodes),
        precision=precision_on(pair, reading),
    )


def _whole(pair: ModelPair, image: Tensor, truth: Tensor, reading: Reading) -> Tensor:
    """Integrate over the whole image, in exact tiles where it is large."""
    objective, engine = SquaredDistance(reading.objective), Engine(pair, precision_on(pair, reading))
    image, reference = image.to(pair.device, pair.dtype), truth.to(pair.device, pair.dtype)
    point = objective.network(pair)
    if point is not None:
        reference = engine.output(point, image)
    total = torch.zeros_like(pair.target)
    for alpha, weight in Quadrature("gauss-legendre", reading.nodes):
        total.add_(engine.loss_and_gradient(pair.at(alpha), image, reference, objective.loss)[1], alpha=weight)
    return pair.pool(total.mul_(pair.change).abs_()).cpu()


def precision_on(pair: ModelPair, reading: Reading) -> str:
    """Return ``fp32`` or ``bf16``: what the reading's precision means on the pair's device."""
    return resolve_precision(reading.precision, pair.device) if pair.dtype.itemsize == 4 else "fp32"


def _share(magnitudes: Tensor) -> Tensor:
    total = magnitudes.double().sum()
    if not torch.isfinite(total):
        raise FilterlensError(
            "The magnitudes of an input are not finite: the network overflows on its path. Try --precision fp32."
        )
    if total <= 0:
        raise FilterlensError("Baseline and target compute the same on this input, so no filter serves it.")
    return magnitudes.double() / total
