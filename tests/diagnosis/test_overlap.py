# SPDX-License-Identifier: Apache-2.0
"""Overlap scores against sets, magnitudes of one input against closed forms, patches that lie evenly over an image."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from filterlens import FilterlensError, UsageError
from filterlens.attribution.faig import SquaredDistance
from filterlens.attribution.per_sample import patch_magnitudes
from filterlens.attribution.quadrature import Quadrature
from filterlens.diagnosis.overlap import Reading, cut_patches, input_magnitudes, overlap_scores, patch_corners
from filterlens.filters import Selection
from filterlens.pair import ModelPair
from tests.attribution.small_networks import Linear, make_pair, photographs

EXACT = Reading(nodes=2, precision="fp32")  # the integrand is linear in α


@pytest.fixture(scope="module")
def curved():
    return make_pair()[2]


@pytest.fixture
def linear():
    return make_pair(Linear)


def test_the_overlap_of_hand_made_sets(linear):
    space = linear[2].space
    sets = {"blur:2": Selection(space, torch.tensor([0, 1, 2])), "noise:0.1": Selection(space, torch.tensor([2, 7, 8]))}
    magnitudes = torch.tensor([0.0, 0.3, 0.2, 0.0, 0.0, 0.1, 0.0, 0.4, 0.0])  # its top third: 7, 1, 2
    assert overlap_scores(magnitudes, sets, 100 / 3) == {
        "blur:2": pytest.approx(2 / 3),
        "noise:0.1": pytest.approx(2 / 3),
    }


@pytest.mark.parametrize("percent", [1, 5, 30])
def test_the_overlap_is_what_python_sets_give(curved, percent):
    generator = torch.Generator().manual_seed(percent)
    of_input, *rankings = torch.rand(3, len(curved.space), generator=generator)
    count = int(len(curved.space) * percent / 100)

    def best(scores):
        return set(sorted(range(len(scores)), key=lambda index: -scores[index])[:count])

    names = ("blur:2", "noise:0.1")
    sets = {name: Selection.top(curved.space, each, percent) for name, each in zip(names, rankings, strict=True)}
    wanted = [len(best(of_input.tolist()) & best(each.tolist())) / count for each in rankings] if count else [0.0, 0.0]
    assert list(overlap_scores(of_input, sets, percent).values()) == pytest.approx(wanted)


def test_magnitudes_without_ground_truth_have_the_closed_form_of_a_linear_network(linear):
    baseline, target, pair = linear
    image = photographs(1, 20, 24)
    change = (target.mix.weight - baseline.mix.weight).detach()[:, :, 0, 0]
    gram = torch.einsum("bihw,bjhw->ij", image, image)
    wanted = (change * (change @ gram)).abs().flatten()  # ∫ 2 (1 − α) dα = 1
    torch.testing.assert_close(input_magnitudes(pair, image, reading=EXACT), wanted / wanted.sum())


def test_magnitudes_with_ground_truth_have_the_closed_form_of_a_linear_network(linear):
    baseline, target, pair = linear
    image, truth = photographs(2, 20, 24).split(1)
    old, new = (each.mix.weight.detach()[:, :, 0, 0] for each in (baseline, target))
    middle = torch.einsum("oi,bihw->bohw", (old + new) / 2, image) - truth
    wanted = ((new - old) * 2 * torch.einsum("bohw,bihw->oi", middle, image)).abs().flatten()
    found = input_magnitudes(pair, image, truth, Reading("truth", 2, "fp32"))
    torch.testing.assert_close(found, wanted / wanted.sum())


@pytest.mark.parametrize("objective", ["target", "truth"])
def test_a_large_image_counts_every_patch_the_same(curved, objective):
    image, truth = photographs(1, 100, 90), photographs(1, 200, 180)
    reading = Reading(objective, 2, "fp32")
    found = input_magnitudes(curved, image, truth, reading)
    shares = []
    for top, left in ((0, 0), (0, 26), (36, 0), (36, 26)):
        low = image[..., top : top + 64, left : left + 64]
        high = truth[..., 2 * top : 2 * top + 128, 2 * left : 2 * left + 128]
        magnitudes = patch_magnitudes(
            curved, low, high, objective=SquaredDistance(objective), quadrature=Quadrature("gauss-legendre", 2)
        )[0]
        shares.append(magnitudes / magnitudes.sum())
    torch.testing.assert_close(found, torch.stack(shares).mean(0))


def test_a_whole_image_is_one_integral(curved):
    image = photographs(1, 70, 80)
    nothing = torch.zeros(1, 3, 140, 160, dtype=torch.float64)
    quadrature = Quadrature("gauss-legendre", 3)
    wanted = patch_magnitudes(curved, image, nothing, objective=SquaredDistance("target"), quadrature=quadrature)[0]
    found = input_magnitudes(curved, image, reading=Reading(nodes=3, whole=True))
    torch.testing.assert_close(found, wanted / wanted.sum())


def test_the_networks_stay_bit_identical(curved):
    before = curved.target.clone(), curved.baseline.clone()
    input_magnitudes(curved, photographs(1, 20, 20), reading=Reading(whole=True))
    assert torch.equal(curved.target, before[0]) and torch.equal(curved.baseline, before[1])


@pytest.mark.parametrize(
    ("shape", "words"), [((1, 3, 15, 90), "90x15"), ((2, 3, 40, 40), r"\(1, 3, height, width\)"), ((1, 1, 40, 40), "3")]
)
def test_images_that_cannot_be_judged_are_refused(curved, shape, words):
    with pytest.raises(UsageError, match=words):
        input_magnitudes(curved, torch.rand(shape, dtype=torch.float64))


def test_the_papers_objective_needs_the_ground_truth(curved):
    with pytest.raises(UsageError, match="ground truth"):
        input_magnitudes(curved, photographs(1, 20, 20), reading=Reading("truth"))


def test_an_input_on_which_both_networks_agree_is_told():
    baseline, target = Linear().double(), Linear().double()
    with torch.no_grad():
        target.mix.weight.copy_(baseline.mix.weight)
        target.mix.weight[0, 0] += 1
    red_is_missing = photographs(1, 20, 20)
    red_is_missing[:, 0] = 0
    with pytest.raises(FilterlensError, match="compute the same"):
        input_magnitudes(ModelPair(baseline, target), red_is_missing)


def test_an_overflow_is_told():
    ends = Linear().double(), Linear().double()
    with torch.no_grad():
        for end, value in zip(ends, (1e200, 2e200), strict=True):
            end.mix.weight.fill_(value)
    with pytest.raises(FilterlensError, match="not finite"):
        input_magnitudes(ModelPair(*ends), photographs(1, 20, 20))


def test_an_input_of_another_range_is_refused(curved):
    with pytest.raises(UsageError, match=r"not in \[0, 1\]. Divide by 255"):
        input_magnitudes(curved, photographs(1, 20, 20) * 255)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"objective": "thruth"}, "truth"),
        ({"nodes": 0}, "0 nodes"),
        ({"precision": "fp8"}, "fp8"),
        ({"patches": 0}, "0 p"),
    ],
)
def test_settings_that_are_not_legal_are_refused(setting, words):
    with pytest.raises(UsageError, match=words):
        Reading(**setting)


sides = st.integers(64, 700)


@given(sides, sides, st.integers(1, 12))
def test_patches_lie_inside_and_are_never_more_than_allowed(height, width, most):
    corners = patch_corners(height, width, most=most)
    assert 1 <= len(corners) == len(set(corners)) <= most
    assert all(0 <= top <= height - 64 and 0 <= left <= width - 64 for top, left in corners)


@given(sides, sides, st.integers(1, 12))
def test_patches_are_symmetric_about_the_middle_of_the_image(height, width, most):
    corners = patch_corners(height, width, most=most)
    mirrored = {(height - 64 - top, width - 64 - left) for top, left in corners}
    for top, left in corners:  # rounding may move a patch by a pixel
        assert any(abs(top - y) <= 1 and abs(left - x) <= 1 for y, x in mirrored)


@given(st.integers(64, 128), st.integers(64, 128))
def test_four_patches_cover_an_image_of_up_to_twice_their_side(height, width):
    covered = torch.zeros(height, width, dtype=torch.bool)
    for top, left in patch_corners(height, width, most=4):
        covered[top : top + 64, left : left + 64] = True
    assert covered.all()


def test_a_square_image_has_one_patch_in_the_middle_of_each_quarter():
    assert patch_corners(256, 256, most=4) == [(32, 32), (32, 160), (160, 32), (160, 160)]


def test_a_wide_image_has_its_patches_in_a_row():
    assert patch_corners(64, 512, most=4) == [(0, 32), (0, 160), (0, 288), (0, 416)]


def test_an_image_of_one_patch_is_one_patch():
    assert patch_corners(64, 64) == [(0, 0)]


@pytest.mark.parametrize("size", [(63, 300), (300, 63), (20, 20)])
def test_an_image_with_a_smaller_side_is_judged_whole(size):
    image = torch.rand(1, 3, *size)
    assert torch.equal(cut_patches(image, patch_corners(*size)), image)


def test_patches_are_cut_at_their_corners():
    image = torch.arange(3 * 70 * 90).view(1, 3, 70, 90)
    cut = cut_patches(image, [(0, 5), (6, 26)])
    assert torch.equal(cut[0], image[0, :, 0:64, 5:69]) and torch.equal(cut[1], image[0, :, 6:70, 26:90])


def test_no_patch_is_not_legal():
    with pytest.raises(UsageError, match="0 patches"):
        patch_corners(100, 100, most=0)
