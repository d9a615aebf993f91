# SPDX-License-Identifier: Apache-2.0
"""The branches of two-branch networks, and the branch of each filter and parameter."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from filterlens.errors import FilterlensError, unknown
from filterlens.filters import FilterLayer, FilterSpace
from filterlens.models.architectures import ARCHITECTURES

DEGRADATION, CONDITIONING, RESTORATION = "degradation", "conditioning", "restoration"

_PREDICTORS = re.compile(r"restorer\.(compress\.|groups\.\d+\.blocks\.\d+\.da_conv[12]\.(kernel|ca)\.)")
_READS_CODE = re.compile(r"restorer\.body\.\d+\.conv1")


def branch_names(architecture: str) -> tuple[str, ...]:
    """Return the branches that find the degradation, bring it to the restoration, and restore.

    Networks of one branch have only the last one.

    Raises:
        UsageError: Unknown architecture.
    """
    if architecture not in ARCHITECTURES:
        raise unknown("architecture", architecture, ARCHITECTURES)
    return (DEGRADATION, CONDITIONING, RESTORATION) if architecture in ("dan", "dasr") else (RESTORATION,)


def parameter_branch(name: str, architecture: str) -> str:
    """Return the branch of a parameter by its name.

    - DAN: *degradation* is the estimator, *restoration* the restorer. Its convolutions that read the code together
      with features count as restoration here; :func:`filter_branches` tells their filters apart.
    - DASR: *degradation* is the encoder; *conditioning* the layers that turn its representation into kernels and
      channel weights; *restoration* the rest of the restorer.

    Raises:
        UsageError: Unknown architecture.
        FilterlensError: The architecture has no such parameter.
    """
    if branch_names(architecture) == (RESTORATION,):
        return RESTORATION
    if name.startswith(("encoder.", "estimator.")):
        return DEGRADATION
    if not name.startswith("restorer."):
        raise FilterlensError(f"'{name}' is no parameter of {architecture}: those begin with the name of a branch.")
    return CONDITIONING if _PREDICTORS.match(name) else RESTORATION


def filter_branches(
    space: FilterSpace, architecture: str, options: Mapping[str, Any] | None = None
) -> tuple[tuple[str, ...], Tensor]:
    """Return the branch of every filter.

    As :func:`parameter_branch`, but in DAN the filters of each block's first convolution that read the kernel's code
    (input channels from ``features`` on) are *conditioning*.

    Args:
        space: Filters of a network.
        architecture: Name of its architecture.
        options: Its options; ``features`` is read off the first layer where it is missing.

    Returns:
        The branches' names, and for every filter the place of its own, ``(filters,)`` int64.
    """
    names = branch_names(architecture)
    features = int((options or {}).get("features", 0))
    if architecture == "dan" and not features:
        features = space.layer("restorer.head").out_channels
    return names, torch.cat([_of_layer(layer, names, architecture, features) for layer in space.layers])


def _of_layer(layer: FilterLayer, names: tuple[str, ...], architecture: str, features: int) -> Tensor:
    whole = names.index(parameter_branch(layer.parameter, architecture))
    places = torch.full((layer.out_channels, layer.in_channels), whole)
    if architecture == "dan" and _READS_CODE.fullmatch(layer.name):
        places[:, features:] = names.index(CONDITIONING)
    return places.flatten()
