# SPDX-License-Identifier: Apache-2.0
"""Every training patch is a true crop of one image, in one of eight orientations."""

import math

import pytest
import torch
from torch import Tensor

from filterlens.data.patches import PatchBank
from filterlens.errors import FilterlensError

CPU = torch.device("cpu")


def orientations(patch: Tensor) -> list[Tensor]:
    """The eight orientations of ``(3, P, P)``."""
    turned = [torch.rot90(patch, turns, (1, 2)) for turns in range(4)]
    return turned + [each.flip(2) for each in turned]


def unique_images() -> list[Tensor]:
    """Two images whose 104 pixels all differ, so that a patch tells where it comes from."""
    values = torch.arange(104, dtype=torch.uint8)
    pixels = torch.stack([values, 255 - values, values ^ 85])
    return [pixels[:, :48].reshape(3, 6, 8), pixels[:, 48:].reshape(3, 8, 7)]


def sample(bank: PatchBank, count: int, seed: int = 0) -> Tensor:
    return bank.sample(count, torch.Generator().manual_seed(seed))


def test_every_patch_is_a_crop_and_every_crop_in_every_orientation_occurs() -> None:
    possible = set()
    for image in unique_images():
        for top in range(image.shape[1] - 4):
            for left in range(image.shape[2] - 4):
                crop = image[:, top : top + 5, left : left + 5]
                possible |= {tuple(each.flatten().tolist()) for each in orientations(crop)}
    assert len(possible) == 8 * (2 * 4 + 4 * 3)
    patches = sample(PatchBank(unique_images(), 5, CPU), 4000)
    seen = {tuple(patch) for patch in (patches * 255).round().to(torch.uint8).flatten(1).tolist()}
    assert seen == possible  # none else: no patch crosses the border of an image


def test_the_eight_orientations_are_equally_likely() -> None:
    image = torch.arange(27, dtype=torch.uint8).reshape(3, 3, 3)
    patches = (sample(PatchBank([image], 3, CPU), 8000) * 255).round().to(torch.uint8)
    counts = [int((patches == each).all((1, 2, 3)).sum()) for each in map(torch.Tensor.contiguous, orientations(image))]
    assert sum(counts) == 8000
    assert all(abs(count - 1000) < 4 * math.sqrt(1000 * 7 / 8) for count in counts)


def test_an_image_is_drawn_in_proportion_to_its_area() -> None:
    areas = (100, 400, 100)
    sizes = ((10, 10), (10, 40), (20, 5))
    images = [torch.full((3, *size), index, dtype=torch.uint8) for index, size in enumerate(sizes)]
    drawn = (sample(PatchBank(images, 4, CPU), 6000)[:, 0, 0, 0] * 255).round()
    for index, area in enumerate(areas):
        share = area / sum(areas)
        tolerance = 4 * math.sqrt(6000 * share * (1 - share))
        assert abs(int((drawn == index).sum()) - 6000 * share) < tolerance


def test_the_same_generator_state_gives_the_same_patches(noise_images: list[Tensor]) -> None:
    bank = PatchBank(noise_images, 16, CPU)
    assert torch.equal(sample(bank, 8), sample(bank, 8))
    assert not torch.equal(sample(bank, 8), sample(bank, 8, seed=1))


def test_patches_are_floats_in_0_to_1_with_channels_last_in_memory(noise_images: list[Tensor]) -> None:
    patches = sample(PatchBank(noise_images, 16, CPU), 8)
    assert patches.shape == (8, 3, 16, 16)
    assert patches.dtype == torch.float32
    assert 0 <= patches.min() < 0.01 < 0.99 < patches.max() <= 1
    assert patches.is_contiguous(memory_format=torch.channels_last)


def test_a_patch_as_large_as_the_image_is_possible() -> None:
    image = torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4)
    patch = (sample(PatchBank([image], 4, CPU), 1)[0] * 255).round().to(torch.uint8)
    assert any(torch.equal(patch, each) for each in orientations(image))


def test_an_image_smaller_than_a_patch_is_refused_with_its_number_and_size(noise_images: list[Tensor]) -> None:
    with pytest.raises(FilterlensError, match=r"image 3 of 4 is 64x9, smaller than a patch of 10"):
        PatchBank([*noise_images[:2], torch.zeros(3, 9, 64, dtype=torch.uint8), noise_images[2]], 10, CPU)


def test_a_bank_without_images_is_refused() -> None:
    with pytest.raises(FilterlensError, match="no training images"):
        PatchBank([], 10, CPU)


def test_the_length_of_a_bank_is_the_number_of_images(noise_images: list[Tensor]) -> None:
    assert len(PatchBank(noise_images, 16, CPU)) == 3


def test_views_are_patches_of_one_image() -> None:
    images = [torch.full((3, 20 + number, 30), number, dtype=torch.uint8) for number in range(8)]
    patches = PatchBank(images, 4, CPU).sample(64, torch.Generator().manual_seed(0), views=2)
    numbers = (patches[:, 0, 0, 0] * 255).round()
    assert torch.equal(numbers[::2], numbers[1::2])
    assert len(set(numbers.tolist())) > 4


def test_views_of_one_image_lie_in_different_places() -> None:
    patches = PatchBank(unique_images(), 5, CPU).sample(64, torch.Generator().manual_seed(0), views=2)
    assert not torch.equal(patches[::2], patches[1::2])
