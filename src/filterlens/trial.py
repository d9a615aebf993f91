# SPDX-License-Identifier: Apache-2.0
"""What a network of a pair does with an image, found out on a tiny one: how much larger it makes it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from filterlens.errors import FilterlensError, UsageError, first_line

RGB = 3
_SIZES = ((16, 24), (32, 48), (64, 96), (64, 64), (128, 128), (256, 256), (96, 96), (224, 224))  # LR; cheap ones first
_OTHER_CHANNELS = (1, 4, 2, 6, 9, 12)
_WRAP = "Wrap it in a module whose forward takes and returns RGB images (B, 3, h, w)."
_PAD = "Pad inside the network, so that it loses no border whatever the size."
_NO_MULTIPLE = "no whole multiple"
_MOST_DIFFERENCE = 1e-3  # of the range: more than any rounding

Network = Callable[[Tensor], object]


@dataclass(frozen=True)
class _Try:
    """What a network made of an image of one size: a scale, or why there is none."""

    scale: int | None
    problem: str


def scale_of(network: Network, like: Tensor, given: int | None) -> int:
    """Measure HR size over LR size.

    Args:
        network: Takes ``(1, 3, h, w)``.
        like: A tensor of its type, on its device.
        given: What the user says it is; None where nothing is said.

    Returns:
        The scale; what was given where the network takes no size that is tried, as networks of a fixed size.

    Raises:
        UsageError: The given scale is not the network's, or nothing is given and none can be measured.
        FilterlensError: The network returns no RGB image, or each time another one.
    """
    problems = []
    for size in _SIZES:
        found = _try(network, like, size)
        if found.scale is not None:
            if given is not None and given != found.scale:
                raise UsageError(
                    f"scale={given} is not the scale of the pair: its network makes {_made(size, found.scale)}. Pass "
                    f"scale={found.scale}, or leave it out."
                )
            return found.scale
        problems.append(found.problem)
    if given is not None:
        return given
    remedy = "Pass scale=2 (HR size over LR size; 1 for denoising)."
    if cut := next((problem for problem in problems if _NO_MULTIPLE in problem), None):
        problems[0], remedy = cut, f"{_PAD} {remedy}"
    raise UsageError(f"The scale of the pair is not known and cannot be measured: {problems[0]}. {remedy}")


def checked_output(output: object, images: Tensor, scale: int) -> Tensor:
    """Return what a network made of images ``(B, 3, h, w)``.

    Raises:
        FilterlensError: It is no batch of RGB images.
        UsageError: It is not ``scale`` times as large.
    """
    image = _image(output)
    batch, _, height, width = images.shape
    if image.shape != (batch, RGB, height * scale, width * scale):
        ratio = image.shape[-2] // height
        fits = image.shape == (batch, RGB, height * ratio, width * ratio)
        remedy = f"Pass scale={ratio}." if fits and ratio else _PAD
        raise UsageError(
            f"The network makes {tuple(image.shape)} of {tuple(images.shape)}, not {scale} times as large. {remedy}"
        )
    return image


def failed(images: Tensor, error: Exception) -> FilterlensError:
    """Say in one line that a network failed, and at what."""
    reason = f"{type(error).__name__}: {first_line(error, 160)}".rstrip(": .")
    return FilterlensError(f"The network fails on an input of {tuple(images.shape)} ({reason}).")


def _try(network: Network, like: Tensor, size: tuple[int, int]) -> _Try:
    images = _pixels(like, RGB, size)
    try:
        output = network(images.clone())
    except FilterlensError as error:
        return _explained(network, like, size, error)
    height, width = size
    image = _image(output)
    scale = image.shape[-2] // height
    if image.shape != (1, RGB, height * scale, width * scale) or not scale:
        if image.shape[1] != RGB:
            raise FilterlensError(f"The network returns {_channels(image.shape[1])} for an RGB image. {_WRAP}")
        return _Try(None, f"the network makes {tuple(image.shape)} of {tuple(images.shape)}, {_NO_MULTIPLE}")
    _refuse_chance(image, network(images))
    return _Try(scale, "")


def _explained(network: Network, like: Tensor, size: tuple[int, int], error: FilterlensError) -> _Try:
    """Say why a network fails: perhaps it takes another number of channels."""
    if size == (64, 64):
        for channels in _OTHER_CHANNELS:
            try:
                network(_pixels(like, channels, size))
            except FilterlensError:
                continue
            raise FilterlensError(f"The network takes images of {_channels(channels)}, not of 3. {_WRAP}") from error
    return _Try(None, str(error).rstrip("."))


def _image(output: object) -> Tensor:
    if not isinstance(output, Tensor):
        raise FilterlensError(f"The network returns {type(output).__name__}, not one tensor. {_WRAP}")
    if output.ndim != 4:
        raise FilterlensError(f"The network returns a tensor of shape {tuple(output.shape)}, no image. {_WRAP}")
    return output


def _refuse_chance(first: Tensor, second: object) -> None:
    """Refuse a network that gives another output each time, such as one with dropout that stays on."""
    again = _image(second)
    spread = (first - again).abs().max()
    if spread > _MOST_DIFFERENCE * (1 + first.abs().max()):
        raise FilterlensError(
            "The network gives another output each time for the same image: something in it is drawn at random "
            "although it is in evaluation mode (dropout, noise). Turn it off: F.dropout(x, p, self.training)."
        )


def _pixels(like: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    count = channels * size[0] * size[1]
    return torch.linspace(0, 1, count, dtype=like.dtype, device=like.device).view(1, channels, *size)


def _made(size: tuple[int, int], scale: int) -> str:
    height, width = size
    return f"{width * scale}x{height * scale} pixels of {width}x{height}"


def _channels(count: int) -> str:
    return f"{count} channel{'s' if count > 1 else ''}"
