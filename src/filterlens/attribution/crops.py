# SPDX-License-Identifier: Apache-2.0
"""Small crops of the images, many and varied, for methods that look at the same pixels again and again."""

import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from filterlens.data.samples import Sample
from filterlens.degradations.randomness import derive_seed


def varied_crops(samples: Sequence[Sample], side: int, count: int, multiple: int, *, key: str) -> list[Sample]:
    """Cut ``count`` square crops at random places, as evenly from all images as possible, each turned its own way.

    A crop is rotated by a multiple of 90°, mirrored or not, and its color channels change places: few images then
    show as many directions and colors as many images do, which sets of filters are otherwise fitted to.

    Args:
        samples: The images; their order does not matter, their content decides.
        side: HR pixels of a crop; a smaller image gives crops of its own shorter side.
        count: How many crops in all.
        multiple: Sides of crops are multiples of it.
        key: With the content of an image and the number of the crop it decides place and variation.

    Returns:
        Crops as samples, float in [0, 1], one image after the other in turn.
    """
    ordered = sorted(samples, key=lambda sample: derive_seed(key, sample.fingerprint()))
    return [
        Sample(f"crop {number + 1} of {count}", partial(_cut, sample, side, multiple, derive_seed(key, number)))
        for number, sample in zip(range(count), itertools.cycle(ordered))
    ]


def as_one(crops: Sequence[Sample]) -> Sample:
    """Return many crops as one sample: a strip of all their pixels, one high, whose hash stands for all of them."""
    return Sample(f"{len(crops)} crops", lambda: torch.cat([crop.read().reshape(3, 1, -1) for crop in crops], dim=-1))


def _cut(sample: Sample, side: int, multiple: int, seed: int) -> Tensor:
    """Return one varied crop ``(3, size, size)``."""
    image = sample.truth(multiple)[0]
    height, width = image.shape[-2:]
    size = max(multiple, min(side, height, width) // multiple * multiple)
    draw = np.random.default_rng(seed)
    top, left = (int(draw.integers((length - size) // multiple + 1)) * multiple for length in (height, width))
    crop = image[torch.from_numpy(draw.permutation(3)), top : top + size, left : left + size]
    crop = torch.rot90(crop, int(draw.integers(4)), (1, 2))
    return (crop.flip(2) if draw.integers(2) else crop).contiguous()
