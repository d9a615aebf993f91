# SPDX-License-Identifier: Apache-2.0
"""Momentum contrast against its formula, and what must hold of its queue and its key encoder."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.training.contrast import MomentumContrast

DIMENSION, QUEUE = 4, 6


class Encoder(nn.Module):
    """Means of the channels, mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3, DIMENSION)

    def forward(self, patches: Tensor) -> Tensor:
        mixed: Tensor = self.mix(patches.mean((2, 3)))
        return mixed


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(1)
    return Encoder()


def contrast_of(encoder: nn.Module, **settings: float) -> MomentumContrast:
    return MomentumContrast(encoder, DIMENSION, queue=QUEUE, **settings)  # type: ignore[arg-type]


def keys_of(seed: int, count: int = 2) -> Tensor:
    return F.normalize(torch.randn(count, DIMENSION, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_the_loss_is_the_cross_entropy_of_finding_the_own_key_among_the_queue(encoder: Encoder) -> None:
    contrast = contrast_of(encoder, temperature=0.5)
    representation, keys, queue = torch.randn(2, DIMENSION), keys_of(0), contrast.queue.clone()
    projected = contrast.projection(representation).detach()
    expected = 0.0
    for row in range(2):
        query = projected[row] / projected[row].norm()
        own = float(query @ keys[row]) / 0.5
        others = [float(query @ key) / 0.5 for key in queue]
        expected -= math.log(math.exp(own) / (math.exp(own) + sum(map(math.exp, others)))) / 2
    assert float(contrast(representation, keys).detach()) == pytest.approx(expected, rel=1e-5)


def test_the_queue_forgets_its_oldest_keys_first(encoder: Encoder) -> None:
    contrast = contrast_of(encoder)
    batches = [keys_of(seed, 4) for seed in range(3)]
    for keys in batches:
        contrast(torch.randn(4, DIMENSION), keys)
    everything = torch.cat(batches)  # 12 keys for 6 places: key n lies at place n mod 6
    torch.testing.assert_close(contrast.queue, everything[6:])
    assert int(contrast.pointer) == 0


def test_the_key_encoder_follows_the_query_encoder(encoder: Encoder) -> None:
    contrast = contrast_of(encoder, momentum=0.75)
    before = encoder.mix.weight.detach().clone()
    with torch.no_grad():
        encoder.mix.weight += 1
    contrast.encode_keys(encoder, torch.rand(2, 3, 4, 4))
    torch.testing.assert_close(contrast.key_encoder.mix.weight, before + 0.25)  # type: ignore[union-attr]


def test_no_gradient_reaches_keys_queue_or_key_encoder(encoder: Encoder) -> None:
    contrast = contrast_of(encoder)
    patches = torch.rand(2, 3, 4, 4)
    contrast(encoder(patches), contrast.encode_keys(encoder, patches)).backward()
    assert all(
        weight.grad is None for weight in [*contrast.key_encoder.parameters(), *contrast.key_projection.parameters()]
    )
    assert all(weight.grad is not None for weight in [*encoder.parameters(), *contrast.projection.parameters()])


def test_patches_of_one_degradation_are_pulled_together(encoder: Encoder) -> None:
    contrast = contrast_of(encoder, momentum=0.9)
    optimizer = torch.optim.Adam([*encoder.parameters(), *contrast.projection.parameters()], lr=0.02)
    losses = []
    for step in range(200):
        generator = torch.Generator().manual_seed(step)
        colours = torch.rand(2, 3, 1, 1, generator=generator)  # stands for the degradation: what two patches share
        query, key = (colours + 0.02 * torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
        loss = contrast(encoder(query), contrast.encode_keys(encoder, key))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    chance = math.log(1 + QUEUE)
    assert sum(losses[-20:]) / 20 < 0.5 * chance < max(losses[:20])


def test_the_callers_random_numbers_stay_as_they_are(encoder: Encoder) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = contrast_of(encoder, seed=5)
    assert torch.equal(torch.rand(1), expected)
    torch.testing.assert_close(contrast_of(encoder, seed=5).state_dict(), first.state_dict(), rtol=0, atol=0)
