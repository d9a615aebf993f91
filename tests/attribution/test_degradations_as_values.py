# SPDX-License-Identifier: Apache-2.0
"""Degradations that are functions or pairs, against equations 6 and 7 written here by other means."""

import pytest
import torch

from filterlens import FAIG, InputIG, UsageError
from filterlens.attribution.methods import attribute_with
from filterlens.errors import FilterlensError
from filterlens.work.store import Store
from tests.attribution.small_networks import make_pair, photographs
from tests.attribution.test_faig_against_formulas import faig_by_hand, filters_by_hand

NODES = [(0.5 - 3**-0.5 / 2, 0.5), (0.5 + 3**-0.5 / 2, 0.5)]  # Gauss-Legendre with two nodes
TWO = {"nodes": 2, "quadrature": "gauss-legendre"}
EXACT = {"rtol": 1e-9, "atol": 0}


def darker(image):
    return image[..., ::2, ::2] * 0.5


def noisier(image, generator):
    low = image[..., ::2, ::2]
    return low + 0.1 * torch.randn(low.shape, generator=generator, dtype=low.dtype)


def magnitudes(baseline, target, lowered, truths):
    """Σ|FAIG| over the filters of every image, ``(images, filters)``."""
    return torch.stack([
        filters_by_hand(faig_by_hand(baseline, target, low[None], truth[None], NODES))
        for low, truth in zip(lowered, truths, strict=True)
    ])  # fmt: skip


def test_functions_give_the_scores_of_the_formulas():
    baseline, target, pair = make_pair()
    images = photographs()
    found = FAIG(pair, **TWO).attribute(images, {"dark": darker, "flipped": lambda image: darker(image).flip(-1)})
    dark = magnitudes(baseline, target, darker(images), images)
    flipped = magnitudes(baseline, target, darker(images).flip(-1), images)
    torch.testing.assert_close(found.of("dark"), (dark - flipped).mean(0), **EXACT)
    torch.testing.assert_close(found.of("flipped"), (flipped - dark).mean(0), **EXACT)


def test_pairs_of_other_scenes_and_sizes_are_compared_by_their_means_per_pixel():
    baseline, target, pair = make_pair()
    first, second = photographs(2, 36, 28), photographs(3, 24, 20, seed=8)
    pairs = {"dark": (darker(first), first), "plain": (second[..., ::2, ::2], second)}
    found = FAIG(pair, **TWO).attribute(pairs=pairs)
    dark = magnitudes(baseline, target, darker(first), first).mean(0) / (36 * 28)
    plain = magnitudes(baseline, target, second[..., ::2, ::2], second).mean(0) / (24 * 20)
    size = (36 * 28 + 24 * 20) / 2
    torch.testing.assert_close(found.of("dark"), (dark - plain) * size, **EXACT)
    torch.testing.assert_close(found.of("plain"), (plain - dark) * size, **EXACT)


def test_pairs_made_by_a_function_give_the_scores_of_the_function():
    _, _, pair = make_pair()
    images = photographs()
    made = FAIG(pair, **TWO).attribute(images, {"dark": darker, "blur": "blur:1"})
    mixed = FAIG(pair, **TWO).attribute(images, {"blur": "blur:1"}, pairs={"dark": (darker(images), images)})
    for name in ("dark", "blur"):
        torch.testing.assert_close(mixed.of(name), made.of(name), **EXACT)


def test_lone_pairs_are_told_from_the_clean_input_of_their_own_truths():
    _, _, pair = make_pair()
    images = photographs()
    alone = FAIG(pair, **TWO).attribute(pairs={"dark": (darker(images), images)})
    named = FAIG(pair, **TWO).attribute(images, {"dark": darker})
    assert alone.degradations == ("dark",)
    torch.testing.assert_close(alone.of("dark"), named.of("dark"), **EXACT)


@pytest.mark.parametrize("method", ["faig", "faig-no-elimination", "taylor", "ig"])
def test_every_gradient_method_takes_pairs_for_what_they_are(method):
    _, _, pair = make_pair()
    images = photographs()
    pairs = {"dark": (darker(images), images), "blur": (images.roll(1, -1)[..., ::2, ::2], images)}
    from_pairs = attribute_with([method], pair, None, pairs=pairs)[method]
    functions = {"dark": darker, "blur": lambda image: image.roll(1, -1)[..., ::2, ::2]}
    from_functions = attribute_with([method], pair, images, functions)[method]
    for name in pairs:
        torch.testing.assert_close(from_pairs.of(name), from_functions.of(name), **EXACT)


