# SPDX-License-Identifier: Apache-2.0
"""Gaussian blur against scipy and against the formula of the kernel."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from filterlens.degradations import GaussianBlur
from filterlens.errors import FilterlensError, UsageError

BLURS = [GaussianBlur(2), GaussianBlur(0.6, kernel=7), GaussianBlur(4, sigma_y=1, angle=30)]


@pytest.mark.parametrize("blur", BLURS, ids=str)
def test_blur_equals_scipy_correlation_with_mirrored_borders(blur: GaussianBlur, photograph: Tensor) -> None:
    kernel = blur.weights(torch.float64).numpy()
    blurred = blur.apply(photograph.double())[0].numpy()
    for ours, plane in zip(blurred, photograph[0].double().numpy(), strict=True):
        np.testing.assert_allclose(ours, ndimage.correlate(plane, kernel, mode="mirror"), rtol=0, atol=1e-12)


def test_isotropic_blur_equals_scipy_gaussian_filter(photograph: Tensor) -> None:
    blurred = GaussianBlur(2).apply(photograph.double())[0, 0].numpy()
    expected = ndimage.gaussian_filter(photograph[0, 0].double().numpy(), 2, mode="mirror", radius=10)
    np.testing.assert_allclose(blurred, expected, rtol=0, atol=1e-12)


def test_round_kernel_is_the_sampled_gaussian() -> None:
    kernel = GaussianBlur(2).weights(torch.float64)
    samples = [[math.exp(-(x * x + y * y) / (2 * 2**2)) for x in range(-10, 11)] for y in range(-10, 11)]
    expected = np.array(samples) / np.sum(samples)
    np.testing.assert_allclose(kernel, expected, rtol=1e-12)


@pytest.mark.parametrize("angle", [0, 30, 90, 120])
def test_the_long_axis_of_the_kernel_is_turned_counter_clockwise_on_the_screen(angle: float) -> None:
    kernel = GaussianBlur(3, sigma_y=1, angle=angle, kernel=41).weights(torch.float64).numpy()
    rows, columns = np.mgrid[-20:21, -20:21]
    x, y = columns, -rows  # on a screen, rows grow downwards
    variance_x, variance_y, covariance = ((kernel * m).sum() for m in (x * x, y * y, x * y))
    measured = math.degrees(0.5 * math.atan2(2 * covariance, variance_x - variance_y)) % 180
    assert measured == pytest.approx(angle, abs=1e-3)
    assert variance_x + variance_y == pytest.approx(3**2 + 1**2, rel=1e-3)


@pytest.mark.parametrize("blur", BLURS, ids=str)
def test_kernel_sums_to_1(blur: GaussianBlur) -> None:
    assert float(blur.weights(torch.float64).sum()) == pytest.approx(1, abs=1e-14)


def test_blurring_a_batch_equals_blurring_one_by_one() -> None:
    images = torch.rand(4, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    for blur in BLURS:
        together = blur.apply(images)
        alone = torch.cat([blur.apply(image[None]) for image in images])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_the_gradient_of_the_blur_equals_finite_differences() -> None:
    image = torch.rand(1, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(GaussianBlur(1, sigma_y=0.5, angle=20, kernel=5).apply, image)


def test_the_smallest_image_for_a_kernel_is_one_pixel_above_its_radius() -> None:
    assert GaussianBlur(2).apply(torch.rand(1, 3, 11, 11)).shape == (1, 3, 11, 11)
    with pytest.raises(FilterlensError, match=r"40x10 is too small for a blur kernel of 21"):
        GaussianBlur(2).apply(torch.rand(1, 3, 10, 40))


def test_a_round_blur_has_one_form_whatever_its_angle() -> None:
    assert GaussianBlur(2, sigma_y=2, angle=30) == GaussianBlur(2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 0}, "sigma = 0 "),
        ({"sigma": -1}, "sigma = -1 "),
        ({"sigma": math.nan}, "sigma = nan"),
        ({"sigma": 2, "sigma_y": 101}, "sigma_y = 101"),
        ({"sigma": 2, "kernel": 20}, "kernel = 20"),
        ({"sigma": 2, "kernel": 1}, "kernel = 1 "),
        ({"sigma": 2, "sigma_y": 1, "angle": math.inf}, "angle = inf"),
    ],
)
def test_an_illegal_blur_is_refused_with_its_value(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GaussianBlur(**settings)  # type: ignore[arg-type]
