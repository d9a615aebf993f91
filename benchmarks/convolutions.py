# SPDX-License-Identifier: Apache-2.0
"""The bare convolutions of a network: their shapes, their arithmetic, and a run of nothing but them."""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Convolution:
    """One convolution as a network called it.

    Attributes:
        inputs: Shape ``(B, in, h, w)``.
        weight: Shape ``(out, in / groups, k, k)``.
        outputs: Shape ``(B, out, h', w')``.
        stride: Of the convolution.
        padding: Of the convolution.
        dilation: Of the convolution.
        groups: Of the convolution.
        bias: Whether it has one.
        needs_input_gradient: False for the first layer: nothing is behind its input.
    """

    inputs: tuple[int, ...]
    weight: tuple[int, ...]
    outputs: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    bias: bool
    needs_input_gradient: bool

    @property
    def operations(self) -> int:
        """Floating-point operations of forward pass, weight gradient and, where needed, input gradient."""
        forward = 2 * prod(self.outputs) * prod(self.weight[1:])
        return forward * (3 if self.needs_input_gradient else 2)


def convolutions_of(network: nn.Module, images: Tensor) -> list[Convolution]:
    """Run a network and return its convolutions in the order of their calls; hooks see them and are removed."""
    found: list[Convolution] = []

    def see(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        assert not isinstance(module.padding, str)
        found.append(
            Convolution(
                inputs=tuple(inputs[0].shape),
                weight=tuple(module.weight.shape),
                outputs=tuple(output.shape),
                stride=module.stride,
                padding=module.padding,
                dilation=module.dilation,
                groups=module.groups,
                bias=module.bias is not None,
                needs_input_gradient=inputs[0].requires_grad,
            )
        )

    hooks = [each.register_forward_hook(see) for each in network.modules() if isinstance(each, nn.Conv2d)]
    try:
        with torch.enable_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


class Replay:
    """Runs convolutions forward, then backward, on random numbers, channels last, and nothing else.

    Args:
        convolutions: In the order of their calls; equal ones share their operands.
        dtype: Of all operands.
        device: Where to compute.
    """

    def __init__(self, convolutions: list[Convolution], dtype: torch.dtype, device: torch.device) -> None:
        self.convolutions = convolutions
        self._operands = {each: _operands(each, dtype, device) for each in set(convolutions)}

    @torch.no_grad()
    def __call__(self) -> None:
        """Run all of them once."""
        for each in self.convolutions:
            inputs, weight, bias, _ = self._operands[each]
            F.conv2d(inputs, weight, bias, *_geometry(each))
        for each in reversed(self.convolutions):
            inputs, weight, bias, gradient = self._operands[each]
            stride, padding, dilation, groups = _geometry(each)
            wanted = [each.needs_input_gradient, True, each.bias]
            sizes = None if bias is None else list(bias.shape)
            torch.ops.aten.convolution_backward(
                gradient, inputs, weight, sizes, stride, padding, dilation, False, [0, 0], groups, wanted
            )


def _operands(
    each: Convolution, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Return inputs, weight, bias and the gradient of the outputs."""

    def random(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, device=device).to(dtype, memory_format=torch.channels_last)

    bias = torch.randn(each.weight[0], device=device).to(dtype) if each.bias else None
    return random(each.inputs), random(each.weight), bias, random(each.outputs)


def _geometry(each: Convolution) -> tuple[Any, Any, Any, int]:
    return each.stride, each.padding, each.dilation, each.groups
