# SPDX-License-Identifier: Apache-2.0
"""The degradation ``rain:0.5``: bright streaks."""

from collections.abc import Callable

import torch
from torch import Tensor

from filterlens import UsageError


def rain(
    strength: float, length: int = 9, slant: float = 0.3, density: float = 0.01
) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Return the degradation; written ``rain:0.5`` or ``rain:0.5,length=15,density=0.02``.

    Args:
        strength: Brightness of a streak, above 0 and at most 1.
        length: Rows that a streak crosses.
        slant: Columns that it moves to the right in each row.
        density: Share of the pixels at which a streak begins.

    Raises:
        UsageError: A value that is not legal.
    """
    if not 0 < strength <= 1:
        raise UsageError(f"rain's strength = {strength} is not legal: above 0, at most 1.")
    if length < 1:
        raise UsageError(f"rain's length = {length} is not legal: a whole number from 1.")
    if not 0 < density < 1:
        raise UsageError(f"rain's density = {density} is not legal: between 0 and 1.")

    def fall(images: Tensor, generator: torch.Generator) -> Tensor:
        """Add streaks to images ``(B, C, H, W)`` in [0, 1], drawn by the generator."""
        batch, _, height, width = images.shape
        chance = torch.rand(batch, 1, height, width, generator=generator)
        drops = (chance < density).to(images)
        streaks = torch.zeros_like(drops)
        for row in range(length):
            streaks = torch.maximum(streaks, drops.roll((row, round(slant * row)), dims=(2, 3)))
        return (images + strength * streaks).clamp(0, 1)

    return fall
