# SPDX-License-Identifier: Apache-2.0
"""The architectures that filterlens builds itself, by name."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from filterlens.errors import unknown
from filterlens.models.srcnn_style import SRCNNStyle
from filterlens.models.srresnet import SRResNet

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {"srresnet": SRResNet, "srcnn-style": SRCNNStyle}


def build(architecture: str, **options: Any) -> nn.Module:
    """Build a network with fresh random weights.

    Args:
        architecture: A name in :data:`ARCHITECTURES`.
        options: What its class takes, for example ``scale=2``.

    Raises:
        UsageError: Unknown architecture, or an option that it cannot take.
    """
    if architecture not in ARCHITECTURES:
        raise unknown("architecture", architecture, ARCHITECTURES)
    make = ARCHITECTURES[architecture]
    legal = inspect.signature(make).parameters
    for option in options:
        if option not in legal:
            raise unknown(f"option of {architecture}", option, legal)
    return make(**options)
