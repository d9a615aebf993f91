# SPDX-License-Identifier: Apache-2.0
"""One batched convolution with a kernel per sample, against scipy sample by sample."""

import numpy as np
import pytest
import torch
from scipy import ndimage, signal
from torch import Tensor

from filterlens.degradations import BlurRange
from filterlens.degradations.per_sample import composed, convolve_each, delta
from filterlens.errors import FilterlensError

ROUND, LONG = BlurRange((0.2, 4)), BlurRange((0.2, 4), (0.2, 4), (0, 180), kernel=15)


def drawn(blur: BlurRange, count: int) -> Tensor:
    return blur.draw(count, torch.Generator().manual_seed(0), torch.float64)


@pytest.mark.parametrize("blur", [ROUND, LONG], ids=str)
def test_every_sample_is_correlated_with_its_own_kernel_and_mirrored_borders(blur: BlurRange) -> None:
    images = torch.rand(4, 3, 24, 31, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    kernels = drawn(blur, 4)
    blurred = convolve_each(images, kernels, are_round=blur.is_isotropic)
    for sample, image, kernel in zip(blurred, images, kernels, strict=True):
        for ours, plane in zip(sample, image, strict=True):
            expected = ndimage.correlate(plane.numpy(), kernel.numpy(), mode="mirror")
            np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-12)


def test_lines_and_whole_kernels_blur_alike() -> None:
    images, kernels = torch.rand(3, 3, 32, 24), drawn(ROUND, 3).float()
    lines = convolve_each(images, kernels, are_round=True)
    torch.testing.assert_close(lines, convolve_each(images, kernels, are_round=False), rtol=0, atol=3e-6)


@pytest.mark.parametrize("are_round", [True, False])
def test_the_delta_changes_nothing(are_round: bool) -> None:
    images = torch.rand(2, 3, 12, 14)
    kernels = delta(9, images.device).expand(2, 9, 9)
    assert torch.equal(convolve_each(images, kernels, are_round=are_round), images)


def test_composed_kernels_are_convolved() -> None:
    first, second = drawn(LONG, 2), drawn(BlurRange((1, 2), (0.5, 3), (0, 180), kernel=7), 2)
    second = second.roll(1, -1)  # convolution and correlation differ for a kernel that is not symmetric
    for ours, one, other in zip(composed(first, second), first, second, strict=True):
        np.testing.assert_allclose(ours.numpy(), signal.convolve2d(one.numpy(), other.numpy()), rtol=0, atol=1e-14)


def test_a_patch_must_be_larger_than_half_the_kernel() -> None:
    with pytest.raises(FilterlensError, match=r"10x24 is too small for a blur kernel of 21"):
        convolve_each(torch.rand(1, 3, 24, 10), drawn(ROUND, 1).float(), are_round=True)
