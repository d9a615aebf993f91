# SPDX-License-Identifier: Apache-2.0
"""Networks are built within bounds, so that options and shapes from a file cannot fill the memory or never end."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from filterlens.errors import UsageError
from filterlens.execution.memory import memory_in_all

BYTES = 4  # of a float32
_SLACK, _CALLS = 50_000_000, 10_000
_SIZED = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}


class TooLargeError(UsageError):
    """A network would have far more numbers, or parts, than it may."""


class Bounded(TorchFunctionMode):
    """While it is entered, PyTorch refuses to make more numbers than given, before it takes memory for them.

    Args:
        numbers: How many.
        calls: In how many tensors.
        bound: What there are so many of, for the error.
    """

    def __init__(self, numbers: float, calls: float, bound: str) -> None:
        super().__init__()
        self._numbers, self._calls, self._bound = numbers, calls, bound

    @classmethod
    def by(cls, weights: Iterable[torch.Tensor]) -> "Bounded":
        """Allow a few times what a checkpoint holds, and what constants take besides."""
        sizes = [each.numel() for each in weights]
        return cls(4 * sum(sizes) + _SLACK, 10 * len(sizes) + _CALLS, "the file holds")

    @classmethod
    def by_memory(cls) -> "Bounded":
        """Allow what fits into the memory of the machine."""
        return cls(memory_in_all(torch.device("cpu")) / BYTES, 100 * _CALLS, "this machine has memory for")

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count what is made; called by PyTorch for all of its functions."""
        if func in _SIZED:
            self._numbers -= _count(args)
            self._calls -= 1
            if self._numbers < 0 or self._calls < 0:
                raise TooLargeError(f"The network would have far more numbers or layers than {self._bound}.")
        return func(*args, **(kwargs or {}))


def _count(sizes: tuple[Any, ...]) -> int:
    given = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    return math.prod(int(size) for size in given if not isinstance(size, torch.Tensor))
