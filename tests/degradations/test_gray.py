# SPDX-License-Identifier: Apache-2.0
"""Written degradations on images of one and of four channels."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from filterlens import Degradation, UsageError

COLOURS = (torch.rand(2, 3, 24, 20, generator=torch.Generator().manual_seed(0)) * 255).round() / 255


@pytest.mark.parametrize("text", ["clean", "blur:2", "motion:9,angle=30"])
@pytest.mark.parametrize("channels", [1, 4])
def test_what_treats_channels_alike_treats_each_as_it_treats_colours(text, channels):
    images = torch.cat([COLOURS, COLOURS[:, :1]], 1)[:, :channels]
    degradation = Degradation.parse(text)
    expected = torch.cat([degradation.apply(COLOURS, 2), degradation.apply(COLOURS, 2)[:, :1]], 1)[:, :channels]
    assert torch.equal(degradation.apply(images, 2), expected)


def test_a_gray_jpeg_is_pillows():
    gray = COLOURS[:1, :1]
    buffer = io.BytesIO()
    Image.fromarray((gray[0, 0] * 255).round().to(torch.uint8).numpy()).save(buffer, "JPEG", quality=30)
    expected = torch.from_numpy(np.array(Image.open(buffer))).float() / 255
    assert torch.equal(Degradation.parse("jpeg:30").apply(gray, 1)[0, 0], expected)
    soft = Degradation.parse("jpeg:30").apply(gray, 1, differentiable=True)
    assert soft.shape == gray.shape and (soft[0, 0] - expected).abs().mean() < 0.02


def test_noise_on_gray_depends_on_image_and_seed_alone():
    noise = Degradation.parse("noise:0.1")
    both = noise.apply(COLOURS[:, :1], 1)
    assert torch.equal(both[1:], noise.apply(COLOURS[1:, :1], 1)) and not torch.equal(both, COLOURS[:, :1])


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(UsageError, match="1, 3 or 4 channels"):
        Degradation.parse("blur:2").apply(torch.rand(1, 2, 8, 8), 1)
    with pytest.raises(UsageError, match=r"jpeg:30.*4 channels"):
        Degradation.parse("jpeg:30").apply(torch.rand(1, 4, 8, 8), 1)
