# SPDX-License-Identifier: Apache-2.0
"""Gradient elimination: what serves one degradation, less what serves the others as well."""

import torch
from torch import Tensor

from filterlens.errors import unknown

CONTRASTS = ("mean", "max")


def discriminate(magnitudes: Tensor, contrast: str = "mean") -> Tensor:
    """Subtract from each degradation's magnitudes those of the other degradations (paper, equation 7).

    Args:
        magnitudes: |FAIG| of one image, ``(K, filters)`` for K ≥ 2 degradations.
        contrast: ``mean`` or ``max`` of the others. The paper defines K = 2, where both are the other one, and the
            two rankings are exact negatives.

    Returns:
        ``(K, filters)``; positive where a filter serves that degradation more than the others.
    """
    if contrast not in CONTRASTS:
        raise unknown("contrast", contrast, CONTRASTS)
    kinds = len(magnitudes)
    others = torch.stack([magnitudes[[j for j in range(kinds) if j != k]] for k in range(kinds)])  # (K, K-1, filters)
    return magnitudes - (others.mean(1) if contrast == "mean" else others.amax(1))
