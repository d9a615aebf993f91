# SPDX-License-Identifier: Apache-2.0
"""The function distances against numpy and scipy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from filterlens.evaluation.function_distance import (
    function_distance,
    gradient_magnitude,
    preservation,
    reference_distance,
    removal,
)


def images(seed, height=20, width=17):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def magnitude_by_scipy(channel):
    vertical = ndimage.correlate1d(channel, [-1, 0, 1], axis=0, mode="constant")
    horizontal = ndimage.correlate1d(channel, [-1, 0, 1], axis=1, mode="constant")
    return np.sqrt(vertical**2 + horizontal**2 + 1e-6)


def levels(image):
    return np.round(image[0].double().numpy() * 255) / 255


def test_gradient_magnitude_equals_scipy():
    channel = images(0)[:, :1].double()
    np.testing.assert_allclose(gradient_magnitude(channel)[0, 0].numpy(), magnitude_by_scipy(channel[0, 0].numpy()))


def test_distance_is_on_true_gray_of_8_bit_outputs():
    first, second = images(1), images(2)
    grays = [np.tensordot([0.299, 0.587, 0.114], levels(each), axes=1) for each in (first, second)]
    expected = 1000 * np.mean((magnitude_by_scipy(grays[0]) - magnitude_by_scipy(grays[1])) ** 2)
    assert float(function_distance(first, second)) == pytest.approx(expected, rel=1e-4)


def test_reference_distance_looks_at_the_blue_channel_alone():
    first, second = images(1), images(2)
    expected = 1000 * np.mean((magnitude_by_scipy(levels(first)[2]) - magnitude_by_scipy(levels(second)[2])) ** 2)
    assert float(reference_distance(first, second)) == pytest.approx(expected, rel=1e-4)
    second[:, :2] = 0
    assert float(reference_distance(first, second)) == pytest.approx(expected, rel=1e-4)


def test_outputs_outside_the_range_are_clipped_as_a_file_would():
    first = images(1)
    assert float(function_distance(first + 5, torch.ones_like(first))) == 0


def test_removal_and_preservation_cannot_be_won_by_overshooting():
    baseline, target = images(1).double(), images(2).double()
    for beyond in (-1.0, -0.5, 0.0, 0.5, 1.0, 2.0):
        edited = baseline + beyond * (target - baseline)
        residual, scale = removal(edited, baseline, target)
        assert 1 - residual / scale == pytest.approx(1 - beyond**2)
        residual, scale = preservation(edited, baseline, target)
        assert 1 - residual / scale == pytest.approx(1 - (1 - beyond) ** 2)


def test_of_gray_images_both_distances_are_that_of_the_only_channel():
    first, second = (torch.rand(2, 1, 12, 9, dtype=torch.float64) for _ in range(2))
    wide = [image.repeat(1, 3, 1, 1) for image in (first, second)]
    assert torch.allclose(function_distance(first, second), function_distance(*wide), rtol=1e-5)
    assert torch.equal(reference_distance(first, second), reference_distance(*wide))
