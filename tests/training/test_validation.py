# SPDX-License-Identifier: Apache-2.0
"""PSNR per degradation against scikit-image, step by step."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor, nn

from filterlens.data.images import to_uint8
from filterlens.degradations import parse_degradations
from filterlens.training.recipe import validated
from filterlens.training.validation import psnr_per_degradation, validation_degradations


class Nearest(nn.Module):
    """Repeats every pixel 2x2; has a weight because networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * nn.functional.interpolate(x, scale_factor=2)


def test_psnr_is_that_of_scikit_image_averaged_over_the_images(photograph: Tensor) -> None:
    images = [to_uint8(photograph), to_uint8(photograph.flip(1))[:, :65, :81]]
    degradations = parse_degradations(["clean", "blur:2+noise:0.1"])
    measured = psnr_per_degradation(Nearest(), images, degradations, scale=2, seed=3)
    for name, degradation in degradations.items():
        expected = []
        for image in (images[0], images[1][:, :64, :80]):
            lowered = degradation.apply(image[None].float() / 255, 2, seed=3)
            pixels = (lowered[0] * 255).round().numpy().astype(np.uint8).repeat(2, 1).repeat(2, 2)
            inner = np.s_[:, 2:-2, 2:-2]
            expected.append(peak_signal_noise_ratio(image.numpy()[inner], pixels[inner]))
        assert measured[name] == pytest.approx(np.mean(expected), abs=1e-4)


def names(*coins: str) -> list[str]:
    stage = {"iterations": 1, "learning_rate": 1e-3}
    target = stage | {"degradations": [[coin, 0.5] for coin in coins]}
    return list(validation_degradations(validated({"name": "t", "baseline": stage, "target": target}, "t")))


def test_validation_takes_clean_each_effect_alone_and_all_together() -> None:
    assert names("noise:0.1", "blur:2") == ["clean", "noise:0.1", "blur:2", "blur:2+noise:0.1"]
    assert names("blur:2") == ["clean", "blur:2"]
    assert names() == ["clean"]


def test_effects_that_no_chain_can_join_are_validated_alone() -> None:
    assert names("blur:2", "blur:4") == ["clean", "blur:2", "blur:4"]
