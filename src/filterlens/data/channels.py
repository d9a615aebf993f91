# SPDX-License-Identifier: Apache-2.0
"""Channels of an image as a network takes them: colours, gray, luma, or colours with a fourth channel."""

from torch import Tensor

from filterlens.errors import UsageError
from filterlens.pixels import luma

COLOURS, WITH_OPACITY = 3, 4
USUAL = frozenset({1, COLOURS, WITH_OPACITY})  # numbers of channels that tell which side of an array they are


def require_channels(channels: int, y: bool) -> None:
    """Refuse luma for a network that does not take one channel.

    Raises:
        UsageError: ``y`` is set and there is more than one channel.
    """
    if y and channels != 1:
        raise UsageError(
            f"y=True makes one channel (luma) of colours, but the network takes {channels}. Leave it out, or give a "
            "network of one channel."
        )


def with_channels(name: str, image: Tensor, channels: int | None, y: bool = False) -> Tensor:
    """Return an image ``(C, H, W)`` as ``(channels, H, W)``.

    Gray becomes three equal channels, three equal channels become gray. Other numbers of channels are not guessed.

    Args:
        name: Name of the image in errors.
        image: uint8, or floats in [0, 1].
        channels: Number of channels that the network takes; None for those of the image.
        y: One channel is the luma of the colours (:func:`filterlens.pixels.luma`, BT.601 studio range, as BasicSR's
            ``bgr2ycbcr(y_only=True)`` and MATLAB's ``rgb2ycbcr``), also of a gray image.

    Raises:
        UsageError: The image has colours and the network takes gray, or the number is another one.
    """
    given = len(image)
    if y and channels == 1 and given in (1, COLOURS):
        colours = (image if image.is_floating_point() else image.float() / 255).expand(COLOURS, -1, -1)
        return luma(colours[None])[0]
    if channels is None or given == channels:
        return image
    if channels == 1 and given == COLOURS:
        if bool((image[1:] == image[:1]).all()):
            return image[:1]
        raise UsageError(
            f"Image '{name}' has colours, but the network takes one channel. Take their luma with y=True "
            "(--channels y), or give gray images."
        )
    if channels == COLOURS and given == 1:
        return image.expand(COLOURS, -1, -1).contiguous()
    raise UsageError(_refusal(name, image, channels))


def _refusal(name: str, image: Tensor, channels: int) -> str:
    given, last = len(image), image.shape[-1]
    said = f"Image '{name}' has the shape {tuple(image.shape)}, not ({channels}, height, width)."
    if last in {*USUAL, channels} and given not in USUAL:
        return f"{said} Its channels come last: image.permute(2, 0, 1)."
    if channels == WITH_OPACITY and given in (1, COLOURS):
        return (
            f"{said} Give arrays of 4 channels or RGBA files, or let a degradation of yours add the map, or call= "
            "the network with it."
        )
    if channels in (1, COLOURS) and given == WITH_OPACITY:
        return f"{said} Leave its fourth channel out: image[:3]."
    return said
