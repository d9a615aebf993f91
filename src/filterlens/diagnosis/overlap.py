# SPDX-License-Identifier: Apache-2.0
"""The overlap score: the share of an input's filters that are also filters of a degradation.

OS(x, D) = |filter^D ∩ filter^x| / |filter^x| (paper, section on degradation prediction). filter^D is the top p % of a
ranking; filter^x is the top p % by the magnitudes of FAIG on the single input x. The magnitudes are taken as they are:
without the mean magnitudes of clean inputs, the overlap of blurred inputs rose and that of noisy ones fell, and no more
inputs were classified correctly (both shipped pairs, 120 patches), so that nothing but the rankings is needed.

The score has a blind spot: nearly all of the change of the shipped pairs on a noisy input is denoising, so blur beneath
noise of the trained strength leaves no trace in filter^x. Calibration detects this, and verdicts say so.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from filterlens.arguments import is_whole
from filterlens.attribution.engine import Engine
from filterlens.attribution.objectives import SquaredDistance
from filterlens.attribution.per_sample import patch_magnitudes
from filterlens.attribution.quadrature import Quadrature
from filterlens.errors import FilterlensError, UsageError
from filterlens.execution.hardware import resolve_precision
from filterlens.filters import Selection
from filterlens.pair import ModelPair
from filterlens.pixels import require_unit_range

PATCH = 64  # LR pixels; thresholds are calibrated on patches of this size
MOST_PATCHES = 4  # of an image: with 4 nodes 16 gradients, a quarter of what all of 256x256 pixels would take
LEAST_SIDE = 16  # LR pixels; on less, the magnitudes are those of the image's border


@dataclass(frozen=True)
class Reading:
    """How the filters of one input are found.

    Attributes:
        objective: ``target`` attributes the change of the network's own function, L(γ, x) = ‖F(γ, x) − F(θ, x)‖², and
            needs no ground truth; ``truth`` is the paper's objective, a diagnostic.
        nodes: Nodes of the Gauss-Legendre rule on the path.
        precision: ``auto`` (bf16 where the hardware is fast at it), ``fp32`` or ``bf16``.
        whole: Judge the whole image instead of patches.
        patches: Greatest number of patches of 64×64 LR pixels on which an image is judged.
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
        reading: Settings of the reading; the default needs no ground truth.

    Returns:
        ``(filters,)`` float64 on the CPU, with the sum 1.

    Raises:
        UsageError: The image has another shape or range, is too small, or its ground truth is missing.
        FilterlensError: The magnitudes are not finite or all zero.
    """
    reading = reading or Reading()
    _check_image(image, pair.channels_in)
    if reading.objective == "truth" and truth is None:
        raise UsageError("The objective 'truth' needs the ground truth of the image; 'target' needs none.")
    if truth is None:
        height, width = (side * pair.scale for side in image.shape[-2:])
        truth = image.new_zeros(1, pair.channels_out, height, width)
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
        magnitudes: Magnitudes on the input x, ``(filters,)``; their top ``percent`` % are filter^x.
        selections: Degradation → filter^D.
        percent: Share of the filters that both sets hold.
    """
    space = next(iter(selections.values())).space
    of_input = Selection.top(space, magnitudes, percent)
    return {name: of_input.overlap(selection) for name, selection in selections.items()}


def patch_corners(height: int, width: int, size: int = PATCH, most: int = MOST_PATCHES) -> list[tuple[int, int]]:
    """Return the upper left corners of square patches that lie evenly over an image and inside it.

    The image is divided into a grid of equal cells, as near to squares as ``most`` allows, and a patch sits in the
    middle of every cell, moved inside where it would stick out. Where ``most`` patches suffice to cover the image,
    they do.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        size: Side of a patch; an image with a smaller side is one patch, at (0, 0).
        most: Greatest number of patches.

    Raises:
        UsageError: ``most`` is below 1.
    """
    if most < 1:
        raise UsageError(f"{most} patches are not legal: 1 or more.")
    if min(height, width) < size:
        return [(0, 0)]
    rows, columns = _grid(height, width, size, most)
    return [(top, left) for top in _starts(height, rows, size) for left in _starts(width, columns, size)]


def cut_patches(image: Tensor, corners: Sequence[tuple[int, int]], size: int = PATCH) -> Tensor:
    """Cut squares out of ``(1, 3, h, w)``: ``(patches, 3, size, size)``; an image with a smaller side comes whole."""
    if min(image.shape[-2:]) < size:
        return image
    return torch.cat([image[..., top : top + size, left : left + size] for top, left in corners])


def _grid(height: int, width: int, size: int, most: int) -> tuple[int, int]:
    """Choose rows and columns: as many patches as useful and allowed, then the cells nearest to squares."""
    useful_rows, useful_columns = math.ceil(height / size), math.ceil(width / size)
    grids = [(rows, min(useful_columns, most // rows)) for rows in range(1, min(useful_rows, most) + 1)]

    def quality(grid: tuple[int, int]) -> tuple[int, float]:
        rows, columns = grid
        return rows * columns, -abs(math.log((height / rows) / (width / columns)))

    return max(grids, key=quality)


def _starts(length: int, count: int, size: int) -> list[int]:
    middles = ((index + 0.5) * length / count for index in range(count))
    return [min(max(round(middle - size / 2), 0), length - size) for middle in middles]


def _check_image(image: Tensor, channels: int) -> None:
    if image.ndim != 4 or image.shape[:2] != (1, channels):
        raise UsageError(f"An image must have the shape (1, {channels}, height, width), not {tuple(image.shape)}.")
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
    """Return ``fp32`` or ``bf16``: the reading's precision on the pair's device."""
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
