# SPDX-License-Identifier: Apache-2.0
"""Ranges draw, for every sample, the kernels and noise levels that the fixed effects define."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from filterlens.degradations import BlurRange, GaussianBlur, NoiseRange, parse_range
from filterlens.degradations.ranges import Bounds
from filterlens.errors import UsageError

ISOTROPIC, ANISOTROPIC = "blur:0.2..4", "blur:0.2..4,sigma_y=0.2..4,angle=0..180"
WRITTEN = [ISOTROPIC, ANISOTROPIC, "blur:0.5..2,sigma_y=1..3", "blur:2..2,kernel=15", "noise:0..0.098", "noise:0.1..1"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bounds(low: float, high: float) -> st.SearchStrategy[Bounds]:
    ends = st.tuples(st.floats(low, high), st.floats(low, high))
    return ends.map(lambda pair: (min(pair), max(pair)))


@pytest.mark.parametrize("text", WRITTEN)
def test_a_written_range_reads_back_as_itself(text: str) -> None:
    assert str(parse_range(text)) == text


@given(bounds(1e-9, 100), bounds(1e-9, 100), bounds(-720, 720), st.sampled_from([3, 9, 21, 401]))
def test_any_blur_range_survives_writing_and_reading(sigma: Bounds, sigma_y: Bounds, angle: Bounds, width: int) -> None:
    for blur in (BlurRange(sigma, kernel=width), BlurRange(sigma, sigma_y, angle, width), BlurRange(sigma, sigma_y)):
        assert parse_range(str(blur)) == blur


@given(bounds(0, 1).filter(lambda pair: pair[1] > 0))
def test_any_noise_range_survives_writing_and_reading(sigma: Bounds) -> None:
    assert parse_range(str(NoiseRange(sigma))) == NoiseRange(sigma)


def test_a_single_number_within_a_range_is_both_its_ends() -> None:
    assert parse_range("blur:0.2..4,sigma_y=2,angle=30") == BlurRange((0.2, 4), (2, 2), (30, 30))


@pytest.mark.parametrize("text", ["blur:2", "noise:0.1", "jpeg:30", "clean", "blur:2+noise:0.1"])
def test_a_text_without_dots_is_no_range(text: str) -> None:
    assert parse_range(text) is None


@pytest.mark.parametrize(("sigma", "sigma_y", "angle"), [(2, None, 0), (0.2, None, 0), (4, 0.2, 30), (0.7, 3, 170)])
@pytest.mark.parametrize("width", [7, 21])
def test_a_range_of_one_value_draws_exactly_the_fixed_kernel(
    sigma: float, sigma_y: float | None, angle: float, width: int
) -> None:
    turned = {} if sigma_y is None else {"sigma_y": (sigma_y, sigma_y), "angle": (angle, angle)}
    drawn = BlurRange((sigma, sigma), kernel=width, **turned).draw(3, seeded(), torch.float64)  # type: ignore[arg-type]
    fixed = GaussianBlur(sigma, sigma_y, angle, width).weights(torch.float64)
    torch.testing.assert_close(drawn, fixed.expand(3, width, width), rtol=1e-9, atol=1e-15)


def test_every_drawn_kernel_is_the_fixed_blur_with_the_parameters_drawn() -> None:
    """The draws are those of the generator in the order sigma, sigma_y, angle."""
    kernels = BlurRange((0.2, 4), (0.5, 3), (0, 180)).draw(5, seeded(7))
    generator = seeded(7)
    sigma, sigma_y, angle = (torch.rand(5, generator=generator).double() for _ in range(3))
    for index, kernel in enumerate(kernels):
        blur = GaussianBlur(
            0.2 + 3.8 * float(sigma[index]), 0.5 + 2.5 * float(sigma_y[index]), 180 * float(angle[index])
        )
        torch.testing.assert_close(kernel, blur.weights(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("text", [ISOTROPIC, ANISOTROPIC])
def test_every_kernel_sums_to_1(text: str) -> None:
    blur = parse_range(text)
    assert isinstance(blur, BlurRange)
    kernels = blur.draw(200, seeded())
    assert (kernels.shape, kernels.dtype) == ((200, 21, 21), torch.float32)
    torch.testing.assert_close(kernels.double().sum((1, 2)), torch.ones(200, dtype=torch.float64), rtol=0, atol=1e-6)


def test_sigma_is_uniform_over_its_range() -> None:
    """Along a row of a sampled Gaussian, exp(−1 / 2σ²) is the ratio of the centre's neighbour to the centre."""
    kernels = BlurRange((0.5, 4)).draw(4000, seeded(), torch.float64)
    sigma = (-0.5 / (kernels[:, 10, 11] / kernels[:, 10, 10]).log()).sqrt()
    assert stats.kstest(sigma.numpy(), stats.uniform(0.5, 3.5).cdf).pvalue > 0.01


