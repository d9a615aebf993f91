# SPDX-License-Identifier: Apache-2.0
"""The batch of a step is the same whenever it is drawn."""

import torch
from torch import Tensor

from filterlens.data.patches import PatchBank
from filterlens.degradations import Mixture
from filterlens.training.batches import Batches

CPU = torch.device("cpu")
MIXTURE = Mixture.of([("blur:2,kernel=7", 0.5), ("noise:0.1", 0.5)])


def batches(images: list[Tensor]) -> Batches:
    return Batches(PatchBank(images, 16, CPU), MIXTURE, scale=2, size=4, seed_of=lambda step: 100 + step)


def test_a_batch_is_what_bank_and_mixture_make_of_its_seed(noise_images: list[Tensor]) -> None:
    generator = torch.Generator().manual_seed(107)
    truth = PatchBank(noise_images, 16, CPU).sample(4, generator)
    lowered = MIXTURE.apply(truth, 2, generator)
    torch.testing.assert_close(batches(noise_images).draw(7)[:2], (truth, lowered), rtol=0, atol=0)


def test_the_order_of_the_steps_does_not_matter(noise_images: list[Tensor]) -> None:
    first, second = batches(noise_images), batches(noise_images)
    forwards = [first.draw(step)[:2] for step in (0, 1, 2)]
    backwards = [second.draw(step)[:2] for step in (2, 1, 0)]
    torch.testing.assert_close(forwards, backwards[::-1], rtol=0, atol=0)
    assert not torch.equal(forwards[0][0], forwards[1][0])
