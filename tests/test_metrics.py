# SPDX-License-Identifier: Apache-2.0
"""PSNR and SSIM against scikit-image."""

import math

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from filterlens.errors import UsageError
from filterlens.metrics import luma, psnr, quantised, specification, ssim


@pytest.fixture
def pair(photograph: Tensor) -> tuple[Tensor, Tensor]:
    truth = torch.cat([photograph, photograph.flip(-1)])
    generator = torch.Generator().manual_seed(0)
    sigma = torch.tensor([0.02, 0.1]).view(2, 1, 1, 1)
    return truth + sigma * torch.randn(truth.shape, generator=generator), truth


def pixels(image: Tensor, crop: int) -> np.ndarray:
    inner = image[:, crop:-crop, crop:-crop]
    return (inner.clamp(0, 1) * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)


def test_psnr_equals_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    expected = [peak_signal_noise_ratio(pixels(b, 2), pixels(a, 2)) for a, b in zip(*pair, strict=True)]
    assert psnr(*pair, crop=2).tolist() == pytest.approx(expected, abs=1e-4)


def test_psnr_on_y_equals_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    expected = [
        peak_signal_noise_ratio(rgb2ycbcr(pixels(b, 3))[..., 0], rgb2ycbcr(pixels(a, 3))[..., 0], data_range=255)
        for a, b in zip(*pair, strict=True)
    ]
    assert psnr(*pair, crop=3, channel="y").tolist() == pytest.approx(expected, abs=1e-3)


def test_ssim_equals_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    expected = [
        structural_similarity(pixels(b, 2), pixels(a, 2), channel_axis=-1, **settings)
        for a, b in zip(*pair, strict=True)
    ]
    assert ssim(*pair, crop=2).tolist() == pytest.approx(expected, abs=1e-5)


def test_luma_runs_from_16_to_235() -> None:
    gray = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    assert (luma(gray) * 255).flatten().tolist() == pytest.approx([16, 235], abs=1e-3)


def test_equal_images_have_infinite_psnr_and_ssim_1(photograph: Tensor) -> None:
    assert psnr(photograph, photograph, crop=2).tolist() == [math.inf]
    assert ssim(photograph, photograph, crop=2).tolist() == pytest.approx([1])


def test_what_8_bits_cannot_hold_does_not_count(photograph: Tensor) -> None:
    levels = quantised(photograph)
    assert psnr(levels + 0.4 / 255, levels, crop=2).tolist() == [math.inf]


def test_an_unknown_channel_is_refused_with_the_nearest_name(photograph: Tensor) -> None:
    with pytest.raises(UsageError, match=r"'Y'. Did you mean 'y'"):
        psnr(photograph, photograph, crop=2, channel="Y")


def test_images_that_cannot_be_compared_are_refused(photograph: Tensor) -> None:
    with pytest.raises(UsageError, match="cannot be compared"):
        psnr(photograph, photograph[..., :-1], crop=2)
    with pytest.raises(UsageError, match="cannot be compared with 48 border pixels"):
        psnr(photograph, photograph, crop=48)


def test_ssim_wants_room_for_one_window(photograph: Tensor) -> None:
    assert ssim(photograph[..., :15, :15], photograph[..., :15, :15], crop=2).shape == (1,)
    with pytest.raises(UsageError, match="at least 11x11"):
        ssim(photograph[..., :14, :15], photograph[..., :14, :15], crop=2)


def test_a_metric_says_how_it_measured() -> None:
    assert specification(2, "y") == "Y, 8-bit rounding, 2 border pixels cropped"
