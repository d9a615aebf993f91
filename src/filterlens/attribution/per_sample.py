# SPDX-License-Identifier: Apache-2.0
"""Gradients of each sample of a batch, and with them FAIG for many small patches."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from filterlens.arguments import is_whole
from filterlens.attribution.objectives import SquaredDistance
from filterlens.attribution.quadrature import Quadrature
from filterlens.errors import FilterlensError, UsageError
from filterlens.execution.bounded import Portions
from filterlens.execution.hardware import autocast
from filterlens.execution.measured import checked_output
from filterlens.execution.memory import is_out_of_memory, memory_for_activations
from filterlens.pair import ModelPair

TRUTH = SquaredDistance()
EIGHT_NODES = Quadrature("gauss-legendre", 8)
AT_ONCE = ("cuda",)  # small kernels leave a GPU idle; on a CPU a batch is no faster (64 x 64 pixels: 1.4 times slower)
MOST_PATCHES = 64
COPIES = 4  # of a gradient, per sample: the sum, the new one, and the pieces that it is put together from


def per_sample_gradients(
    pair: ModelPair,
    vector: Tensor,
    inputs: Tensor,
    references: Tensor,
    objective: SquaredDistance = TRUTH,
    precision: str = "fp32",
) -> Tensor:
    """Return ∂L(vector, x_b)/∂vector for every sample x_b of a batch.

    Args:
        pair: The pair that gives the architecture.
        vector: Flat parameters, on the pair's device.
        inputs: LR ``(B, 3, h, w)``.
        references: The images that the objective compares the outputs with, HR ``(B, 3, h·s, w·s)``.
        objective: The objective that gives the loss L.
        precision: ``fp32`` (the weights' own type) or ``bf16`` autocast.

    Returns:
        ``(B, parameters)`` in the weights' type, on the pair's device.
    """
    inputs, references = inputs.to(pair.device, pair.dtype), references.to(pair.device, pair.dtype)
    if pair.device.type in AT_ONCE:
        try:
            return _all_at_once(pair, vector, inputs, references, objective, precision)
        except RuntimeError as error:  # vmap refuses networks that branch on values or write in place
            if is_out_of_memory(error):
                raise
    return _one_by_one(pair, vector, inputs, references, objective, precision)


def patch_magnitudes(
    pair: ModelPair,
    inputs: Tensor,
    references: Tensor,
    *,
    objective: SquaredDistance = TRUTH,
    quadrature: Quadrature = EIGHT_NODES,
    precision: str = "fp32",
    chunk: int | None = None,
) -> Tensor:
    r"""Return FAIG without elimination for every patch of a batch: Σ_slice \|∫ ∂L(γ(α), x_b)/∂γ_i dα (θ_i − θ̄_i)\|.

    Args:
        pair: Baseline θ̄ and target θ, the ends of the straight path γ.
        inputs: LR patches ``(B, 3, h, w)``; they may stay on the CPU.
        references: Their ground truths, HR ``(B, 3, h·s, w·s)``; only an objective to ``truth`` looks at the values.
        objective: The squared distance that is L.
        quadrature: The nodes of the integral.
        precision: ``fp32`` (the weights' own type) or ``bf16`` autocast.
        chunk: Number of patches computed together; by default as many as memory allows, at most 64. It is halved
            where memory runs out, and does not change the result.

    Returns:
        ``(B, filters)`` in the weights' type, on the CPU: 0.6 MB per patch for 150,000 filters in float32.

    Raises:
        UsageError: The shapes do not fit together, or the chunk is not legal.
    """
    _check_shapes(pair, inputs, references)
    size = _chunk_that_fits(pair) if chunk is None else chunk
    if not is_whole(size) or size < 1:
        raise UsageError(f"A chunk of {size} patches is not legal: 1 or more.")
    magnitudes = torch.empty(len(inputs), len(pair.space), dtype=pair.dtype)
    patches = [range(first, min(first + size, len(inputs))) for first in range(0, len(inputs), size)]
    chunks = Portions(patches, partial(_halved, pair.device), pair.device)
    for each in chunks:
        with chunks.fitting():
            part = slice(each.start, each.stop)
            magnitudes[part] = _magnitudes(pair, inputs[part], references[part], objective, quadrature, precision)
    return magnitudes


def _magnitudes(
    pair: ModelPair,
    inputs: Tensor,
    references: Tensor,
    objective: SquaredDistance,
    quadrature: Quadrature,
    precision: str,
) -> Tensor:
    point = objective.network(pair)
    if point is not None:
        with torch.no_grad():
            references = pair.run(point, inputs, precision)
    total = torch.zeros(len(inputs), len(pair.target), dtype=pair.dtype, device=pair.device)
    for alpha, weight in quadrature:
        total.add_(per_sample_gradients(pair, pair.at(alpha), inputs, references, objective, precision), alpha=weight)
    pooled: Tensor = vmap(pair.pool)(total.mul_(pair.change).abs_())
    return pooled


def _one_by_one(
    pair: ModelPair, vector: Tensor, inputs: Tensor, references: Tensor, objective: SquaredDistance, precision: str
) -> Tensor:
    gradients = vector.new_empty(len(inputs), len(vector))
    for row, image, reference in zip(gradients, torch.split(inputs, 1), torch.split(references, 1), strict=True):
        row.copy_(pair.differentiate(vector, image, partial(objective.loss, reference=reference), precision)[1])
    return gradients


def _all_at_once(
    pair: ModelPair, vector: Tensor, inputs: Tensor, references: Tensor, objective: SquaredDistance, precision: str
) -> Tensor:
    network = pair.on_images(pair.target)

    def loss(vector: Tensor, image: Tensor, reference: Tensor) -> Tensor:
        with autocast(pair.device, precision):
            images = image.unsqueeze(0)
            output = functional_call(network, pair.placed(vector), (images,), tie_weights=False)
            output = checked_output(output, images, pair.shape)
        return objective.loss(output.to(pair.dtype), reference.unsqueeze(0))

    # vmap cannot change the layout of what it maps over, but keeps it
    inputs = inputs.clone(memory_format=torch.channels_last)  # some networks write into it
    gradients: Tensor = vmap(grad(loss), in_dims=(None, 0, 0))(vector, inputs, references)
    return gradients


def _halved(device: torch.device, chunks: Sequence[range]) -> list[range]:
    size = len(chunks[0]) // 2
    if not size:
        raise FilterlensError(
            f"Out of memory on {device}, even with one patch at a time. Use --precision bf16, or --device cpu."
        )
    return [chunk[first : first + size] for chunk in chunks for first in range(0, len(chunk), size)]


def _check_shapes(pair: ModelPair, inputs: Tensor, references: Tensor) -> None:
    height, width = inputs.shape[-2:] if inputs.ndim == 4 else (0, 0)
    expected = (len(inputs), pair.channels_out, height * pair.scale, width * pair.scale)
    if inputs.ndim != 4 or inputs.shape[1] != pair.channels_in or references.shape != expected:
        raise UsageError(
            f"Inputs {tuple(inputs.shape)} and references {tuple(references.shape)} do not fit together: they must be "
            f"(B, {pair.channels_in}, h, w) and (B, {pair.channels_out}, {pair.scale}h, {pair.scale}w)."
        )


def _chunk_that_fits(pair: ModelPair) -> int:
    gradient = len(pair.target) * pair.dtype.itemsize
    return max(1, min(MOST_PATCHES, int(memory_for_activations(pair.device) / (COPIES * gradient))))
