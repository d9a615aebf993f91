# SPDX-License-Identifier: Apache-2.0
"""The architectures that filterlens builds itself, by name."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from filterlens.errors import unknown
from filterlens.models.dan import DAN
from filterlens.models.dasr import DASR
from filterlens.models.dncnn import DnCNN
from filterlens.models.srcnn_style import SRCNNStyle
from filterlens.models.srresnet import SRResNet

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "srresnet": SRResNet,
    "srcnn-style": SRCNNStyle,
    "dan": DAN,
    "dasr": DASR,
    "dncnn": DnCNN,
}


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
    check_options(architecture, options)
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
