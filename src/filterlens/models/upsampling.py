# SPDX-License-Identifier: Apache-2.0
"""How a scale factor is split into pixel-shuffle steps."""

from filterlens.errors import UsageError


def shuffle_steps(scale: int) -> tuple[int, ...]:
    """Return the factors of the pixel shuffles: x2 and x3 in one step, x4 in two.

    Raises:
        UsageError: The scale is not 2, 3 or 4.
    """
    steps = {2: (2,), 3: (3,), 4: (2, 2)}
    if scale not in steps:
        raise UsageError(f"Scale {scale} is not legal: the networks here upscale by 2, 3 or 4.")
    return steps[scale]