def test_the_numbers_of_a_random_function_depend_on_image_and_seed_alone():
    _, _, pair = make_pair()
    images = photographs()

    def scores(each, seed=0):
        return FAIG(pair, seed=seed, **TWO).attribute(each, {"noisy": noisier}).of("noisy")

    def careless(image):
        return image[..., ::2, ::2] + 0.1 * torch.randn(image.shape, dtype=image.dtype)[..., ::2, ::2]

    assert torch.equal(scores(images), scores(images))
    torch.testing.assert_close(scores(images), scores(images.flip(0)), **EXACT)
    assert not torch.allclose(scores(images), scores(images, seed=1))
    twice = [FAIG(pair, **TWO).attribute(images, {"noisy": careless}).of("noisy") for _ in range(2)]
    assert torch.equal(*twice)


def test_what_a_function_returns_in_full_size_is_down_sampled_as_for_written_ones():
    _, _, pair = make_pair()
    images = photographs()
    full = FAIG(pair, **TWO).attribute(images, {"plain": lambda image: image, "blur": "blur:1"})
    clean = FAIG(pair, **TWO).attribute(images, ["clean", "blur:1"])
    torch.testing.assert_close(
        full.of("plain"), clean.of("clean"), rtol=0.2, atol=0.2
    )  # but for the rounding to 8 bits
    assert not torch.equal(full.of("plain"), clean.of("clean"))


def test_a_run_with_one_function_is_never_continued_with_another(tmp_path):
    _, _, pair = make_pair()
    images = photographs()

    def by(factor):
        return lambda image: darker(image) * factor

    def scores(function, store):
        return FAIG(pair, **TWO).attribute(images, {"dark": function}, store=store).of("dark")

    half, again = scores(by(0.5), Store(tmp_path)), scores(by(0.25), Store(tmp_path))
    assert not torch.equal(half, again)
    assert torch.equal(again, scores(by(0.25), Store()))
    files = set(tmp_path.iterdir())
    assert torch.equal(half, scores(by(0.5), Store(tmp_path))) and set(tmp_path.iterdir()) == files


def test_scenes_without_truth_need_an_objective_without_truth():
    baseline, target, pair = make_pair()
    images = photographs()
    pairs = {"dark": (darker(images), None), "plain": (images[..., ::2, ::2], None)}
    with pytest.raises(UsageError, match=r"no clean image.*objective='target'"):
        FAIG(pair, **TWO).attribute(pairs=pairs)
    found = FAIG(pair, objective="target", **TWO).attribute(pairs=pairs)
    dark, plain = (
        magnitudes(baseline, target, low, target(low).detach()) for low in (darker(images), images[..., ::2, ::2])
    )
    torch.testing.assert_close(found.of("dark"), (dark - plain).mean(0), **EXACT)
    with pytest.raises(UsageError, match="no clean image"):
        InputIG(pair).attribute(pairs=pairs)
    with pytest.raises(UsageError, match="no clean images to compare with"):
        FAIG(pair, objective="target").attribute(pairs={"dark": (darker(images), None)})


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda image: None, "returns NoneType"),
        (lambda image: image[0], r"returns torch.float64 of \(3, 36, 28\)"),
        (lambda image: image[..., :7], "7x36 pixels.*28x36.*14x18"),
        (lambda image: image * float("nan"), "NaN"),
        (lambda image: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_function_that_makes_no_input_is_told_in_a_line(function, words):
    _, _, pair = make_pair()
    with pytest.raises(FilterlensError, match=words) as told:
        FAIG(pair).attribute(photographs(), {"odd": function})
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"degradations": {"a b": darker}}, "'a b' is no name"),
        ({"degradations": {"clean": darker}}, "'clean' is the name of inputs without"),
        ({"degradations": [darker, darker]}, "'darker' is given twice.*name them"),
        ({"degradations": 3}, "3 is not legal|3 is no degradation"),
        ({"degradations": {"dark": 3}}, "3 is no degradation"),
        ({"degradations": {"dark": darker}, "pairs": {"dark": ([], [])}}, "names pairs and another degradation"),
        ({"pairs": [1]}, "name the degradation"),
        ({"pairs": {"dark": (photographs()[..., ::2, ::2], photographs())}}, "pairs bring their own"),
        ({}, "No degradation is given"),
    ],
)
def test_bad_degradations_are_told_in_a_line(given, words):
    _, _, pair = make_pair()
    with pytest.raises(UsageError, match=words):
        FAIG(pair).attribute(photographs(), **given)


def test_a_function_alone_and_in_a_list_is_called_by_its_name():
    _, _, pair = make_pair()
    assert FAIG(pair, **TWO).attribute(photographs(), darker).degradations == ("darker",)
    assert FAIG(pair, **TWO).attribute(photographs(), [darker, "blur:1"]).degradations == ("darker", "blur:1")
    assert FAIG(pair, **TWO).attribute(photographs(), lambda image: darker(image)).degradations == ("own",)
