# SPDX-License-Identifier: Apache-2.0
"""Colours beneath full transparency are nobody's: often black, and a network would draw them into the visible edge."""

import torch
from torch import Tensor

INVISIBLE = 0.5 / 255  # opacity below which 8 bits say 0


def filled(colours: Tensor, alpha: Tensor) -> Tensor:
    """Give pixels that nobody sees the colour of the nearest one that somebody does; the others stay as they are.

    Args:
        colours: ``(1, 3, H, W)``.
        alpha: Opacity ``(1, 1, H, W)`` in [0, 1].

    Returns:
        The same tensor where all or none can be seen, else a filled copy.
    """
    hidden = alpha[0, 0] < INVISIBLE
    if not hidden.any() or hidden.all():
        return colours
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(hidden.numpy(), return_distances=False, return_indices=True)
    rows, columns = (torch.from_numpy(each)[hidden].long() for each in nearest)
    changed = colours.clone(memory_format=torch.contiguous_format)
    changed[..., hidden] = colours[..., rows, columns]
    return changed
