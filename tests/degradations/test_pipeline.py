# SPDX-License-Identifier: Apache-2.0
"""The chain of effects and its written form."""

from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from filterlens.degradations import (
    Degradation,
    GaussianBlur,
    GaussianNoise,
    Jpeg,
    PoissonNoise,
    downsample,
    parse_degradations,
)
from filterlens.degradations.pipeline import round_to_8_bits
from filterlens.degradations.randomness import KeyedRandom
from filterlens.errors import UsageError


def positive(largest: float) -> st.SearchStrategy[float]:
    return st.floats(min_value=0, max_value=largest, exclude_min=True, allow_subnormal=False)


degradations = st.builds(
    Degradation,
    blur=st.none()
    | st.builds(
        GaussianBlur,
        sigma=positive(100),
        sigma_y=st.none() | positive(100),
        angle=st.floats(-1e9, 1e9),
        kernel=st.integers(1, 200).map(lambda half: 2 * half + 1),
    ),
    noise=st.none() | st.builds(GaussianNoise, positive(1)) | st.builds(PoissonNoise, positive(1e7)),
    jpeg=st.none() | st.builds(Jpeg, st.integers(1, 100)),
)


@given(degradations)
def test_what_is_written_reads_back_as_the_same_degradation(degradation: Degradation) -> None:
    assert Degradation.parse(str(degradation)) == degradation


@given(degradations, st.randoms())
def test_the_order_of_writing_does_not_matter(degradation: Degradation, random: Random) -> None:
    parts = str(degradation).split("+")
    random.shuffle(parts)
    assert str(Degradation.parse("+".join(parts))) == str(degradation)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("clean", "clean"),
        (" clean ", "clean"),
        ("blur:2", "blur:2"),
        ("blur:2.0", "blur:2"),
        ("noise:0.10 + blur:2", "blur:2+noise:0.1"),
        ("jpeg:30+noise:1e-1", "noise:0.1+jpeg:30"),
        ("blur:4,angle=30,sigma_y=1", "blur:4,sigma_y=1,angle=30"),
        ("blur:2,kernel=21", "blur:2"),
        ("poisson:1e+7", "poisson:10000000"),
    ],
)
def test_the_written_form_is_canonical(text: str, canonical: str) -> None:
    assert str(Degradation.parse(text)) == canonical


def test_a_degradation_passes_through_parse() -> None:
    degradation = Degradation(blur=GaussianBlur(2))
    assert Degradation.parse(degradation) is degradation


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blurr:2", "'blurr'. Did you mean 'blur'"),
        ("Blur:2", "'Blur'. Did you mean 'blur'"),
        ("nois:0.1+blur:2", "'nois'. Did you mean 'noise'"),
        ("cleen", "'cleen'. Did you mean 'clean'"),
        ("", "Unknown degradation ''"),
        ("blur:2+", "Unknown degradation 'blur:2"),
        ("blur", "'blur' lacks its strength"),
        ("blur:", "'blur:' lacks its strength"),
        ("blur:two", "'two' in 'blur:two' is not a number"),
        ("blur:2,kernel=2.5", "'2.5' in 'blur:2,kernel=2.5' is not a whole number"),
        ("blur:2,sigmay=1", "'sigmay'. Did you mean 'sigma_y'"),
        ("blur:2,sigma=3", "'sigma' appears twice"),
        ("noise:nan", "sigma = nan"),
        ("jpeg:101", "quality = 101"),
        ("blur:2+blur:3", "two blur effects"),
        ("noise:0.1+poisson:9", "two noise effects"),
        ("clean+blur:2", "'clean' stands alone"),
    ],
)
def test_a_mistake_is_refused_with_the_value_and_the_nearest_name(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Degradation.parse(text)
    assert message in str(caught.value)


def test_the_effects_come_in_the_order_blur_down_noise_rounding_jpeg(photograph: Tensor) -> None:
    degradation = Degradation.parse("jpeg:30+noise:0.05+blur:2")
    blurred = GaussianBlur(2).apply(photograph)
    noisy = GaussianNoise(0.05).apply(downsample(blurred, 2), KeyedRandom(["key"], 7))
    levels = (noisy.clamp(0, 1) * 255).round() / 255
    expected = Jpeg(30).apply(levels)
    assert torch.equal(degradation.apply(photograph, 2, seed=7, keys=["key"]), expected)


@pytest.mark.parametrize("text", ["clean", "blur:2", "noise:0.5", "poisson:20", "jpeg:30", "blur:2+noise:0.3+jpeg:50"])
@pytest.mark.parametrize("differentiable", [False, True])
def test_the_result_has_256_levels_within_0_and_1(text: str, differentiable: bool, photograph: Tensor) -> None:
    contrast = (3 * photograph - 1).clamp(0, 1)
    lowered = Degradation.parse(text).apply(contrast, 2, differentiable=differentiable)
    assert lowered.shape == (1, 3, 48, 60)
    assert lowered.min() >= 0
    assert lowered.max() <= 1
    torch.testing.assert_close(lowered * 255, (lowered * 255).round(), rtol=0, atol=1e-4)


def test_rounding_goes_to_the_nearest_level_and_clips() -> None:
    values = torch.tensor([-0.5, 0.49 / 255, 0.51 / 255, 100.4 / 255, 1.7])
    assert (round_to_8_bits(values) * 255).tolist() == pytest.approx([0, 0, 1, 100, 255])


def test_the_straight_gradient_of_the_rounding_stops_at_the_clipping() -> None:
    values = torch.tensor([-0.5, 0.3, 1.7], requires_grad=True)
    round_to_8_bits(values, differentiable=True).sum().backward()
    assert values.grad.tolist() == [0, 1, 0]


@given(st.lists(st.floats(-0.5, 1.5, width=32), min_size=1))
def test_both_roundings_give_the_same_values(values: list[float]) -> None:
    tensor = torch.tensor(values)
    assert torch.equal(round_to_8_bits(tensor), round_to_8_bits(tensor, differentiable=True))


def test_the_chain_passes_a_gradient_to_the_image(photograph: Tensor) -> None:
    image = photograph.clone().requires_grad_()
    Degradation.parse("blur:2+noise:0.1+jpeg:50").apply(image, 2, differentiable=True).sum().backward()
    assert image.grad.isfinite().all()
    assert image.grad.abs().mean() > 0.01


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 2, 8, 8)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"shape \(batch, channels, height, width\)"):
        Degradation().apply(torch.rand(shape), 2)


def test_several_degradations_are_keyed_by_their_canonical_names_in_order() -> None:
    assert list(parse_degradations(["noise:0.10", "clean", "blur:2.0"])) == ["noise:0.1", "clean", "blur:2"]


def test_the_same_degradation_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'blur:2' is given twice"):
        parse_degradations(["blur:2", "blur:2.0"])


def test_no_degradation_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="No degradation"):
        parse_degradations([])
