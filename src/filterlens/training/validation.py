# SPDX-License-Identifier: Apache-2.0
"""PSNR of a network per degradation, on images that it was not trained on."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from filterlens.data.images import center_crop, crop_to_multiple, to_float
from filterlens.data.pair_patches import PairSets
from filterlens.degradations import Degradation
from filterlens.degradations.mixture import representatives
from filterlens.errors import UsageError
from filterlens.execution.hardware import autocast
from filterlens.metrics import psnr
from filterlens.pixels import require_finite
from filterlens.training.recipe import Recipe

CROP = 192
"""Side of the central square of every image that is validated on during a training, in pixels, for speed."""


@dataclass(frozen=True)
class Validation:
    """The PSNR of a training on clean inputs, on each degradation alone, and on all of them together.

    Attributes:
        recipe: Scale, seed, resampler and degradations.
        images: HR images ``(3, H, W)`` uint8; with none nothing is measured.
        names: Names of the images, for errors.
        pairs: Pairs that the training does not see.
    """

    recipe: Recipe
    images: Sequence[Tensor]
    names: Sequence[str] = ()
    pairs: PairSets = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to measure on."""
        return not self.images and not any(self.pairs.values())

    def check(self) -> None:
        """Refuse now the images that would otherwise stop the training hours later, at the first validation."""
        if not self.images:
            return
        smallest = min(self.images, key=lambda image: min(image.shape[-2:]))
        truth = to_float(crop_to_multiple(center_crop(smallest, CROP), self.recipe.scale))
        for degradation in validation_degradations(self.recipe).values():
            degradation.apply(truth, self.recipe.scale, resampler=self.recipe.resampler)

    def measure(self, network: nn.Module, precision: str, check: Callable[[], None] | None = None) -> dict[str, float]:
        """Return degradation → PSNR in dB; see :func:`psnr_per_degradation`.

        ``check`` is called before every image and may raise, to give up.
        """
        recipe = self.recipe
        values = {}
        if self.images:
            values = psnr_per_degradation(
                network,
                self.images if check is None else _checked(self.images, check),
                validation_degradations(recipe),
                scale=recipe.scale,
                resampler=recipe.resampler,
                seed=recipe.seed,
                precision=precision,
                crop=CROP,
                names=self.names,
            )
        return values | psnr_of_pairs(
            network, self.pairs, scale=recipe.scale, precision=precision, crop=CROP, check=check
        )


def _checked(images: Sequence[Tensor], check: Callable[[], None]) -> Iterator[Tensor]:
    for image in images:
        check()
        yield image


def validation_degradations(recipe: Recipe) -> dict[str, Degradation]:
    """Return clean, each effect of the target stage alone, and all of them together where one chain can hold them.

    A range is represented by its middle.
    """
    coins = recipe.mixture(recipe.target).coins
    singles = [Degradation.parse(text) for coin in coins for text in representatives(coin)]
    chosen = [Degradation(), *singles]
    with contextlib.suppress(UsageError):  # two blurs, or two noises, do not fit into one chain
        chosen += [Degradation.parse("+".join(str(single) for single in singles))] if len(singles) > 1 else []
    return {str(degradation): degradation for degradation in chosen}


@torch.no_grad()
def psnr_per_degradation(
    network: nn.Module,
    images: Iterable[Tensor],
    degradations: Mapping[str, Degradation],
    *,
    scale: int,
    resampler: str = "bicubic",
    seed: int = 0,
    precision: str = "fp32",
    crop: int | None = None,
    names: Sequence[str] = (),
) -> dict[str, float]:
    """Degrade, restore and compare every image.

    Args:
        network: Network from LR to HR, used as it is, on its own device.
        images: HR images ``(3, H, W)`` uint8.
        degradations: Name → degradation.
        scale: HR size over LR size; also the border that does not count.
        resampler: Down-sampling that makes LR images from HR images.
        seed: Seed of the noise.
        precision: ``fp32`` or ``bf16``.
        crop: Only the central square of that many pixels of every image, for speed; None means all.
        names: Names of the images, for errors.

    Returns:
        Name → mean PSNR in dB (RGB, 8 bits, border of ``scale`` cropped).

    Raises:
        NotFiniteError: The network gives NaN or infinity.
    """
    device = next(network.parameters()).device
    values: dict[str, list[float]] = {name: [] for name in degradations}
    for index, image in enumerate(images):
        truth = to_float(crop_to_multiple(image if crop is None else center_crop(image, crop), scale)).to(device)
        for name, degradation in degradations.items():
            lowered = degradation.apply(truth, scale, seed=seed, resampler=resampler)
            with autocast(device, precision):
                restored = network(lowered.contiguous(memory_format=torch.channels_last))
            require_finite(restored, "the network", names[index] if names else str(index + 1), name)
            values[name].append(float(psnr(restored, truth, crop=scale)))
    return {name: sum(each) / len(each) for name, each in values.items()}


@torch.no_grad()
def psnr_of_pairs(
    network: nn.Module,
    pairs: PairSets,
    *,
    scale: int,
    precision: str = "fp32",
    crop: int | None = None,
    check: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Restore the LQ image of every pair and compare with its GT.

    Args:
        network: Network as for :func:`psnr_per_degradation`.
        pairs: Name → pairs; a name without pairs is left out.
        scale: HR size over LR size; also the border that does not count.
        precision: ``fp32`` or ``bf16``.
        crop: Only a central square of about that many pixels of every image, for speed; None means all.
        check: Function called before every pair, which may raise.

    Returns:
        Name → mean PSNR in dB (RGB, 8 bits, border of ``scale`` cropped).

    Raises:
        NotFiniteError: The network gives NaN or infinity.
    """
    device = next(network.parameters()).device
    values: dict[str, list[float]] = {name: [] for name, each in pairs.items() if each}
    for name in values:
        for pair in pairs[name]:
            if check is not None:
                check()
            height, width = pair.lowered.shape[-2:]
            side = max(height, width) if crop is None else max(1, crop // scale)
            top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
            lowered = to_float(pair.lowered[:, top : top + side, left : left + side]).to(device)
            rows = slice(top * scale, (top + side) * scale)
            columns = slice(left * scale, (left + side) * scale)
            truth = to_float(pair.truth[:, rows, columns]).to(device)
            with autocast(device, precision):
                restored = network(lowered.contiguous(memory_format=torch.channels_last))
            require_finite(restored, "the network", pair.name, name)
            values[name].append(float(psnr(restored, truth, crop=scale)))
    return {name: sum(each) / len(each) for name, each in values.items()}
