# SPDX-License-Identifier: Apache-2.0
"""Training losses: L1 for most networks, and the additional ones of DAN and DASR."""

import copy
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.errors import UsageError
from filterlens.execution.hardware import autocast
from filterlens.models.dan import DAN
from filterlens.models.dasr import DASR
from filterlens.training.batches import Batch
from filterlens.training.recipe import Contrast, Recipe


class RestorationLoss(nn.Module):
    """L1 between the restored and the true patches.

    It is a module around the network, so that processes which share a batch see its parameters.

    Args:
        network: LR → HR.
        precision: ``fp32`` or ``bf16``: of the network; losses are float32.

    Attributes:
        needs_kernels: Whether batches must hold blur kernels.
        needs_keys: Whether batches must hold a second patch of every image.
        training_only: Modules that only the training needs, with weights and buffers of their own.
        encoder_iterations: The first steps of the stage that train an encoder alone.
        encoder_alone: Whether the next step is one of them.
    """

    network: nn.Module
    needs_kernels: ClassVar[bool] = False
    needs_keys: ClassVar[bool] = False
    training_only: nn.Module | None
    encoder_iterations: int = 0
    encoder_alone: bool = False

    def __init__(self, network: nn.Module, precision: str) -> None:
        super().__init__()
        self.network, self.precision, self.training_only = network, precision, None

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a float32 scalar."""
        with autocast(batch.truth.device, self.precision):
            restored = self.network(batch.lowered)
        return F.l1_loss(restored.float(), batch.truth)


class KernelCodeLoss(RestorationLoss):
    """DAN: L1 on the last image and on the last kernel code; the loops before teach nothing (Luo et al. 2020).

    Args:
        network: DAN.
        precision: Precision, as for all losses.
    """

    needs_kernels = True
    network: DAN

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a float32 scalar."""
        dan = self.network
        with autocast(batch.truth.device, self.precision):
            unrolled = dan.unroll(batch.lowered, detached=True)
        image, code = unrolled.images[-1].float(), unrolled.codes[-1].float()
        wanted = dan.initial_code.expand_as(code)
        if batch.kernels is not None:
            margin = (dan.kernel - batch.kernels.shape[-1]) // 2
            wanted = dan.encode(F.pad(batch.kernels, (margin, margin, margin, margin)))
        return F.l1_loss(image, batch.truth) + F.l1_loss(code, wanted)


class MomentumContrast(nn.Module):
    """Momentum contrast (He et al. 2020, MoCo): an encoder learns to tell degradations apart, without labels.

    Two patches of one image are a positive pair; patches of earlier images, in a queue, are negatives.

    The key encoder follows the query encoder as a moving average. Everything here belongs to the training: the network
    keeps its encoder alone.

    Args:
        encoder: The query encoder, patches → ``(B, dimension)``; copied once as the key
            encoder, and kept by the network.
        dimension: Length of its representation.
        queue: Keys that are kept.
        momentum: Share of itself that the key encoder keeps at a step.
        temperature: Divides the logits of the softmax.
        seed: Seed of the projection head's weights and the queue's first content.
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
            representation: Output of the encoder for the query patches, ``(B, dimension)`` float32.
            keys: The keys of the other patch of each image, ``(B, dimension)``, of length 1.

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


class ContrastiveLoss(RestorationLoss):
    """DASR: L1 plus the encoder's contrast; in the first steps of a stage the contrast alone (Wang et al. 2021).

    Args:
        network: DASR.
        precision: Precision, as for all losses.
        settings: Settings of the contrast.
        encoder_iterations: Steps of the stage that train the encoder alone.
        seed: Seed of the projection's weights and the queue.
        shared: Whether processes share every batch.
    """

    needs_keys = True
    network: DASR
    training_only: MomentumContrast

    def __init__(
        self,
        network: DASR,
        precision: str,
        settings: Contrast,
        encoder_iterations: int,
        seed: int,
        *,
        shared: bool = False,
    ) -> None:
        super().__init__(network, precision)
        self.training_only = MomentumContrast(
            network.encoder,
            network.encoder.dimension,
            queue=settings.queue,
            momentum=settings.momentum,
            temperature=settings.temperature,
            seed=seed,
            shared=shared,
        )
        self.weight = settings.weight
        self.encoder_iterations = encoder_iterations

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a float32 scalar."""
        dasr, contrast = self.network, self.training_only
        if batch.keys is None:
            raise UsageError("DASR learns from two patches of every image: draw batches with keys.")
        with autocast(batch.truth.device, self.precision):
            representation = dasr.encoder(batch.lowered)
            keys = contrast.encode_keys(dasr.encoder, batch.keys)
        contrasted: Tensor = contrast(representation.float(), keys)
        if self.encoder_alone:
            return contrasted
        with autocast(batch.truth.device, self.precision):
            restored = dasr.restorer(batch.lowered, representation)
        l1 = F.l1_loss(restored.float(), batch.truth)
        return l1 + self.weight * contrasted


def loss_for(network: nn.Module, recipe: Recipe, role: str, precision: str, *, shared: bool = False) -> RestorationLoss:
    """Return what a network learns from in a stage of a recipe (``baseline`` or ``target``).

    ``shared`` says that several processes share every batch.
    """
    if isinstance(network, DAN):
        return KernelCodeLoss(network, precision)
    if isinstance(network, DASR):
        settings = recipe.contrast or Contrast()
        alone: int = getattr(settings, f"{role}_iterations")
        return ContrastiveLoss(network, precision, settings, alone, recipe.seed, shared=shared)
    return RestorationLoss(network, precision)
