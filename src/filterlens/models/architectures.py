# SPDX-License-Identifier: Apache-2.0
"""The architectures that filterlens builds itself, by name, and the bounds within which any network is built.

The bounds keep options and shapes from a file from filling the memory or taking forever.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from filterlens.errors import UsageError, unknown
from filterlens.execution.memory import memory_in_all
from filterlens.models.dan import DAN
from filterlens.models.dasr import DASR
from filterlens.models.one_branch import DnCNN, SRCNNStyle, SRResNet

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "srresnet": SRResNet,
    "srcnn-style": SRCNNStyle,
    "dan": DAN,
    "dasr": DASR,
    "dncnn": DnCNN,
}
_MOST = {"features": 10_000, "kernel": 255, "code": 10_000}
_PARTS = 1_000  # blocks, groups, layers, loops
BYTES = 4  # of a float32
_SLACK, _CALLS = 50_000_000, 10_000
_SIZED = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}


def build(architecture: str, **options: Any) -> nn.Module:
    """Build a network with fresh random weights.

    Args:
        architecture: A name in :data:`ARCHITECTURES`.
        options: Arguments of its class, for example ``scale=2``.

    Raises:
        UsageError: Unknown architecture, an option that it cannot take, or a value that is not legal or does not
            fit into memory.
    """
    if architecture not in ARCHITECTURES:
        raise unknown("architecture", architecture, ARCHITECTURES)
    check_options(architecture, options)
    check_values(architecture, options)
    with Bounded.by_memory(), torch.device("meta"):  # tensors there have shapes only
        ARCHITECTURES[architecture](**options)
    return ARCHITECTURES[architecture](**options)


def keeps_size(architecture: str) -> bool:
    """Return whether the outputs of a known architecture are as large as its inputs: its scale is 1."""
    return bool(inspect.signature(ARCHITECTURES[architecture]).parameters["scale"].default == 1)


def check_options(architecture: str, options: Iterable[str]) -> None:
    """Check the names of the options of a known architecture.

    Raises:
        UsageError: It cannot take one of them; the nearest legal name is quoted.
    """
    legal = inspect.signature(ARCHITECTURES[architecture]).parameters
    for option in options:
        if option not in legal:
            raise unknown(f"option of {architecture}", option, legal)


def check_values(architecture: str, options: Mapping[str, Any]) -> None:
    """Check the values of options whose names are legal.

    Raises:
        UsageError: One is of another type than the default, below 1, or above what a network can have.
    """
    for name, value in options.items():
        if name == "rgb_range":
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise _illegal(architecture, name, value, "a number above 0")
        elif isinstance(value, bool) or not isinstance(value, int):
            raise _illegal(architecture, name, value, "a whole number")
        elif name != "scale" and not 1 <= value <= _MOST.get(name, _PARTS):
            raise _illegal(architecture, name, value, f"1 to {_MOST.get(name, _PARTS)}")


def _illegal(architecture: str, name: str, value: Any, legal: str) -> UsageError:
    return UsageError(f"{name} = {str(value)[:60]} is not legal for {architecture}. Legal: {legal}.")


class TooLargeError(UsageError):
    """A network would have far more numbers, or parts, than it may."""


class Bounded(TorchFunctionMode):
    """While it is entered, PyTorch refuses to make more numbers than given, before it takes memory for them.

    Args:
        numbers: Greatest count of numbers.
        calls: Greatest count of tensors.
        bound: Origin of both limits, for the error.
    """

    def __init__(self, numbers: float, calls: float, bound: str) -> None:
        super().__init__()
        self._numbers, self._calls, self._bound = numbers, calls, bound

    @classmethod
    def by(cls, weights: Iterable[torch.Tensor]) -> "Bounded":
        """Allow a few times the content of a checkpoint, and room for constants."""
        sizes = [each.numel() for each in weights]
        return cls(4 * sum(sizes) + _SLACK, 10 * len(sizes) + _CALLS, "the file holds")

    @classmethod
    def by_memory(cls) -> "Bounded":
        """Allow as much as fits into the memory of the machine."""
        return cls(memory_in_all(torch.device("cpu")) / BYTES, 100 * _CALLS, "this machine has memory for")

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count new numbers and tensors; called by PyTorch for all of its functions."""
        if func in _SIZED:
            self._numbers -= _count(args)
            self._calls -= 1
            if self._numbers < 0 or self._calls < 0:
                raise TooLargeError(f"The network would have far more numbers or layers than {self._bound}.")
        return func(*args, **(kwargs or {}))


def _count(sizes: tuple[Any, ...]) -> int:
    given = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    return math.prod(int(size) for size in given if not isinstance(size, torch.Tensor))
