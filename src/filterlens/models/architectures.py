# SPDX-License-Identifier: Apache-2.0
"""The architectures that filterlens builds itself, by name."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from filterlens.errors import UsageError, unknown
from filterlens.models.bounded import Bounded
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
