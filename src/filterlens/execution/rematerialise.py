# SPDX-License-Identifier: Apache-2.0
"""Activation checkpointing: keep only the inputs of a block, and recompute the rest in the backward pass."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

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
    return list(dict.fromkeys(found))  # a module may have several names


@contextlib.contextmanager
def rematerialised(containers: Sequence[Container], *, enabled: bool = True) -> Iterator[None]:
    """Let the containers forget their inner activations while the block runs; slower by up to a third.

    A sequence that is called keeps the square root of its length (Chen et al. 2016). A list, or a sequence whose
    blocks the network calls one by one (blocks with several inputs), keeps what enters each block. The modules are
    as before when the block ends, also after an error. **The backward pass must run inside.**
    """
    changed: dict[nn.Module, Any] = {}
    try:
        for container in containers if enabled else ():
            called = _Called()
            for block in dict.fromkeys(container):  # a block may stand there several times, and in several lists
                if block not in changed:
                    _replace(block, partial(_alone, block.forward, called), changed)
            if isinstance(container, nn.Sequential):
                _replace(container, partial(_in_segments, list(container), called), changed)
        yield
    finally:
        for module, own in changed.items():
            del module.forward  # the instance's; the class's is there again
            if own is not None:
                module.forward = own


@dataclass
class _Called:
    """Whether a sequence is being run as a whole, so that its blocks need not be recomputed one by one."""

    whole: bool = False


def _replace(module: nn.Module, forward: Any, changed: dict[nn.Module, Any]) -> None:
    """Replace a module's forward, and keep the one that the instance itself has, if any."""
    changed[module] = vars(module).get("forward")
    module.forward = forward


def _again(run: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    return checkpoint(run, *inputs, use_reentrant=False, preserve_rng_state=False, **named)


def _alone(forward: Callable[..., Any], called: _Called, *inputs: Any, **named: Any) -> Any:
    return forward(*inputs, **named) if called.whole else _again(forward, *inputs, **named)


def _in_segments(blocks: Sequence[nn.Module], called: _Called, x: Any) -> Any:
    size = len(blocks) // math.isqrt(len(blocks))
    for first in range(0, len(blocks), size):
        run = partial(_run, blocks[first : first + size], called, first > 0)
        # the last segment is the first to be differentiated: nothing is saved by computing it again
        x = _again(run, x) if first + size < len(blocks) else run(x)
    return x


def _run(blocks: Sequence[nn.Module], called: _Called, inner: bool, x: Any) -> Any:
    """Run a segment, on a copy of what is kept for it, since a block may write into its input."""
    x = _copied(x) if inner else x
    called.whole = True
    try:
        for block in blocks:
            x = block(x)
    finally:
        called.whole = False
    return x


def _copied(x: Any) -> Any:
    if isinstance(x, list | tuple):
        return type(x)(map(_copied, x))
    return x.clone() if isinstance(x, Tensor) else x
