# SPDX-License-Identifier: Apache-2.0
"""Sources of random numbers: keyed by image for results, streamed from a generator for training."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from filterlens.errors import UsageError


class RandomSource(Protocol):
    """Draws the random numbers that an effect needs, one set per image of the batch."""

    def normal(self, like: Tensor, tag: str) -> Tensor:
        """Draw standard normal numbers of the shape, type and device of ``like`` ``(B, C, H, W)``."""
        ...

    def poisson(self, rate: Tensor, tag: str) -> Tensor:
        """Draw Poisson counts with the given rates ``(B, C, H, W)``."""
        ...


def derive_seed(*parts: object) -> int:
    """Hash any printable parts to a seed of 63 bits, the same on every machine."""
    digest = hashlib.blake2b("\x1f".join(str(part) for part in parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def image_keys(images: Tensor) -> list[str]:
    """Key each image of ``(B, C, H, W)`` in [0, 1] by its content at 8 bits, whatever its name, order or batch."""
    levels = (images.detach() * 255).round().clamp(0, 255).to("cpu", torch.uint8)
    contents = [str(tuple(image.shape)).encode() + image.contiguous().numpy().tobytes() for image in levels]
    return [hashlib.blake2b(content, digest_size=8).hexdigest() for content in contents]


class KeyedRandom:
    """Random numbers that depend on image and seed alone; drawn on the CPU, so the same with and without a GPU."""

    def __init__(self, keys: Sequence[str], seed: int) -> None:
        self._keys = list(keys)
        self._seed = seed

    def _generators(self, images: int, tag: str) -> list[torch.Generator]:
        if images != len(self._keys):
            raise UsageError(f"There are {len(self._keys)} keys for {images} images: give one key per image.")
        return [torch.Generator().manual_seed(derive_seed(self._seed, key, tag)) for key in self._keys]

    def normal(self, like: Tensor, tag: str) -> Tensor:
        """Draw standard normal numbers; see :class:`RandomSource`."""
        shape = like.shape[1:]
        drawn = torch.stack(
            [torch.randn(shape, generator=g, dtype=torch.float32) for g in self._generators(len(like), tag)]
        )
        return drawn.to(like.device, like.dtype)

    def poisson(self, rate: Tensor, tag: str) -> Tensor:
        """Draw Poisson counts; see :class:`RandomSource`."""
        rates = rate.detach().to("cpu", torch.float32)
        generators = self._generators(len(rates), tag)
        drawn = torch.stack([torch.poisson(r, generator=g) for r, g in zip(rates, generators, strict=True)])
        return drawn.to(rate.device, rate.dtype)


class StreamedRandom:
    """Random numbers from one generator on the device of the images: fast, for training."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def normal(self, like: Tensor, tag: str) -> Tensor:
        """Draw standard normal numbers; see :class:`RandomSource`."""
        return torch.randn(like.shape, generator=self.generator, device=like.device, dtype=like.dtype)

    def poisson(self, rate: Tensor, tag: str) -> Tensor:
        """Draw Poisson counts; see :class:`RandomSource`."""
        return torch.poisson(rate.detach(), generator=self.generator)
