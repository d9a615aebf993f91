# SPDX-License-Identifier: Apache-2.0
"""A mixture whose coins carry ranges: each sample its own kernel and noise level, told with the patches."""

import math
import tomllib
from importlib import resources

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from filterlens.degradations import Coin, Degradation, GaussianBlur, Mixture, downsample, parse_range, representatives
from filterlens.degradations.blur import reflected
from filterlens.degradations.pipeline import round_to_8_bits
from filterlens.degradations.randomness import StreamedRandom
from filterlens.errors import FilterlensError, UsageError

BLUR, LONG, NOISE = "blur:0.2..4", "blur:0.2..4,sigma_y=0.2..4,angle=0..180", "noise:0..0.098"
FIXED = [
    [("blur:2", 0.5), ("noise:0.1", 0.5)],
    [("noise:0.1", 0.5), ("motion:9,angle=40", 0.4), ("poisson:200", 0.5), ("blur:3,sigma_y=1", 0.5), ("jpeg:30", 0.5)],
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def patches(photograph: Tensor, count: int, side: int = 64) -> Tensor:
    places = [(5 * index % 30, 7 * index % 50) for index in range(count)]
    return torch.cat([photograph[..., top : top + side, left : left + side] for top, left in places])


def as_shipped_pairs_were_trained(mixture: Mixture, images: Tensor, scale: int, generator: torch.Generator) -> Tensor:
    """The order in which the numbers of a seed have been used since the first shipped pair."""
    random = StreamedRandom(generator)
    chains = [Degradation.parse(str(coin.degradation)) for coin in mixture.coins]
    falls = [torch.rand(len(images), 1, 1, 1, generator=generator) < coin.probability for coin in mixture.coins]
    for chain, fell in zip(chains, falls, strict=True):
        images = torch.where(fell, chain.blur.apply(images), images) if chain.blur else images
    lowered = downsample(images, scale, mixture.resampler)
    for chain, fell in zip(chains, falls, strict=True):
        lowered = torch.where(fell, chain.noise.apply(lowered, random), lowered) if chain.noise else lowered
    for chain, fell in zip(chains, falls, strict=True):
        if chain.jpeg:
            lowered = round_to_8_bits(lowered)
            lowered = torch.where(fell, chain.jpeg.apply_differentiable(lowered), lowered)
    return round_to_8_bits(lowered)


@pytest.mark.parametrize("resampler", ["bicubic", "bilinear"])
@pytest.mark.parametrize("coins", FIXED, ids=["paper", "all"])
def test_fixed_coins_use_a_seed_as_they_always_did(
    coins: list[tuple[str, float]], resampler: str, photograph: Tensor
) -> None:
    mixture, images = Mixture.of(coins, resampler), patches(photograph, 8)
    for seed in (0, 1):
        expected = as_shipped_pairs_were_trained(mixture, images, 2, seeded(seed))
        assert torch.equal(mixture.apply(images, 2, seeded(seed)), expected)
        assert torch.equal(mixture.degrade(images, 2, seeded(seed)).lowered, expected)


SHIPPED = {  # levels of one green pixel in each of 8 patches, for seeds 0 and 1
    "cpu": ([186, 206, 199, 204, 208, 199, 132, 62], [204, 240, 197, 207, 212, 180, 90, 66]),
    "gpu": ([186, 206, 199, 204, 208, 199, 132, 62], [204, 240, 197, 207, 212, 180, 90, 66]),
    "reference": ([186, 204, 199, 204, 208, 198, 132, 74], [203, 239, 197, 207, 212, 180, 90, 77]),
    "smoke": ([186, 206, 199, 204, 208, 199, 132, 62], [204, 240, 197, 207, 212, 180, 90, 66]),
}


@pytest.mark.parametrize("recipe", SHIPPED)
def test_the_shipped_recipes_degrade_to_the_levels_of_the_shipped_pairs(recipe: str, photograph: Tensor) -> None:
    """A rounding may fall the other way on another machine: one level is allowed."""
    file = resources.files("filterlens.training") / "recipes" / f"{recipe}.toml"
    settings = tomllib.loads(file.read_text(encoding="utf-8"))
    mixture = Mixture.of(settings["target"]["degradations"], settings.get("resampler", "bicubic"))
    images = torch.cat([photograph[..., 3 * i % 30 :, 7 * i % 50 :][..., :64, :64] for i in range(8)])
    for seed, expected in enumerate(SHIPPED[recipe]):
        levels = mixture.apply(images, 2, seeded(seed))[:, 1, 11, 13] * 255
        torch.testing.assert_close(levels, torch.tensor(expected).float(), rtol=0, atol=1.01)


@pytest.mark.parametrize("text", [BLUR, LONG])
def test_each_sample_is_blurred_by_the_kernel_that_is_told(text: str, photograph: Tensor) -> None:
    """Oracle: gather the 441 neighbours of every pixel and weigh them."""
    images = patches(photograph, 6)
    degraded = Mixture.of([(text, 0.7)]).degrade(images, 2, seeded(3))
    assert degraded.kernels is not None
    assert degraded.kernels.shape == (6, 21, 21)
    for image, kernel, lowered in zip(images, degraded.kernels, degraded.lowered, strict=True):
        windows = reflected(image[None].double(), 10, "", "").unfold(2, 21, 1).unfold(3, 21, 1)
        blurred = torch.einsum("cohwij,ij->ochw", windows, kernel.double())
        expected = round_to_8_bits(downsample(blurred, 2))[0]
        torch.testing.assert_close(lowered.double(), expected, rtol=0, atol=1.01 / 255)
        assert ((lowered.double() - expected).abs() > 1e-6).float().mean() < 1e-3  # a rounding here and there


def test_a_range_falls_with_its_probability_and_else_the_kernel_is_the_delta(photograph: Tensor) -> None:
    count = 600
    images = patches(photograph, 1, 24).expand(count, 3, 24, 24)
    degraded = Mixture.of([(BLUR, 0.3)]).degrade(images, 2, seeded())
    assert degraded.kernels is not None
    delta = torch.zeros(21, 21)
    delta[10, 10] = 1
    clean = Degradation().apply(images[:1], 2)
    untouched = torch.tensor([torch.equal(kernel, delta) for kernel in degraded.kernels])
    assert abs(float(untouched.float().mean()) - 0.7) < 4 * math.sqrt(0.3 * 0.7 / count)
    assert (degraded.lowered[untouched] == clean).all()


def test_noise_of_a_range_has_a_level_of_its_own_in_every_sample() -> None:
    """On mid-grey nothing is clipped, so the spread of a sample tells its level (rounding adds 1/12 of a level²)."""
    grey = torch.full((400, 3, 48, 48), 0.5)
    lowered = Mixture.of([(NOISE, 1)]).apply(grey, 2, seeded())
    variance = lowered.double().flatten(1).var(1) - 1 / 12 / 255**2
    levels = variance.clamp_min(0).sqrt()
    assert stats.kstest(levels.numpy(), stats.uniform(0, 0.098).cdf).pvalue > 0.01


def test_views_share_coins_kernel_and_noise_level_but_not_the_noise() -> None:
    grey = torch.full((80, 3, 96, 96), 0.5)
    degraded = Mixture.of([(BLUR, 0.5), (NOISE, 0.5)]).degrade(grey, 2, seeded(), views=2)
    assert degraded.kernels is not None
    assert torch.equal(degraded.kernels[::2], degraded.kernels[1::2])
    assert not torch.equal(degraded.kernels[:-2:2], degraded.kernels[2::2])
    first, second = degraded.lowered[::2].double(), degraded.lowered[1::2].double()
    spread, other = (each.flatten(1).std(1) for each in (first, second))
    noisy = spread > 0
    assert torch.equal(noisy, other > 0)
    assert 10 < int(noisy.sum()) < 30  # half of 40
    torch.testing.assert_close(spread[noisy], other[noisy], rtol=0.05, atol=1 / 255)
    correlation = (first[noisy] - 0.5).flatten() @ (second[noisy] - 0.5).flatten()
    correlation /= (first[noisy] - 0.5).norm() * (second[noisy] - 0.5).norm()
    assert abs(float(correlation)) < 0.01


def test_views_of_fixed_coins_share_their_tosses(photograph: Tensor) -> None:
    images = patches(photograph, 1).expand(24, 3, 64, 64)
    lowered = Mixture.of([("blur:2", 0.5), ("jpeg:30", 0.5)]).degrade(images, 2, seeded(), views=3).lowered
    groups = lowered.unflatten(0, (8, 3))
    assert torch.equal(groups, groups[:, :1].expand_as(groups))
    assert len(torch.unique(groups[:, 0].flatten(1), dim=0)) > 1


@pytest.mark.parametrize("views", [0, -1, 3])
def test_a_batch_that_does_not_divide_into_views_is_refused(views: int) -> None:
    with pytest.raises(UsageError, match=f"A batch of 4 does not divide into {views} views"):
        Mixture.of([(BLUR, 1)]).degrade(torch.rand(4, 3, 32, 32), 2, seeded(), views=views)


def test_fixed_blurs_tell_their_kernels_too(photograph: Tensor) -> None:
    degraded = Mixture.of([("blur:2,kernel=15", 1), ("noise:0.1", 1)]).degrade(photograph, 2, seeded())
    expected = GaussianBlur(2, kernel=15).weights()[None]
    assert degraded.kernels is not None
    assert torch.equal(degraded.kernels, expected)


def test_two_blurs_in_turn_tell_their_convolution(photograph: Tensor) -> None:
    """Away from the borders, the one kernel does what the two blurs do."""
    mixture = Mixture.of([("blur:1.5,sigma_y=0.7,angle=20,kernel=9", 1), ("motion:5,angle=30", 1)])
    degraded = mixture.degrade(photograph, 1, seeded())
    assert degraded.kernels is not None
    assert degraded.kernels.shape[-1] == mixture.blur_width == 13
    windows = photograph.unfold(2, 13, 1).unfold(3, 13, 1)
    inner = torch.einsum("bchwij,ij->bchw", windows, degraded.kernels[0])
    torch.testing.assert_close(degraded.lowered[..., 6:-6, 6:-6], round_to_8_bits(inner), rtol=0, atol=1.01 / 255)


def test_a_mixture_without_blur_tells_no_kernels(photograph: Tensor) -> None:
    mixture = Mixture.of([(NOISE, 1)])
    assert mixture.degrade(photograph, 2, seeded()).kernels is None
    assert (mixture.has_blur, mixture.blur_range, mixture.blur_width) == (False, None, None)


def test_a_mixture_knows_its_blur() -> None:
    mixture = Mixture.of([("noise:0.1", 0.5), ("blur:0.2..4,kernel=15", 1)])
    assert mixture.has_blur
    assert mixture.blur_range == parse_range("blur:0.2..4,kernel=15")
    assert mixture.blur_width == 15
    assert Mixture.of([("motion:9", 1)]).has_blur
    assert Mixture.of([("motion:9", 1)]).blur_range is None
    assert Mixture.of([(BLUR, 1), (LONG, 1)]).blur_range is None


@pytest.mark.parametrize(("text", "width"), [(BLUR, 21), ("blur:2,kernel=9", 9), ("motion:7", 7), (NOISE, None)])
def test_a_coin_knows_the_width_of_its_kernel(text: str, width: int | None) -> None:
    assert Coin.of(text, 1).blur_width == width


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("blur:2", "blur:2"),
        ("jpeg:30", "jpeg:30"),
        (BLUR, "blur:2.1"),
        ("blur:0.2..2,kernel=15", "blur:1.1,kernel=15"),
        (LONG, "blur:3.05,sigma_y=1.15,angle=90"),
        (NOISE, "noise:0.049"),
        ("noise:0.1..0.3", "noise:0.2"),
    ],
)
def test_what_stands_for_a_coin_lies_within_its_range(text: str, fixed: str) -> None:
    assert representatives(Coin.of(text, 0.5)) == [fixed]
    assert str(Degradation.parse(fixed)) == fixed


