# SPDX-License-Identifier: Apache-2.0
"""The training mixture tosses one coin per effect and sample; each sample has its own kernel, as scipy convolves."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, signal
from torch import Tensor

from filterlens.degradations import BlurRange, Coin, Degradation, GaussianBlur, Mixture
from filterlens.degradations.mixture import composed, convolve_each, delta
from filterlens.degradations.randomness import StreamedRandom
from filterlens.errors import FilterlensError, UsageError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_two_coins_at_a_half_give_all_four_combinations_a_quarter_each() -> None:
    count = 2000
    edge = torch.zeros(1, 3, 48, 48)
    edge[..., 24:] = 0.5
    mixture = Mixture.of([("blur:2", 0.5), ("noise:0.01", 0.5)])
    lowered = mixture.apply(edge.expand(count, 3, 48, 48), 2, seeded())
    blurred = lowered[..., 12].mean((1, 2)) < 0.43  # the bright side of a blurred edge is darker
    noisy = lowered[..., :4].amax((1, 2, 3)) > 0  # far from the edge, a clean image is black
    for combination in (~blurred & ~noisy, blurred & ~noisy, ~blurred & noisy, blurred & noisy):
        share = float(combination.float().mean())
        assert abs(share - 0.25) < 4 * math.sqrt(0.25 * 0.75 / count)


def test_the_same_generator_state_gives_the_same_samples(photograph: Tensor) -> None:
    mixture = Mixture.of([("blur:2", 0.5), ("noise:0.1", 0.5), ("jpeg:30", 0.5)])
    images = photograph.expand(8, 3, 96, 120)
    first = mixture.apply(images, 2, seeded())
    assert torch.equal(first, mixture.apply(images, 2, seeded()))
    assert not torch.equal(first, mixture.apply(images, 2, seeded(1)))


def test_coins_that_always_fall_equal_the_plain_chain(photograph: Tensor) -> None:
    mixture = Mixture.of([("blur:2", 1), ("noise:0.1", 1), ("jpeg:30", 1)])
    mixed = mixture.apply(photograph, 2, seeded())
    generator = seeded()
    torch.rand(3, generator=generator)  # the three tosses
    chain = Degradation.parse("blur:2+noise:0.1+jpeg:30")
    plain = chain.apply(photograph, 2, random=StreamedRandom(generator), differentiable=True)
    torch.testing.assert_close(mixed, plain, rtol=0, atol=1e-6)


def test_a_mixture_without_coins_is_clean(photograph: Tensor) -> None:
    for resampler in ("bicubic", "bilinear"):
        expected = Degradation().apply(photograph, 2, resampler=resampler)
        assert torch.equal(Mixture((), resampler).apply(photograph, 2, seeded()), expected)


def test_samples_that_no_coin_fell_on_stay_clean(photograph: Tensor) -> None:
    lowered = Mixture.of([("blur:2", 0.5)]).apply(photograph.expand(16, 3, 96, 120), 2, seeded())
    clean = Degradation().apply(photograph, 2)[0]
    blurred = Degradation(blur=GaussianBlur(2)).apply(photograph, 2)[0]
    is_clean = [torch.allclose(sample, clean, atol=1e-6) for sample in lowered]
    is_blurred = [torch.allclose(sample, blurred, atol=1e-6) for sample in lowered]
    assert all(a != b for a, b in zip(is_clean, is_blurred, strict=True))
    assert 0 < sum(is_clean) < 16


@pytest.mark.parametrize(("text", "probability"), [("blur:2+noise:0.1", 0.5), ("blur:2", 0), ("blur:2", 1.1)])
def test_an_illegal_coin_is_refused_with_its_value(text: str, probability: float) -> None:
    with pytest.raises(UsageError, match=f"'{text}'".replace("+", r"\+")):
        Coin(Degradation.parse(text), probability)


def test_clean_is_no_coin() -> None:
    with pytest.raises(UsageError, match="samples on which none falls are clean"):
        Coin(Degradation(), 0.5)


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
