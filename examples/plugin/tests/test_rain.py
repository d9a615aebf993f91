# SPDX-License-Identifier: Apache-2.0
"""``rain:0.5`` against loops over pixels, and as filterlens sees it."""

import numpy as np
import pytest
import torch
from filterlens_example.rain import rain

from filterlens import Degradation, UsageError


def seeded(number):
    return torch.Generator().manual_seed(number)


def test_every_drop_draws_one_streak():
    images = torch.rand(
        2, 3, 20, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    found = rain(0.5, length=5, slant=0.5, density=0.03)(
        images, torch.Generator().manual_seed(7)
    )
    chance = torch.rand(2, 1, 20, 24, generator=torch.Generator().manual_seed(7)).numpy()
    expected = images.numpy().copy()
    for image, _, y, x in np.argwhere(chance < 0.03):
        for row in range(5):
            at = (y + row) % 20, (x + round(0.5 * row)) % 24
            expected[image, :, *at] = np.minimum(images.numpy()[image, :, *at] + 0.5, 1)
    assert (expected != images.numpy()).any()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_filterlens_reads_it_and_gives_one_result_in_any_order():
    images = torch.rand(3, 3, 20, 24, generator=seeded(1))
    rainy = Degradation.parse("rain:0.5,length=5")
    assert str(rainy) == "rain:0.5,length=5"
    found = rainy.apply(images, scale=2, seed=3)
    assert found.shape == (3, 3, 10, 12)
    assert torch.equal(found.flip(0), rainy.apply(images.flip(0), scale=2, seed=3))
    assert not torch.equal(found, rainy.apply(images, scale=2, seed=4))
    assert found.mean() > Degradation().apply(images, scale=2).mean()


@pytest.mark.parametrize(
    "wrong", [{"strength": 0}, {"strength": 2}, {"length": 0}, {"density": 1}]
)
def test_what_is_not_legal_is_told(wrong):
    with pytest.raises(UsageError, match=f"rain's {next(iter(wrong))} = .* is not legal"):
        rain(**{"strength": 0.5} | wrong)
