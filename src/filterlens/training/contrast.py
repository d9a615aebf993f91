# SPDX-License-Identifier: Apache-2.0
"""Momentum contrast (He et al. 2020, MoCo): an encoder learns to tell degradations apart, without labels."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MomentumContrast(nn.Module):
    """Two patches of one image are a positive pair; patches of earlier images, in a queue, are negatives.

    The key encoder follows the query encoder as a moving average. Everything here belongs to the training: the network
    keeps its encoder alone.

    Args:
        encoder: The query encoder, patches → ``(B, dimension)``; copied once as the key
            encoder, and kept by the network.
        dimension: Of its representation.
        queue: Keys that are kept.
        momentum: Share of itself that the key encoder keeps at a step.
        temperature: Of the softmax.
        seed: Of the projection head's weights and of the queue's first content.
        shared: Whether processes share every batch, and so queue each other's keys.

    Attributes:
        projection: Head of the query encoder, which only the contrast sees.
        queue: ``(keys, dimension)``, rows of length 1, of which ``pointer`` is the next to be replaced.
    """

    queue: Tensor
    pointer: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        dimension: int,
        *,
        queue: int = 8192,
        momentum: float = 0.999,
        temperature: float = 0.07,
        seed: int = 0,
        shared: bool = False,
    ) -> None:
        super().__init__()
        self.momentum, self.temperature, self.shared = momentum, temperature, shared
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
            torch.manual_seed(seed)
            self.projection = nn.Sequential(
                nn.Linear(dimension, dimension), nn.LeakyReLU(0.1), nn.Linear(dimension, dimension)
            )
            first = F.normalize(torch.randn(queue, dimension), dim=1)
        self.key_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.key_projection = copy.deepcopy(self.projection).requires_grad_(False)
        self.register_buffer("queue", first)
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def encode_keys(self, encoder: nn.Module, patches: Tensor) -> Tensor:
        """Move the key encoder towards the query encoder, and return the keys of patches: ``(B, dimension)``."""
        leading = [*encoder.parameters(), *self.projection.parameters()]
        following = [*self.key_encoder.parameters(), *self.key_projection.parameters()]
        for follower, leader in zip(following, leading, strict=True):
            follower.lerp_(leader, 1 - self.momentum)
        keys: Tensor = self.key_projection(self.key_encoder(patches)).float()
        return F.normalize(keys, dim=1)

    def forward(self, representation: Tensor, keys: Tensor) -> Tensor:
        """Return the contrast of queries with their keys, and queue the keys.

        Args:
            representation: Of the query patches ``(B, dimension)``, float32.
            keys: Of the other patch of each image, ``(B, dimension)``, of length 1.

        Returns:
            Mean cross entropy of finding each query's own key among the queue, in nats.
        """
        queries = F.normalize(self.projection(representation), dim=1)
        positive = (queries * keys).sum(1, keepdim=True)
        negative = queries @ self.queue.clone().T  # a clone: the queue changes before the backward pass
        logits = torch.cat([positive, negative], 1) / self.temperature
        self._enqueue(keys)
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))

    @torch.no_grad()
    def _enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys; with several processes, by the keys of all of them."""
        if self.shared:
            gathered = [torch.empty_like(keys) for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather(gathered, keys.contiguous())
            keys = torch.cat(gathered)
        places = (self.pointer + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue.index_copy_(0, places, keys)
        self.pointer.copy_((self.pointer + len(keys)) % len(self.queue))
