# SPDX-License-Identifier: Apache-2.0
"""What a network of which nothing is known takes and returns, found out by trying it on images of several sizes."""

import torch
from torch import nn

from filterlens.errors import FilterlensError, first_line
from filterlens.models.fitted import GRAY, RGB, Needs

LARGEST_MULTIPLE = 64
_SIDES = (64, 128, 256, 96, 224)
_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)
_LEAST = 96  # LR pixels of the sides on which multiples are tried: more than what attention windows need


@torch.no_grad()
def scale_and_needs(network: nn.Module, source: str) -> tuple[int, Needs]:
    """Return HR size over LR size, and what the network asks of its input.

    A size is legal if the network takes it and returns an image ``scale`` times as large.

    Args:
        network: In evaluation mode.
        source: What errors call it.

    Raises:
        FilterlensError: It takes no image ``(1, 3, h, w)`` or ``(1, 1, h, w)`` of the sizes that were tried, or returns
            something else than an image of as many channels, a whole number of times as large.
    """
    trials = ((channels, side, _output(network, channels, side, side)) for channels in (RGB, GRAY) for side in _SIDES)
    for channels, side, output in trials:
        if isinstance(output, tuple) and output[0] == channels and output[1] == output[2] and output[1] % side == 0:
            scale = output[1] // side
            break
    else:
        raise FilterlensError(
            f"{source} takes no image (1, 3, h, w) or (1, 1, h, w) or returns no image of as many channels, a whole "
            f"number of times as large: {_output(network, RGB, _SIDES[0], _SIDES[0])} for (1, 3, 64, 64)."
        )

    def is_legal(height: int, width: int) -> bool:
        return _output(network, channels, height, width) == (channels, height * scale, width * scale)

    sizes = ((each, each * _prime(each)) for each in range(1, LARGEST_MULTIPLE + 1))
    multiple, legal = next(((each, size) for each, size in sizes if is_legal(size, size)), (side, side))
    minimum = next(each for each in range(multiple, legal + 1, multiple) if is_legal(each, each) or each == legal)
    return scale, Needs(multiple, minimum, not is_legal(legal, 2 * legal), channels)


def _prime(multiple: int) -> int:
    """Return a factor that brings a multiple to a size that is a multiple of nothing else."""
    return next(prime for prime in _PRIMES if prime * multiple >= _LEAST)


def _output(network: nn.Module, channels: int, height: int, width: int) -> tuple[int, ...] | str:
    """Return channels, height and width of what the network returns, or in words why it is no image."""
    images = torch.linspace(0, 1, channels * height * width).view(1, channels, height, width)
    try:
        output = network(images)
    except Exception as error:  # a size that does not fit fails in the network's own way
        return f"{type(error).__name__}: {first_line(error, 120)}"
    if not isinstance(output, torch.Tensor) or output.ndim != 4 or output.shape[0] != 1:
        return f"it returns {type(output).__name__} {tuple(getattr(output, 'shape', ()))}"
    return tuple(output.shape[1:])
