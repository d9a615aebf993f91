# SPDX-License-Identifier: Apache-2.0
"""A user's network, prepared for computing: a copy without its wrappers.

The copy shares nothing with the user's network and is in evaluation mode.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.optim.swa_utils import AveragedModel

from filterlens.errors import FilterlensError, UsageError, first_line

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def own_copy(network: nn.Module, role: str) -> nn.Module:
    """Return a deep copy without wrappers (data parallelism, ``torch.compile``, averaging), in evaluation mode.

    Parameters, buffers and modules that the network uses several times are shared in the copy in the same way.
    Activations that it keeps of an earlier pass are copied as plain numbers.

    Args:
        network: The user's; it stays as it is.
        role: The name that errors use, for example ``target``.

    Raises:
        UsageError: It is not a module.
        FilterlensError: Its weights are no numbers to compute with, or it cannot be copied.
    """
    if not isinstance(network, nn.Module):
        raise UsageError(f"The {role} is {type(network).__name__}, not a torch.nn.Module.")
    inner = unwrapped(network)
    _refuse_script(inner, role)
    for name, parameter in inner.named_parameters():
        _refuse_odd(name, parameter, role)
    places = sorted({str(parameter.device) for parameter in inner.parameters()})
    if len(places) > 1:
        raise FilterlensError(f"The weights of the {role} lie on {' and '.join(places)}. Bring them to one device.")
    return copied(inner, role).eval().requires_grad_(False)


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network inside its wrappers."""
    while (inner := _inside(network)) is not None:
        network = inner
    return network


def copied(network: nn.Module, role: str = "network") -> nn.Module:
    """Return a deep copy of a network of which wrappers inside are left out too.

    Raises:
        FilterlensError: It cannot be copied.
    """
    memo: dict[int, Any] = {}
    try:
        for tensor in _computed(network):
            memo[id(tensor)] = tensor.detach().clone()
        for module in list(network.modules())[::-1]:  # the innermost wrapper first
            if _inside(module) is not None:
                memo[id(module)] = copy.deepcopy(unwrapped(module), memo)
        return copy.deepcopy(network, memo)
    except Exception as error:  # whatever a module of the user's holds may refuse
        raise FilterlensError(
            f"The {role} cannot be copied ({type(error).__name__}: {first_line(error, 120)}). Make it a module that "
            "copy.deepcopy takes: no open files, locks or weights that are computed from others."
        ) from error


def _inside(network: nn.Module) -> nn.Module | None:
    """Return what a wrapper wraps; None for what is no wrapper."""
    inner = network.module if isinstance(network, _WRAPPERS) else getattr(network, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else None


def _computed(network: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that modules keep as attributes and that hang on a computation: those refuse to be copied."""
    for module in network.modules():
        for value in vars(module).values():
            many = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
            yield from (each for each in many if isinstance(each, Tensor) and each.grad_fn is not None)


def _refuse_script(network: nn.Module, role: str) -> None:
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"'{name}' of the {role}" if name else f"The {role}"
            raise FilterlensError(
                f"{what} is a TorchScript module, whose weights are fixed. Give the nn.Module itself."
            )


def _refuse_odd(name: str, parameter: Tensor, role: str) -> None:
    """Refuse weights between which there is no straight path of real numbers."""
    if isinstance(parameter, UninitializedParameter | UninitializedBuffer):
        raise FilterlensError(
            f"'{name}' of the {role} has no values yet (a lazy module). Run the network on an image once first."
        )
    if parameter.is_meta:
        raise FilterlensError(f"'{name}' of the {role} is on the meta device, without values. Load its weights first.")
    kind = type(parameter.data)
    if kind is not Tensor or not parameter.is_floating_point() or parameter.dtype.itemsize < 2:
        what = parameter.dtype if kind is Tensor else f"{kind.__name__} ({parameter.dtype})"
        raise FilterlensError(
            f"'{name}' of the {role} is of type {what}: filters need weights of float16, bfloat16, float32 or float64. "
            "Give the network before it was quantised or sharded."
        )
