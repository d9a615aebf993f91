# SPDX-License-Identifier: Apache-2.0
"""Down-sampling against MATLAB's formula, Pillow, and what cv2 does."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor

from filterlens.degradations import downsample
from filterlens.errors import UsageError

Array = npt.NDArray[np.float64]


def matlab_imresize(image: Array, scale: int) -> Array:
    """MATLAB's ``imresize(image, 1/scale)`` of ``(H, W)``, written down from its definition as two matrices."""
    return _contributions(image.shape[0], scale) @ image @ _contributions(image.shape[1], scale).T


def _contributions(length: int, scale: int) -> Array:
    matrix = np.zeros((length // scale, length))
    mirror = [*range(length), *reversed(range(length))]  # symmetric padding repeats the border pixel
    for row in range(length // scale):
        centre = (row + 1) * scale + 0.5 * (1 - scale)  # 1-based, as MATLAB counts
        left = int(np.floor(centre - 4 * scale / 2))
        taps = [(tap, _cubic((centre - tap) / scale)) for tap in range(left, left + 4 * scale + 2)]
        total = sum(weight for _, weight in taps)
        for tap, weight in taps:
            matrix[row, mirror[(tap - 1) % (2 * length)]] += weight / total
    return matrix


def _cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 3, 48, 36, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_equals_the_formula_of_imresize_up_to_the_border(image: Tensor, scale: int) -> None:
    reduced = downsample(image, scale).numpy()
    for sample in range(2):
        for channel in range(3):
            expected = matlab_imresize(image[sample, channel].numpy(), scale)
            np.testing.assert_allclose(reduced[sample, channel], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_reduction_equals_pillow_inside_the_border(image: Tensor, scale: int) -> None:
    plane = image[0, 0].float()
    pillow = Image.fromarray(plane.numpy()).resize((36 // scale, 48 // scale), Image.Resampling.BICUBIC)
    ours = downsample(plane[None, None], scale)[0, 0].numpy()
    np.testing.assert_allclose(ours[2:-2, 2:-2], np.array(pillow)[2:-2, 2:-2], rtol=0, atol=2e-6)


def test_bicubic_takes_images_narrower_than_its_kernel() -> None:
    image = torch.rand(1, 1, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    np.testing.assert_allclose(downsample(image, 4)[0, 0], matlab_imresize(image[0, 0].numpy(), 4), rtol=0, atol=1e-13)


@pytest.mark.parametrize("resampler", ["bicubic", "bilinear"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_reduction_keeps_a_constant(resampler: str, scale: int) -> None:
    reduced = downsample(torch.full((1, 3, 24, 24), 0.3, dtype=torch.float64), scale, resampler)
    torch.testing.assert_close(reduced, torch.full_like(reduced, 0.3), rtol=0, atol=1e-14)


@pytest.mark.parametrize("resampler", ["bicubic", "bilinear"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_reduction_keeps_a_linear_ramp_inside_the_border(resampler: str, scale: int) -> None:
    ramp = torch.arange(48, dtype=torch.float64).expand(1, 3, 24, 48)
    reduced = downsample(ramp, scale, resampler)[..., 2:-2]
    centres = torch.arange(48 // scale, dtype=torch.float64) * scale + (scale - 1) / 2
    torch.testing.assert_close(reduced, centres[2:-2].expand_as(reduced), rtol=0, atol=1e-12)


@pytest.mark.parametrize("resampler", ["bicubic", "bilinear"])
@pytest.mark.parametrize("scale", [2, 3])
def test_the_gradient_of_the_reduction_equals_finite_differences(resampler: str, scale: int) -> None:
    image = torch.rand(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: downsample(x, scale, resampler), image)


def test_bilinear_by_2_is_the_mean_of_2x2_pixels(image: Tensor) -> None:
    mean = image.view(2, 3, 24, 2, 18, 2).mean((3, 5))
    torch.testing.assert_close(downsample(image, 2, "bilinear"), mean, rtol=0, atol=1e-15)


def test_bilinear_by_3_picks_the_centre_pixel(image: Tensor) -> None:
    assert torch.equal(downsample(image, 3, "bilinear"), image[..., 1::3, 1::3])


def test_bilinear_by_4_is_the_mean_of_the_4_central_pixels(image: Tensor) -> None:
    centre = image.view(2, 3, 12, 4, 9, 4)[:, :, :, 1:3, :, 1:3].mean((3, 5))
    torch.testing.assert_close(downsample(image, 4, "bilinear"), centre, rtol=0, atol=1e-15)


def test_scale_1_changes_nothing(image: Tensor) -> None:
    assert torch.equal(downsample(image, 1), image)


def test_a_size_that_the_scale_does_not_divide_is_refused_with_the_size(image: Tensor) -> None:
    with pytest.raises(UsageError, match=r"36x48.*by 5"):
        downsample(image, 5)


def test_an_unknown_resampler_is_refused_with_the_nearest_name(image: Tensor) -> None:
    with pytest.raises(UsageError, match=r"'bicubik'.*Did you mean 'bicubic'"):
        downsample(image, 2, "bicubik")