@pytest.mark.parametrize("probability", [0, 1.1])
def test_an_illegal_probability_of_a_range_is_refused(probability: float) -> None:
    with pytest.raises(UsageError, match=rf"Probability {probability} of 'blur:0\.2\.\.4'"):
        Mixture.of([(BLUR, probability)])


def test_a_patch_must_be_larger_than_half_the_kernel() -> None:
    with pytest.raises(FilterlensError, match="too small for a blur kernel of 21"):
        Mixture.of([(BLUR, 0.5)]).degrade(torch.rand(2, 3, 8, 8), 2, seeded())


class Operations(TorchDispatchMode):
    """Collects the names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.add(operation.name())
        return operation(*args, **(kwargs or {}))


def test_no_operation_hands_a_number_or_a_shape_to_the_host() -> None:
    """On a GPU these would make the host wait: reading a value, choosing by a mask, and filling from host memory."""
    mixture = Mixture.of([(BLUR, 0.5), (LONG, 0.5), ("blur:2", 0.5), (NOISE, 0.5), ("noise:0.1", 0.5)])
    images = torch.rand(4, 3, 32, 32)
    assert mixture.degrade(images, 2, seeded(), views=2).kernels is not None  # what stays on the device is made once
    generator = seeded()
    with Operations() as operations:
        assert mixture.degrade(images, 2, generator, views=2).kernels is not None
    waits = ("local_scalar_dense", "nonzero", "masked_select", "index.Tensor", "unique", "lift_fresh", "equal")
    assert "aten::convolution" in operations.names
    assert not [name for name in operations.names if any(wait in name for wait in waits)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_host_never_waits() -> None:
    mixture = Mixture.of([(BLUR, 0.5), (LONG, 0.5), (NOISE, 0.5)])
    images, generator = torch.rand(4, 3, 32, 32, device="cuda"), torch.Generator("cuda").manual_seed(0)
    mixture.degrade(images, 2, generator, views=2)
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert mixture.degrade(images, 2, generator, views=2).kernels is not None
    finally:
        torch.cuda.set_sync_debug_mode("default")
