# SPDX-License-Identifier: Apache-2.0
"""Blur against scipy: the formula of the Gaussian, the box filter and the geometry of a line for motion."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from filterlens.degradations import Degradation, GaussianBlur, Mixture, MotionBlur, downsample
from filterlens.errors import FilterlensError, UsageError

BLURS = [GaussianBlur(2), GaussianBlur(0.6, kernel=7), GaussianBlur(4, sigma_y=1, angle=30)]


@pytest.mark.parametrize("blur", BLURS, ids=str)
def test_blur_equals_scipy_correlation_with_mirrored_borders(blur: GaussianBlur, photograph: Tensor) -> None:
    kernel = blur.weights(torch.float64).numpy()
    blurred = blur.apply(photograph.double())[0].numpy()
    for ours, plane in zip(blurred, photograph[0].double().numpy(), strict=True):
        np.testing.assert_allclose(ours, ndimage.correlate(plane, kernel, mode="mirror"), rtol=0, atol=1e-12)


def test_isotropic_blur_equals_scipy_gaussian_filter(photograph: Tensor) -> None:
    blurred = GaussianBlur(2).apply(photograph.double())[0, 0].numpy()
    expected = ndimage.gaussian_filter(photograph[0, 0].double().numpy(), 2, mode="mirror", radius=10)
    np.testing.assert_allclose(blurred, expected, rtol=0, atol=1e-12)


def test_round_kernel_is_the_sampled_gaussian() -> None:
    kernel = GaussianBlur(2).weights(torch.float64)
    samples = [[math.exp(-(x * x + y * y) / (2 * 2**2)) for x in range(-10, 11)] for y in range(-10, 11)]
    expected = np.array(samples) / np.sum(samples)
    np.testing.assert_allclose(kernel, expected, rtol=1e-12)


@pytest.mark.parametrize("angle", [0, 30, 90, 120])
def test_the_long_axis_of_the_kernel_is_turned_counter_clockwise_on_the_screen(angle: float) -> None:
    kernel = GaussianBlur(3, sigma_y=1, angle=angle, kernel=41).weights(torch.float64).numpy()
    rows, columns = np.mgrid[-20:21, -20:21]
    x, y = columns, -rows  # on a screen, rows grow downwards
    variance_x, variance_y, covariance = ((kernel * m).sum() for m in (x * x, y * y, x * y))
    measured = math.degrees(0.5 * math.atan2(2 * covariance, variance_x - variance_y)) % 180
    assert measured == pytest.approx(angle, abs=1e-3)
    assert variance_x + variance_y == pytest.approx(3**2 + 1**2, rel=1e-3)


@pytest.mark.parametrize("blur", BLURS, ids=str)
def test_kernel_sums_to_1(blur: GaussianBlur) -> None:
    assert float(blur.weights(torch.float64).sum()) == pytest.approx(1, abs=1e-14)


def test_blurring_a_batch_equals_blurring_one_by_one() -> None:
    images = torch.rand(4, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    for blur in BLURS:
        together = blur.apply(images)
        alone = torch.cat([blur.apply(image[None]) for image in images])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_the_gradient_of_the_blur_equals_finite_differences() -> None:
    image = torch.rand(1, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(GaussianBlur(1, sigma_y=0.5, angle=20, kernel=5).apply, image)


def test_the_smallest_image_for_a_kernel_is_one_pixel_above_its_radius() -> None:
    assert GaussianBlur(2).apply(torch.rand(1, 3, 11, 11)).shape == (1, 3, 11, 11)
    with pytest.raises(FilterlensError, match=r"40x10 is too small for a blur kernel of 21"):
        GaussianBlur(2).apply(torch.rand(1, 3, 10, 40))


def test_a_round_blur_has_one_form_whatever_its_angle() -> None:
    assert GaussianBlur(2, sigma_y=2, angle=30) == GaussianBlur(2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 0}, "sigma = 0 "),
        ({"sigma": -1}, "sigma = -1 "),
        ({"sigma": math.nan}, "sigma = nan"),
        ({"sigma": 2, "sigma_y": 101}, "sigma_y = 101"),
        ({"sigma": 2, "kernel": 20}, "kernel = 20"),
        ({"sigma": 2, "kernel": 1}, "kernel = 1 "),
        ({"sigma": 2, "sigma_y": 1, "angle": math.inf}, "angle = inf"),
    ],
)
def test_an_illegal_blur_is_refused_with_its_value(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GaussianBlur(**settings)  # type: ignore[arg-type]


MOTIONS = [MotionBlur(9), MotionBlur(15, angle=30), MotionBlur(6.5, angle=117)]
motions = st.builds(MotionBlur, length=st.floats(1, 60), angle=st.floats(-1e6, 1e6))


def distance_to_segment(x: float, y: float, half: float, angle: float) -> float:
    """Distance of a point to the segment through the origin, by nearly all of its points."""
    t = np.linspace(-half, half, 200_001)
    turn = math.radians(angle)
    return float(np.hypot(x - t * math.cos(turn), y - t * math.sin(turn)).min())


@given(motions)
def test_the_kernel_sums_to_1_and_has_no_negative_weight(motion: MotionBlur) -> None:
    kernel = motion.weights(torch.float64)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-12)
    assert float(kernel.min()) >= 0


@pytest.mark.parametrize("motion", MOTIONS, ids=str)
def test_a_weight_falls_from_1_to_0_with_the_distance_to_the_line(motion: MotionBlur) -> None:
    radius, half = motion.kernel // 2, (motion.length - 1) / 2
    axis = range(-radius, radius + 1)
    raw = [[max(0.0, 1 - distance_to_segment(x, -y, half, motion.angle)) for x in axis] for y in axis]
    expected = np.array(raw) / np.sum(raw)
    np.testing.assert_allclose(motion.weights(torch.float64).numpy(), expected, atol=1e-6)
    larger = range(-radius - 1, radius + 2)  # no weight is cut off at the kernel's border
    outside = [(x, y) for x in larger for y in larger if max(abs(x), abs(y)) == radius + 1]
    assert min(distance_to_segment(x, -y, half, motion.angle) for x, y in outside) >= 1 - 1e-9


@pytest.mark.parametrize("angle", [0, 17, 45, 90])
def test_a_length_of_1_changes_nothing(angle: float, photograph: Tensor) -> None:
    assert torch.equal(MotionBlur(1, angle=angle).apply(photograph), photograph)


@pytest.mark.parametrize(("angle", "axis"), [(0, 1), (90, 0), (180, 1), (-90, 0)])
def test_along_the_axes_it_is_scipys_box_filter(angle: float, axis: int, photograph: Tensor) -> None:
    ours = MotionBlur(9, angle=angle).apply(photograph.double())[0].numpy()
    for plane, blurred in zip(photograph[0].double().numpy(), ours, strict=True):
        expected = ndimage.uniform_filter1d(plane, 9, axis=axis, mode="mirror")
        np.testing.assert_allclose(blurred, expected, rtol=0, atol=1e-12)


def test_a_length_between_odd_numbers_is_a_box_with_partial_ends() -> None:
    assert MotionBlur(4).weights(torch.float64)[2].tolist() == pytest.approx([1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8])
    row = MotionBlur(9.5).weights(torch.float64)[5]
    assert row.tolist() == pytest.approx([0.25 / 9.5, *[1 / 9.5] * 9, 0.25 / 9.5])


@pytest.mark.parametrize("motion", MOTIONS, ids=str)
def test_it_equals_scipys_correlation_with_mirrored_borders(motion: MotionBlur, photograph: Tensor) -> None:
    kernel = motion.weights(torch.float64).numpy()
    blurred = motion.apply(photograph.double())[0].numpy()
    for ours, plane in zip(blurred, photograph[0].double().numpy(), strict=True):
        np.testing.assert_allclose(ours, ndimage.correlate(plane, kernel, mode="mirror"), rtol=0, atol=1e-12)


@given(motions)
def test_the_kernel_is_the_same_upside_down_and_half_a_turn_further(motion: MotionBlur) -> None:
    kernel = motion.weights(torch.float64)
    torch.testing.assert_close(kernel, kernel.flip(0, 1), rtol=0, atol=1e-12)
    turned = MotionBlur(motion.length, motion.angle + 180)
    torch.testing.assert_close(turned.weights(torch.float64), kernel, rtol=0, atol=1e-9)


@pytest.mark.parametrize("angle", [0, 20, 75])
def test_blurring_a_turned_image_is_turning_the_image_blurred_along_the_turned_line(angle: float) -> None:
    image = torch.rand(1, 3, 40, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    turned_first = MotionBlur(11, angle=angle + 90).apply(image.rot90(1, (2, 3)))  # rot90 is counter-clockwise
    turned_last = MotionBlur(11, angle=angle).apply(image).rot90(1, (2, 3))
    torch.testing.assert_close(turned_first, turned_last, rtol=0, atol=1e-12)


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_the_line_is_turned_counter_clockwise_on_the_screen_and_has_its_length(angle: float) -> None:
    kernel = MotionBlur(41, angle=angle).weights(torch.float64).numpy()
    rows, columns = np.mgrid[-20:21, -20:21]
    x, y = columns, -rows  # on a screen, rows grow downwards
    variance_x, variance_y, covariance = ((kernel * m).sum() for m in (x * x, y * y, x * y))
    assert math.degrees(0.5 * math.atan2(2 * covariance, variance_x - variance_y)) % 180 == pytest.approx(
        angle, abs=0.1
    )
    assert math.sqrt(12 * (variance_x + variance_y)) == pytest.approx(41, rel=0.03)  # variance of a uniform line


def test_moving_a_batch_equals_moving_one_by_one() -> None:
    images = torch.rand(4, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    for motion in MOTIONS:
        alone = torch.cat([motion.apply(image[None]) for image in images])
        torch.testing.assert_close(motion.apply(images), alone, rtol=0, atol=1e-6)


def test_the_gradient_equals_finite_differences() -> None:
    image = torch.rand(1, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(MotionBlur(5, angle=20).apply, image)


@given(motions)
def test_what_is_written_reads_back_as_the_same_motion(motion: MotionBlur) -> None:
    assert Degradation.parse(str(motion)) == Degradation(blur=motion)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("motion:15", "motion:15"),
        ("motion:15,angle=30", "motion:15,angle=30"),
        ("motion:15,angle=210", "motion:15,angle=30"),
        ("motion:15,angle=-30", "motion:15,angle=150"),
        ("motion:15,angle=-1e-30", "motion:15"),
        ("motion:1,angle=30", "motion:1"),
        ("noise:0.05+motion:9", "motion:9+noise:0.05"),
    ],
)
def test_the_written_form_is_canonical(text: str, canonical: str) -> None:
    assert str(Degradation.parse(text)) == canonical


def test_in_a_chain_the_motion_comes_before_the_down_sampling(photograph: Tensor) -> None:
    lowered = Degradation.parse("motion:9,angle=40").apply(photograph, 2)
    expected = downsample(MotionBlur(9, angle=40).apply(photograph), 2)
    torch.testing.assert_close(lowered, (expected.clamp(0, 1) * 255).round() / 255, rtol=0, atol=1e-6)


def test_a_training_mixture_can_hold_motion_beside_blur(photograph: Tensor) -> None:
    mixture = Mixture.of([("motion:9,angle=40", 1), ("noise:0.1", 1e-9)])
    mixed = mixture.apply(photograph, 2, torch.Generator().manual_seed(0))
    assert torch.equal(mixed, Degradation.parse("motion:9,angle=40").apply(photograph, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("motion:0.5", "length = 0.5 is not legal: it is in HR pixels, from 1 to 401"),
        ("motion:402", "length = 402.0 is not legal"),
        ("motion:nan", "length = nan"),
        ("motion:9,angle=inf", "angle = inf is not legal: degrees"),
        ("motion:9,angel=30", "'angel'. Did you mean 'angle'"),
        ("motion:long", "'long' in 'motion:long' is not a number"),
        ("motion", "'motion' lacks its strength"),
        ("moton:9", "'moton'. Did you mean 'motion'"),
        ("motion:9+blur:2", "two blur effects"),
    ],
)
def test_a_mistake_is_refused_with_the_value_and_what_is_legal(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Degradation.parse(text)
    assert message in str(caught.value)


def test_an_image_not_larger_than_half_the_kernel_is_refused() -> None:
    assert MotionBlur(21).apply(torch.rand(1, 3, 11, 11)).shape == (1, 3, 11, 11)
    with pytest.raises(FilterlensError, match=r"40x10 is too small for a motion of 21 pixels"):
        MotionBlur(21).apply(torch.rand(1, 3, 10, 40))
