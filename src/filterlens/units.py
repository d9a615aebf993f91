# SPDX-License-Identifier: Apache-2.0
"""Which weights of a network hold filters, and how each is cut into them."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils import parametrize

from filterlens.errors import FilterlensError, unknown

ROWS, WEIGHTS, NONE = "rows", "weights", "none"
LINEAR = (ROWS, WEIGHTS, NONE)

_CONVOLUTIONS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
_BIASES = ("bias", "in_proj_bias")


@dataclass(frozen=True)
class Cut:
    """How one weight is cut into filters.

    Attributes:
        layer: The module's name; of an attention's projection the parameter's own name.
        out_channels: First dimension of the weight, as PyTorch stores it.
        in_channels: Second dimension; 1 where a filter is a whole row.
        kernel: Shape of one filter.
        row: Whether a filter is a whole row ``weight[out, :]`` of a linear layer.
    """

    layer: str
    out_channels: int
    in_channels: int
    kernel: tuple[int, ...]
    row: bool = False


def cuts_of(network: nn.Module, linear: str = ROWS) -> Iterator[Cut]:
    """Yield how every weight with filters is cut, in the order of the modules; shared weights once.

    Args:
        network: Any network.
        linear: What a filter of a linear layer or an attention projection is: ``rows`` (``weight[out, :]``),
            ``weights`` (``weight[out, in]``) or ``none``.

    Raises:
        UsageError: ``linear`` is none of these.
        FilterlensError: A weight is derived from other parameters.
    """
    if linear not in LINEAR:
        raise unknown("unit of linear layers", linear, LINEAR)
    seen: set[int] = set()
    for name, module in network.named_modules():
        for layer, weight in _weights(name, module, linear):
            if id(weight) not in seen:  # shared weights are one set of filters, under their first name
                seen.add(id(weight))
                yield _cut(layer, weight, linear)


def left_out(network: nn.Module, attributed: set[str]) -> tuple[str, ...]:
    """Return the names of the weights that hold no filters: norms, embeddings, position tables, fused copies.

    Biases are not listed: no bias is a filter.
    """
    every = network.named_parameters(remove_duplicate=False)
    held = {id(parameter) for name, parameter in every if name in attributed}  # under whatever name
    others = [
        name
        for name, parameter in network.named_parameters()
        if id(parameter) not in held and not (name.rpartition(".")[2] in _BIASES and parameter.ndim < 2)
    ]
    fixed = [f"{name}.weight" for name, module in network.named_modules() if _is_fixed(module)]
    return tuple(others + fixed)


def _weights(name: str, module: nn.Module, linear: str) -> Iterator[tuple[str, Tensor]]:
    """Yield layer name and weight of what the module itself holds."""
    if isinstance(module, _CONVOLUTIONS) or (isinstance(module, nn.Linear) and linear != NONE):
        if _is_fixed(module):
            return
        if parametrize.is_parametrized(module) or module._parameters.get("weight") is None:
            raise FilterlensError(
                f"The weight of '{name}' is derived from other parameters (weight norm, re-parameterisation), "
                "so it is no point on a path. Bake it in first, for example with "
                "torch.nn.utils.parametrize.remove_parametrizations."
            )
        yield name, module.weight
    elif isinstance(module, nn.MultiheadAttention) and linear != NONE:
        for projection in _PROJECTIONS:
            weight = module._parameters.get(projection)
            if weight is not None:
                yield f"{name}.{projection}" if name else projection, weight


def _is_fixed(module: nn.Module) -> bool:
    """Whether the weight is a buffer: a constant that no training moves, such as the fused copy of a block."""
    return isinstance(module, (*_CONVOLUTIONS, nn.Linear)) and "weight" in module._buffers


def _cut(layer: str, weight: Tensor, linear: str) -> Cut:
    out_channels, in_channels, *kernel = weight.shape
    if kernel or linear == WEIGHTS:
        return Cut(layer, out_channels, in_channels, tuple(kernel))
    return Cut(layer, out_channels, 1, (in_channels,), row=True)
