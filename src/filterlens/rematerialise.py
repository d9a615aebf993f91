# SPDX-License-Identifier: Apache-2.0
"""Activation checkpointing: keep what enters a block, and compute the rest again in the backward pass."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

Container = nn.Sequential | nn.ModuleList
LEAST_BLOCKS = 4


def containers_of(network: nn.Module) -> list[Container]:
    """Return the outermost lists of at least four blocks: where most activations of a deep network live."""
    found: list[Container] = []
    for child in network.children():
        if isinstance(child, nn.Sequential | nn.ModuleList) and len(child) >= LEAST_BLOCKS:
            found.append(child)
        else:
            found += containers_of(child)
    return found


@contextlib.contextmanager
def rematerialised(containers: Sequence[Container], *, enabled: bool = True) -> Iterator[None]:
    """Let the containers forget their inner activations while the block runs; slower by up to a third.

    A sequence keeps the square root of its length (Chen et al. 2016), a list keeps what enters each of its blocks. The
    modules are as before when the block ends, also after an error. **The backward pass must run inside.**
    """
    changed: list[nn.Module] = []
    try:
        for container in containers if enabled else ():
            if isinstance(container, nn.Sequential):
                segments = math.isqrt(len(container))
                _replace(container, partial(_in_segments, container, segments), changed)
            else:
                for block in container:
                    again = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
                    _replace(block, again, changed)
        yield
    finally:
        for module in changed:
            del module.forward  # the instance's; the class's is there again


def _replace(module: nn.Module, forward: Any, changed: list[nn.Module]) -> None:
    module.forward = forward
    changed.append(module)


def _in_segments(container: nn.Sequential, segments: int, x: Any) -> Any:
    keep = {"use_reentrant": False, "preserve_rng_state": False}
    return checkpoint_sequential(list(container), segments, x, **keep)  # type: ignore[no-untyped-call]
