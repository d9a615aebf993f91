# SPDX-License-Identifier: Apache-2.0
"""What a network makes of images, measured by a first run: scale and channels. Every later output is held to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from filterlens.errors import FilterlensError, UsageError, first_line
from filterlens.execution.on_images import Entry, entry_of, listed, only_image

RGB = 3
CHANNELS = (RGB, 1, 4, 2, 6, 9, 12)  # of an input, in the order in which they are tried
_SIZES = ((16, 24), (32, 48), (64, 96), (64, 64), (128, 128), (256, 256), (96, 96), (224, 224))  # LR; cheap ones first
_WRAP = "Wrap it in a module whose forward takes and returns images (B, C, h, w)."
_PAD = "Pad inside the network, so that it loses no border whatever the size."
_NO_MULTIPLE = "no whole multiple"
_MOST_DIFFERENCE = 1e-3  # of the range: more than any rounding

Network = Callable[[Tensor], object]


@dataclass(frozen=True)
class Shape:
    """What a network makes of images: ``(B, channels_in, h, w)`` → ``(B, channels_out, h·scale, w·scale)``.

    Attributes:
        scale: HR size over LR size.
        channels_in: Channels of the images that it takes.
        channels_out: Channels of the images that it returns.
        entry: Entry of what it returns that is the image; None where it returns the image itself.
        is_guess: Whether nothing could be measured: the scale is what was given.
    """

    scale: int
    channels_in: int = RGB
    channels_out: int = RGB
    entry: Entry | None = None
    is_guess: bool = False


def shape_of_images(network: Network, like: Tensor, given: int | None, first: Sequence[int] = CHANNELS) -> Shape:
    """Measure scale and channels on small images of ramps.

    Args:
        network: A network that takes ``(1, C, h, w)``.
        like: A tensor of its type, on its device.
        given: The scale that the user gave, or None.
        first: Numbers of channels to try, in this order.

    Returns:
        The scale and the channels; what was given, and RGB, where the network takes no size that is tried, as networks
        of a fixed size.

    Raises:
        UsageError: The given scale is not the network's, or nothing is given and none can be measured.
        FilterlensError: The network returns no image, or each time another one.
    """
    problems: list[str] = []
    for channels in first:
        for size in _SIZES:
            found = _try(network, like, channels, size)
            if isinstance(found, Shape):
                _refuse_other_scale(given, found.scale, size)
                return found
            problems.append(found)
    if given is not None:
        return Shape(given, is_guess=True)
    remedy = "Pass scale=2 (HR size over LR size; 1 for denoising)."
    if cut := next((problem for problem in problems if _NO_MULTIPLE in problem), None):
        problems[0], remedy = cut, f"{_PAD} {remedy}"
    raise UsageError(f"The scale of the pair is not known and cannot be measured: {problems[0]}. {remedy}")


def checked_output(output: object, images: Tensor, shape: Shape) -> Tensor:
    """Return what a network made of images ``(B, C, h, w)``.

    Raises:
        FilterlensError: It is not a batch of images with the channels that were measured.
        UsageError: It is not ``scale`` times as large.
    """
    image = _image(output)
    batch, _, height, width = images.shape
    scale, channels = shape.scale, shape.channels_out
    if image.shape != (batch, channels, height * scale, width * scale):
        ratio = image.shape[-2] // height
        fits = image.shape == (batch, channels, height * ratio, width * ratio)
        remedy = f"Pass scale={ratio}." if fits and ratio else _PAD
        raise UsageError(
            f"The network makes {tuple(image.shape)} of {tuple(images.shape)}, not {scale} times as large. {remedy}"
        )
    return image


def failed(images: Tensor, error: Exception) -> FilterlensError:
    """Say in one line that a network failed, and at what."""
    reason = f"{type(error).__name__}: {first_line(error, 160)}".rstrip(": .")
    return FilterlensError(f"The network fails on an input of {tuple(images.shape)} ({reason}).")


def _try(network: Network, like: Tensor, channels: int, size: tuple[int, int]) -> Shape | str:
    """Return what a network makes of an image of one size, or why it makes no image."""
    images = _pixels(like, channels, size)
    try:
        output = network(images.clone())
    except FilterlensError as error:
        return str(error).rstrip(".")
    height, width = size
    entry = None if isinstance(output, Tensor) else only_image(output, images)
    image = _image(entry_of(output, entry))
    scale = image.shape[-2] // height
    if image.shape != (1, image.shape[1], height * scale, width * scale) or not image.numel():
        return f"the network makes {tuple(image.shape)} of {tuple(images.shape)}, {_NO_MULTIPLE}"
    _refuse_chance(image, entry_of(network(images), entry))
    return Shape(scale, channels, image.shape[1], entry)


def _refuse_other_scale(given: int | None, scale: int, size: tuple[int, int]) -> None:
    if given in (None, scale):
        return
    height, width = size
    raise UsageError(
        f"scale={given} is not the scale of the pair: its network makes {width * scale}x{height * scale} pixels of "
        f"{width}x{height}. Pass scale={scale}, or leave it out."
    )


def _image(output: object) -> Tensor:
    if not isinstance(output, Tensor):
        raise FilterlensError(
            f"The network returns {listed(output)}, not one tensor. Choose one: output=0 or output='image'. {_WRAP}"
        )
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
