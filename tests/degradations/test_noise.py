# SPDX-License-Identifier: Apache-2.0
"""Noise is keyed by image and seed, and has the statistics that its name says."""

import math

import pytest
import torch
from torch import Tensor

from filterlens.degradations import Degradation, GaussianNoise, PoissonNoise
from filterlens.degradations.randomness import KeyedRandom, StreamedRandom, image_keys
from filterlens.errors import UsageError

NOISES = ["noise:0.1", "poisson:50"]


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 3, 24, 24, generator=torch.Generator().manual_seed(3))


def noisy(images: Tensor, text: str, seed: int = 0) -> Tensor:
    return Degradation.parse(text).apply(images, 2, seed=seed)


@pytest.mark.parametrize("text", NOISES)
def test_noise_does_not_depend_on_the_order_of_the_batch(images: Tensor, text: str) -> None:
    order = torch.tensor([3, 0, 4, 2, 1])
    assert torch.equal(noisy(images[order], text), noisy(images, text)[order])


@pytest.mark.parametrize("text", NOISES)
def test_noise_does_not_depend_on_the_size_of_the_batch(images: Tensor, text: str) -> None:
    alone = torch.cat([noisy(image[None], text) for image in images])
    assert torch.equal(noisy(images, text), alone)


@pytest.mark.parametrize("text", NOISES)
def test_another_seed_gives_other_noise(images: Tensor, text: str) -> None:
    assert not torch.equal(noisy(images, text, seed=0), noisy(images, text, seed=1))


def test_two_images_get_different_noise() -> None:
    gray = torch.full((2, 3, 24, 24), 0.5)
    gray[1, 0, 0, 0] = 0.6  # one pixel is enough to be another image
    first, second = Degradation.parse("noise:0.1").apply(gray, 1)
    assert (first - second).abs().mean() > 0.05


def test_the_noise_is_the_same_with_and_without_blur(images: Tensor) -> None:
    added = {}
    for blur in ("", "blur:2+"):
        without = Degradation.parse(f"{blur}noise:0.05".replace("+noise:0.05", "").replace("noise:0.05", "clean"))
        inner = 0.4 + 0.2 * images  # stays away from the clipping
        added[blur] = Degradation.parse(f"{blur}noise:0.05").apply(inner, 2, keys=list("abcde"))
        added[blur] = added[blur] - without.apply(inner, 2)
    torch.testing.assert_close(added[""], added["blur:2+"], rtol=0, atol=2.1 / 255)  # each is rounded to 8 bits
    assert added[""].std() > 0.04


def test_the_key_of_an_image_is_its_content_at_8_bits(images: Tensor) -> None:
    keys = image_keys(images)
    assert len(set(keys)) == 5
    assert image_keys((images * 255).round() / 255) == keys
    assert image_keys(images[:1].reshape(1, 3, 12, 48)) != keys[:1]


def test_one_key_per_image_is_wanted(images: Tensor) -> None:
    with pytest.raises(UsageError, match="1 keys for 5 images"):
        Degradation.parse("noise:0.1").apply(images, 2, keys=["a"])


def test_gaussian_noise_has_mean_0_and_its_sigma() -> None:
    gray = torch.full((1, 3, 200, 200), 0.5)
    added = GaussianNoise(0.1).apply(gray, KeyedRandom(["a"], 0)) - gray
    count = added.numel()
    assert abs(float(added.mean())) < 4 * 0.1 / math.sqrt(count)
    assert float(added.std()) == pytest.approx(0.1, rel=4 / math.sqrt(2 * count))


def test_gaussian_noise_is_independent_per_channel_and_pixel() -> None:
    added = GaussianNoise(0.1).apply(torch.zeros(1, 3, 200, 200), KeyedRandom(["a"], 0))[0]
    across_channels = torch.corrcoef(added.flatten(1)) - torch.eye(3)
    across_pixels = torch.corrcoef(torch.stack([added[..., 1:].flatten(), added[..., :-1].flatten()]))[0, 1]
    assert across_channels.abs().max() < 4 / 200
    assert across_pixels.abs() < 4 / 200


@pytest.mark.parametrize("value", [0.05, 0.5, 1.0])
def test_poisson_noise_has_mean_v_and_variance_v_over_peak(value: float) -> None:
    flat = torch.full((1, 3, 200, 200), value)
    seen = PoissonNoise(50).apply(flat, KeyedRandom(["a"], 0)).double()
    assert float(seen.mean()) == pytest.approx(value, abs=4 * math.sqrt(value / 50 / flat.numel()))
    assert float(seen.var()) == pytest.approx(value / 50, rel=0.05)


@pytest.mark.parametrize("noise", [GaussianNoise(0.1), PoissonNoise(50)], ids=str)
def test_the_gradient_passes_through_the_noise(noise: GaussianNoise | PoissonNoise) -> None:
    images = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    noise.apply(images, KeyedRandom(["a"], 0)).sum().backward()
    assert torch.equal(images.grad, torch.ones_like(images))


def test_streamed_noise_goes_on_where_keyed_noise_repeats() -> None:
    gray = torch.full((1, 3, 8, 8), 0.5)
    streamed, keyed = StreamedRandom(torch.Generator().manual_seed(0)), KeyedRandom(["a"], 0)
    assert not torch.equal(streamed.normal(gray, "noise"), streamed.normal(gray, "noise"))
    assert torch.equal(keyed.normal(gray, "noise"), keyed.normal(gray, "noise"))


@pytest.mark.parametrize(
    ("kind", "value"),
    [(GaussianNoise, 0), (GaussianNoise, 1.5), (GaussianNoise, math.nan), (PoissonNoise, 0), (PoissonNoise, 1e8)],
)
def test_an_illegal_strength_is_refused_with_its_value(
    kind: type[GaussianNoise] | type[PoissonNoise], value: float
) -> None:
    with pytest.raises(UsageError, match=f"= {value}"):
        kind(value)
