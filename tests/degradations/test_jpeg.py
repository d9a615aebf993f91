# SPDX-License-Identifier: Apache-2.0
"""JPEG against Pillow, and the differentiable codec against the real one."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from filterlens.data.photographs import photograph as shipped
from filterlens.degradations import Jpeg
from filterlens.errors import UsageError


def picture(name: str) -> Tensor:
    return shipped(name).unsqueeze(0).float() / 255


@pytest.mark.parametrize("quality", [1, 30, 100])
def test_jpeg_equals_encoding_with_pillow(quality: int, photograph: Tensor) -> None:
    levels = (photograph * 255).round().to(torch.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(levels[0].permute(1, 2, 0).numpy())
    image.save(buffer, "JPEG", quality=quality, subsampling=2)  # Pillow's number for 4:2:0
    expected = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)
    coded = Jpeg(quality).apply(photograph)
    assert torch.equal((coded[0] * 255).round().to(torch.uint8), expected)
    assert not torch.equal(expected, levels[0])


def test_every_image_of_a_batch_is_coded_by_itself() -> None:
    images = torch.rand(3, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    for apply in (Jpeg(30).apply, Jpeg(30).apply_differentiable):
        alone = torch.cat([apply(image[None]) for image in images])
        torch.testing.assert_close(apply(images), alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["astronaut", "chelsea"])
@pytest.mark.parametrize(("quality", "mean", "rms"), [(10, 1.8, 3.5), (30, 1.45, 2.3), (50, 1.3, 1.9), (90, 0.95, 1.5)])
def test_the_differentiable_codec_stays_near_the_real_one_on_photographs(
    name: str, quality: int, mean: float, rms: float
) -> None:
    image = picture(name)
    real = Jpeg(quality).apply(image)
    smooth = (Jpeg(quality).apply_differentiable(image).clamp(0, 1) * 255).round() / 255
    difference = (smooth - real).abs() * 255
    assert float(difference.mean()) < mean
    assert float(difference.square().mean().sqrt()) < rms
    assert float(difference.mean()) < 0.5 * float((real - image).abs().mean() * 255), "nearer than no compression"


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_the_gradient_of_the_differentiable_codec_is_finite_and_not_zero(quality: int) -> None:
    images = torch.rand(2, 3, 33, 47, generator=torch.Generator().manual_seed(0)).requires_grad_()
    coded = Jpeg(quality).apply_differentiable(images)
    assert coded.shape == images.shape
    coded.square().sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
    assert images.grad.abs().mean() > 0.01


@pytest.mark.parametrize("quality", [0, 101, 30.5, math.nan, math.inf])
def test_an_illegal_quality_is_refused_with_its_value(quality: float) -> None:
    with pytest.raises(UsageError, match=f"quality = {quality} "):
        Jpeg(quality)  # type: ignore[arg-type]