def test_noise_levels_are_uniform_and_may_be_none() -> None:
    levels = NoiseRange((0, 0.098)).draw(4000, seeded())
    assert (levels.shape, levels.dtype) == ((4000, 1, 1, 1), torch.float32)
    assert stats.kstest(levels.flatten().double().numpy(), stats.uniform(0, 0.098).cdf).pvalue > 0.01


def test_the_two_axes_and_the_angle_are_drawn_independently() -> None:
    """Read back from each kernel's second moments; a width of 61 loses nothing of a Gaussian of σ ≤ 6."""
    kernels = BlurRange((2, 6), (2, 6), (0, 90), kernel=61).draw(2000, seeded(), torch.float64)
    axis = torch.arange(-30.0, 31, dtype=torch.float64)
    x, y = axis.view(1, 1, -1), -axis.view(1, -1, 1)  # y upwards
    var_x, var_y, mixed = ((kernels * each).sum((1, 2)) for each in (x * x, y * y, x * y))
    angle = 0.5 * torch.atan2(2 * mixed, var_x - var_y)
    along = torch.where(angle < 0, angle + math.pi / 2, angle)  # the axis that lies within 0 to 90 degrees
    cos, sin = along.cos(), along.sin()
    sigma = (var_x * cos**2 + var_y * sin**2 + 2 * mixed * sin * cos).sqrt()
    sigma_y = (var_x * sin**2 + var_y * cos**2 - 2 * mixed * sin * cos).sqrt()
    for values, low, span in ((sigma, 2, 4), (sigma_y, 2, 4), (along, 0, math.pi / 2)):
        assert stats.kstest(values.numpy(), stats.uniform(low, span).cdf).pvalue > 0.01
    for one, other in ((sigma, sigma_y), (sigma, along), (sigma_y, along)):
        assert stats.spearmanr(one.numpy(), other.numpy()).pvalue > 0.01


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blur:4..0.2", r"Blur sigma = 4\.\.0\.2 runs backwards.*0\.2\.\.4"),
        ("noise:0.2..0.1", r"Noise sigma = 0\.2\.\.0\.1 runs backwards"),
        ("blur:0..4", r"Blur sigma = 0\.0 is not legal.*above 0"),
        ("blur:1..101", r"sigma = 101\.0"),
        ("blur:1..2,sigma_y=0..2", r"sigma_y = 0\.0"),
        ("blur:nan..2", r"sigma = nan\.\.2.*finite"),
        ("noise:0..inf", r"Noise sigma = 0\.0\.\.inf.*finite"),
        ("blur:1..2,kernel=1", r"kernel = 1 .*odd width from 3"),
        ("blur:1..2,kernel=20", r"kernel = 20 "),
        ("blur:1..2,kernel=21.5", r"'21\.5' in .* is not a whole number"),
        ("blur:1..2,sigma_y=1..2,angle=0..inf", r"Blur angle = 0\.0\.\.inf"),
        ("blur:1..2,angle=0..180", r"angle = 0\.\.180 lacks sigma_y.*sigma_y=1\.\.2"),
        ("noise:0..0", r"Noise sigma = 0\.\.0 .*above 0"),
        ("noise:-0.1..0.1", r"Noise sigma = -0\.1\.\.0\.1"),
        ("noise:0..1.1", r"Noise sigma = 0\.\.1\.1"),
        ("blur:x..2", r"'x' in 'blur:x\.\.2' is not a number"),
        ("blur:..2", r"'' in 'blur:\.\.2' is not a number"),
        ("blur:1..2,sigm_y=1..2", r"'sigm_y'.*Did you mean 'sigma_y'"),
        ("blur:1..2,kernel=9,kernel=11", r"'kernel' appears twice"),
        ("motion:3..9", r"range 'motion'.*blur, noise"),
        ("blur:1..2+noise:0..0.1", r"a range stands alone"),
    ],
)
def test_an_illegal_range_is_refused_with_its_value(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_range(text)
