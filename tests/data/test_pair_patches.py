# SPDX-License-Identifier: Apache-2.0
"""Patches of pairs: slices of both files, turned alike; every degradation equally likely."""

import pytest
import torch
from torch import Tensor

from filterlens.data.pair_patches import PairBank, PairPixels, digest_of
from filterlens.errors import FilterlensError

CPU = torch.device("cpu")


def pair(height: int, width: int, scale: int, seed: int, channels: int = 3) -> PairPixels:
    generator = torch.Generator().manual_seed(seed)

    def image(times: int) -> Tensor:
        size = (channels, height * times, width * times)
        return torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)

    return PairPixels(str(seed), image(scale), image(1))


def orientations(image: Tensor) -> list[Tensor]:
    turned = [image, image.transpose(1, 2)]
    return [each.flip(axes) for each in turned for axes in ((), (1,), (2,), (1, 2))]


def places(pair: PairPixels, scale: int, side: int, truth: Tensor, lowered: Tensor) -> list[tuple[int, int]]:
    """Return the corners in LQ at which slices of both files, turned alike, are the patches."""
    height, width = pair.lowered.shape[-2:]
    found = []
    for top in range(height - side + 1):
        for left in range(width - side + 1):
            low = pair.lowered[:, top : top + side, left : left + side]
            high = pair.truth[:, scale * top : scale * (top + side), scale * left : scale * (left + side)]
            ways = zip(orientations(high), orientations(low), strict=True)
            if any(torch.equal(one, truth) and torch.equal(other, lowered) for one, other in ways):
                found.append((top, left))
    return found


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_patch_is_the_same_slice_of_both_files_turned_alike(scale: int) -> None:
    pairs = [pair(6, 9, scale, 0), pair(7, 5, scale, 1)]
    bank = PairBank({"rain": pairs[:1], "haze": pairs[1:]}, 4 * scale, scale, CPU)
    truth, lowered = ((each * 255).round().byte() for each in bank.sample(60, torch.Generator().manual_seed(3)))
    corners = set()
    for high, low in zip(truth, lowered, strict=True):
        found = [(index, *at) for index, each in enumerate(pairs) for at in places(each, scale, 4, high, low)]
        assert len(found) == 1
        corners.add(found[0])
    assert len(corners) > 12  # of 18 and 8


def test_every_degradation_is_equally_likely_and_pairs_count_by_area() -> None:
    def plain(value: int, side: int) -> PairPixels:
        image = torch.full((3, side, side), value, dtype=torch.uint8)
        return PairPixels(str(value), image, image.clone())

    bank = PairBank({"rain": [plain(10, 8), plain(20, 16)], "haze": [plain(30, 8)]}, 4, 1, CPU)
    drawn = (bank.sample(6000, torch.Generator().manual_seed(0)).lowered[:, 0, 0, 0] * 255).round()
    shares = [(drawn == value).double().mean().item() for value in (10, 20, 30)]
    assert shares == pytest.approx([0.5 * 64 / 320, 0.5 * 256 / 320, 0.5], abs=0.025)


def test_the_truth_of_a_scene_is_kept_once() -> None:
    rain = pair(6, 6, 2, 0)
    haze = PairPixels("haze", rain.truth, 255 - rain.lowered)
    bank = PairBank({"rain": [rain], "haze": [haze]}, 12, 2, CPU)
    assert len(bank._truth) == 144 and len(bank._lowered) == 72
    truth, lowered = bank.sample(20, torch.Generator().manual_seed(0))
    assert {int((each * 255).round().sum()) for each in truth} == {int(rain.truth.sum())}
    assert len({int((each * 255).round().sum()) for each in lowered}) == 2


def test_the_views_of_a_sample_are_of_one_pair() -> None:
    sets = {"rain": [pair(5, 5, 1, 0)], "haze": [pair(5, 5, 1, 1)]}
    lowered = PairBank(sets, 5, 1, CPU).sample(20, torch.Generator().manual_seed(0), views=2).lowered.sum((1, 2, 3))
    torch.testing.assert_close(lowered[::2], lowered[1::2])


def test_bad_pairs_are_named() -> None:
    with pytest.raises(FilterlensError, match=r"Pair '0' for 'rain' is 12x10, smaller than a patch of 12\. Remove"):
        PairBank({"rain": [pair(5, 6, 2, 0)]}, 12, 2, CPU)
    with pytest.raises(FilterlensError, match="no pairs for 'rain'"):
        PairBank({"rain": []}, 12, 2, CPU)


def test_the_digest_covers_names_and_both_sides() -> None:
    first, other = pair(4, 4, 1, 0), pair(4, 4, 1, 1)
    mixed = (PairPixels("0", first.truth, other.lowered), PairPixels("0", other.truth, first.lowered))
    digests = {digest_of({"rain": [each]}) for each in (first, other, *mixed)} | {digest_of({"haze": [first]})}
    assert len(digests) == 5
